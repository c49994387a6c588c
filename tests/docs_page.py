"""A page of the documentation as a program: ``python tests/docs_page.py PAGE`` runs what it shows, in this directory.

Code of a page runs from top to bottom: Python in one namespace, commands in this directory. An error has the line of
the page. What runs::

    ```python            all of it
    ```console           lines after "$ "; what is shown below one is compared with what it prints, see `is_like`
    any other language   is shown, and does not run

Comments, which no reader sees, say the rest::

    <!-- test: setup     Python that runs at this place: what the reader has, and the page does not show
    ...
    -->
    <!-- test: check     the same, for what must hold by then
    ...
    -->
    <!-- test: skip a reason -->     the next block does not run
    <!-- test: exit 1 -->            the last command of the next block ends with this status, instead of 0
    <!-- test: columns 1 2 -->       of the next table, every piece of code in these columns runs, as Python
"""

import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

_PART = re.compile(
    r"^<!-- test: (?P<word>\w+)(?P<rest>.*?)-->"
    r"|^(?P<indent>[ ]*)```(?P<language>[^\n]*)\n(?P<code>.*?)^(?P=indent)```$"
    r"|^(?P<table>\|[^\n]*(?:\n\|[^\n]*)*)",
    re.MULTILINE | re.DOTALL,
)
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*(?:e[+-]?\d+)?")
_CURVE = re.compile("[▁▂▃▄▅▆▇█×]+")


class Block(NamedTuple):
    """A piece of code of a page.

    Attributes:
        language: As the page names it.
        code: Without indentation.
        line: Where it begins, from 1.
        skip: Why it does not run; ``None`` where it does.
        status: What its last command ends with.
    """

    language: str
    code: str
    line: int
    skip: str | None = None
    status: int = 0


def blocks(text: str) -> Iterator[Block]:
    """Yields the code of a page, in its order.

    Raises:
        ValueError: A comment says something else than above, or stands before nothing.
    """
    said: dict[str, str] = {}
    for part in _PART.finditer(text):
        line = text.count("\n", 0, part.start()) + 1
        if part["word"] in ("setup", "check"):
            yield Block("python", textwrap.dedent(part["rest"].partition("\n")[2]), line + 1)
        elif part["word"]:
            if said or part["word"] not in ("skip", "exit", "columns"):
                raise ValueError(f"Line {line}: no comment for a test: {part[0]!r}")
            said = {part["word"]: part["rest"].strip()}
        elif part["table"] is None:
            code = textwrap.dedent(part["code"])
            status = int(said.pop("exit", "0"))
            yield Block(part["language"].split(" ")[0], code, line + 1, said.pop("skip", None), status)
        elif "columns" in said:
            yield from _cells(part["table"], [int(column) for column in said.pop("columns").split()], line)
        if said and not part["word"]:
            raise ValueError(f"Line {line}: what stands here cannot have {said}.")
    if said:
        raise ValueError(f"Nothing follows {said}.")


def _cells(table: str, columns: list[int], line: int) -> Iterator[Block]:
    for offset, row in enumerate(table.split("\n")[2:], start=2):
        cells = row.split("|")
        for column in columns:
            for code in re.findall(r"`([^`]+)`", cells[column]):
                yield Block("python", code, line + offset)


def run(page: Path) -> None:
    """Runs what a page shows.

    Raises:
        AssertionError: A command ends or prints otherwise than the page says.
        Exception: Whatever its Python raises.
    """
    module = sys.modules["page"] = ModuleType("page")  # where pickle and dataclasses look for what it defines
    for block in blocks(page.read_text("utf-8")):
        if block.skip is None and block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), vars(module))
        elif block.skip is None and block.language == "console":
            _run_commands(block, page)


def _run_commands(block: Block, page: Path) -> None:
    found = list(commands(block.code))
    for number, (command, shown) in enumerate(found, start=1):
        done = subprocess.run(
            ["bash", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        status = block.status if number == len(found) else 0
        where = f"{page}, line {block.line}: $ {command}"
        assert done.returncode == status, f"{where}\nends with {done.returncode}, not {status}:\n{done.stdout}"
        assert not shown or is_like(shown, done.stdout), f"{where}\nprints\n{done.stdout}\nand not\n{shown}"


def commands(code: str) -> Iterator[tuple[str, str]]:
    """Yields the commands of a block, each with the output that is shown below it."""
    before, *parts = re.split(r"^\$ ", code, flags=re.MULTILINE)
    if before.strip():
        raise ValueError(f"A block of commands begins with '$ ', not with {before!r}.")
    for part in parts:
        command, shown = re.match(r"((?:[^\n]*\\\n)*[^\n]*)\n(.*)", part, re.DOTALL).groups()  # type: ignore[union-attr]
        yield command, shown.strip()


def is_like(shown: str, output: str) -> bool:
    """Whether ``output`` is what a page shows: any number may stand for a number, any curve for a curve, ``…`` for
    anything, also for lines; how many blanks or line breaks there are between words is all the same."""
    expected = ".*".join(re.escape(_plain(piece)) for piece in shown.split("…"))
    return re.fullmatch(expected, _plain(output)) is not None


def _plain(text: str) -> str:
    return " ".join(_CURVE.sub("█", _NUMBER.sub("0", text)).split())


if __name__ == "__main__":
    sys.path[0] = ""  # what lies here, and not what lies beside this module
    run(Path(sys.argv[1]))

"""A made-up powercap tree, and the program that advances its counters, as hardware does: ``powercap.py ROOT``.

The program takes a line and answers "done" when it is done::

    zone intel-rapl:0 package-0 1000000 999000     makes or replaces a zone: name, range, counter
    add intel-rapl:0 2500                          advances a counter, past its range to 0
    write intel-rapl:0/energy_uj garbage           replaces the content of a file
    remove intel-rapl:0                            removes a zone
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType


class Powercap:
    """The tree under ``root``, which a process of its own advances; a context manager."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self, *words: object) -> None:
        """Gives a command, and returns when the program has done it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"

    def zone(self, zone: str, name: str, *, range_uj: int = 262_143_328_850, energy_uj: int = 1_000_000) -> None:
        self.tell("zone", zone, name, range_uj, energy_uj)

    def add(self, zone: str, energy_uj: int) -> None:
        self.tell("add", zone, energy_uj)

    def write(self, path: str, content: str) -> None:
        self.tell("write", path, content)

    def remove(self, zone: str) -> None:
        self.tell("remove", zone)

    def __enter__(self) -> "Powercap":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.communicate()
        assert self._process.returncode == 0


def _replace(path: Path, content: object) -> None:
    """As the kernel does it: who reads sees the old content or the new one, never a part."""
    new = path.with_name(".new")
    new.write_text(f"{content}\n")
    os.replace(new, path)


def _do(root: Path, word: str, zone: str, *rest: str) -> None:
    match word:
        case "zone":
            (root / zone).mkdir(parents=True, exist_ok=True)
            for name, content in zip(("name", "max_energy_range_uj", "energy_uj"), rest, strict=True):
                _replace(root / zone / name, content)
        case "add":
            range_uj = int((root / zone / "max_energy_range_uj").read_text())
            energy_uj = int((root / zone / "energy_uj").read_text())
            _replace(root / zone / "energy_uj", (energy_uj + int(rest[0])) % range_uj)
        case "write":
            _replace(root / zone, " ".join(rest))
        case "remove":
            shutil.rmtree(root / zone)


if __name__ == "__main__":
    for line in sys.stdin:
        _do(Path(sys.argv[1]), *line.split())
        print("done", flush=True)

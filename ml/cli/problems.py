"""How a command says what it could not take over: the first of it by name, and how much more there is."""

from collections.abc import Sequence

from ml.cli.output import Output, printable

_MAX_LISTED = 10


def attempts_of(number: int) -> str:
    """Returns ``1 attempt``, ``2 attempts``."""
    return "1 attempt" if number == 1 else f"{number} attempts"


def tell_problems(problems: Sequence[str], number: int, output: Output) -> None:
    """Says what was left out.

    Args:
        problems: In sentences, perhaps not all of them.
        number: How many there were.
        output: Where it is said.
    """
    listed = problems[:_MAX_LISTED]
    for problem in listed:
        output.line(f"  {printable(problem)}")
    if number > len(listed):
        output.line(f"  and {number - len(listed)} more like it")

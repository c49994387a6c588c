"""Processes that publish versions of one artifact at once, and what is there after.

::

    python -m tests.evaluation.racing URL COUNT NUMBER    # a publisher: its standard input says when to begin

A publisher prints a line a version: its number, and the value that only this publication has.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from ml.evaluation.artifacts import Artifacts
from ml.evaluation.checking import Problem, fsck
from ml.evaluation.table import Table
from ml.io.store import StoreConfig, open_store

NAME = "race"
ROOT = Path(__file__).parents[2]


class Outcome(NamedTuple):
    """What a race came to.

    Attributes:
        acknowledged: The value of each version that a publisher was told of, by number.
        told: How many versions publishers were told of.
        found: The value of each version that is there, by number.
        problems: What ``fsck`` found, notes too.
        took_s: From the start of all to the end of the last one.
    """

    acknowledged: dict[int, str]
    told: int
    found: dict[int, str]
    problems: list[Problem]
    took_s: float

    def broken(self, expected: int) -> list[str]:
        """Returns which laws are broken, if ``expected`` versions were to be published."""
        laws = {
            f"{expected} versions were told of": self.told == expected,
            "none was told of twice": len(self.acknowledged) == self.told,
            "the numbers are dense": sorted(self.found) == list(range(expected)),
            "each holds what its publisher put there": self.found == self.acknowledged,
            f"fsck finds nothing: {self.problems[:3]}": not self.problems,
        }
        return [law for law, holds in laws.items() if not holds]


def race(config: StoreConfig, *, processes: int, count: int, environ: dict[str, str] | None = None) -> Outcome:
    """Has processes publish ``count`` versions each, all of them at once, and reads every version back.

    Args:
        config: The store.
        processes: How many publish.
        count: How many versions each.
        environ: What the processes find credentials in.
    """
    with ExitStack() as stack:
        publishers = []
        for number in range(processes):
            command = [sys.executable, "-m", "tests.evaluation.racing", config.url, str(count), str(number)]
            publisher = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
                env=os.environ | (environ or {}),
            )  # fmt: skip
            stack.callback(publisher.wait)
            stack.callback(publisher.kill)
            publishers.append(publisher)
        for publisher in publishers:
            assert publisher.stdout is not None
            assert publisher.stdout.readline() == "ready\n"
        began_s = time.monotonic()
        for publisher in publishers:
            assert publisher.stdin is not None
            publisher.stdin.write("go\n")
            publisher.stdin.flush()
        told = [line.split() for publisher in publishers for line in publisher.communicate()[0].splitlines()]
        took_s = time.monotonic() - began_s
    artifacts = Artifacts(open_store(config))
    found = {version.number: str(version.table().data[0]["value"]) for version in artifacts.versions(NAME)}
    return Outcome({int(number): value for number, value in told}, len(told), found, fsck(artifacts, deep=True), took_s)


def publish(artifacts: Artifacts, count: int, publisher: int) -> Iterator[tuple[int, str]]:
    """Publishes versions; yields the number and the value of each."""
    for position in range(count):
        value = f"{publisher}.{position}"
        with Table(["value", "shared"]) as table:
            table.add_data(value, "the same in every version")
            version = artifacts.publish(NAME, {"table": table}, type="race", aliases=[f"of_{publisher}"])
        yield version.number, value


def main() -> None:
    """Is a publisher."""
    url, count, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    artifacts = Artifacts(url, run_id=f"run-{number}")
    Table(["value"]).finish()  # what is imported now need not be imported in the race
    print("ready", flush=True)
    sys.stdin.readline()
    for version, value in publish(artifacts, count, number):
        print(version, value, flush=True)


if __name__ == "__main__":
    main()

"""Appends rows to a benchmark database, and says after each flush how many are in it: DATABASE NAME ROWS [LEFT_OPEN].

ROWS rows; 0: until it is killed.
"""

import itertools
import sys

from ml.benchmarks import Benchmark


def main(where: str, name: str, rows: int) -> None:
    benchmark = Benchmark(where, description=name)
    for number in range(1, rows + 1) if rows else itertools.count(1):
        benchmark.log(f"{name} {number}", "number", number)
        if number % 10 == 0:
            assert benchmark.flush()
            print(number, flush=True)
    if "LEFT_OPEN" not in sys.argv:
        benchmark.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

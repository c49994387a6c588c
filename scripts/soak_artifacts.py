"""Processes that publish versions of one artifact at once, to a directory and to a bucket of a real S3 server.

Each publishes so many versions, as fast as it can. Then every version is read back: the laws are those of the last
lines, and the figures beside them say what a publication took.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from ml.io.store import StoreConfig
from tests.evaluation.racing import race
from tests.s3_server import S3Bucket, s3_server

BUCKET = "evaluations"


def main() -> int:
    """Prints what was found; returns 1 if a law is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=100, help="versions of each process")
    parser.add_argument("processes", nargs="?", type=int, default=2)
    arguments = parser.parse_args()
    expected = arguments.count * arguments.processes
    is_broken = False
    with tempfile.TemporaryDirectory() as name, s3_server(Path(name) / "server") as server:
        server.make_bucket(BUCKET)
        bucket = S3Bucket(server, BUCKET)
        for place, config in {"directory": StoreConfig(f"{name}/store"), "bucket": bucket.config("race")}.items():
            outcome = race(config, processes=arguments.processes, count=arguments.count, environ=server.environ)
            broken = outcome.broken(expected)
            is_broken |= bool(broken)
            print(
                f"{place}: {arguments.processes} processes, {len(outcome.found)} versions, numbers "
                f"{min(outcome.found, default=0)} to {max(outcome.found, default=0)}, in {outcome.took_s:.1f} s "
                f"({1000 * outcome.took_s * arguments.processes / expected:.0f} ms each); fsck --deep found "
                f"{len(outcome.problems)} problems"
            )
            for law in broken:
                print(f"  BROKEN: {law}")
    return int(is_broken)


if __name__ == "__main__":
    sys.exit(main())

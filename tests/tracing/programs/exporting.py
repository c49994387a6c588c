"""Exports again and again until it is killed: prints a line for each batch of rows that it is asked for."""

import sys
from pathlib import Path

from ml.tracing.export import export
from ml.tracing.selection import Selection
from tests.tracing.traced_tables import TablesInMemory


class Telling(TablesInMemory):
    """Says how far it is."""

    def table_batches(self, name, selection, *, ids=None):
        for batch in super().table_batches(name, selection, ids=ids):
            print(name, flush=True)
            yield batch


def main(path: Path) -> None:
    """Exports to a path."""
    traces = Telling(40, batch_rows=10)
    while True:
        export(traces, Selection("fcos", "v1"), path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

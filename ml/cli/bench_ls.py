"""``mlog bench ls DB``: which runs there are, and of what they have measurements."""

import argparse

from ml.benchmarks.reading import open_benchmark
from ml.cli.bench_table import Field, write_table
from ml.cli.output import Output

_FIELDS = [
    Field("run", "run"),
    Field("uuid", ""),
    Field("status", "status"),
    Field("started", ""),
    Field("started_local", "started"),
    Field("duration_s", "seconds", is_number=True),
    Field("processes", "processes", is_number=True),
    Field("measurements", "measurements", is_number=True),
    Field("lost", "lost", is_number=True),
    Field("types", "of"),
    Field("name", "program"),
    Field("description", "description"),
]


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Lists the runs."""
    with open_benchmark(arguments.database) as benchmarks:
        runs, kinds = benchmarks.runs(), benchmarks.kinds()
    rows = []
    for one in runs:
        of_run = [kind for kind in kinds if kind.uuid == one.uuid]
        rows.append(
            {
                "run": one.uuid[:8],
                "uuid": one.uuid,
                "status": one.status,
                "started": one.started,
                "started_local": f"{one.started.astimezone():%Y-%m-%d %H:%M:%S}",
                "duration_s": None if one.ended is None else (one.ended - one.started).total_seconds(),
                "processes": len(one.processes),
                "measurements": sum(kind.measurements for kind in of_run),
                "lost": sum(process.lost for process in one.processes) or None,
                "types": " ".join(dict.fromkeys(kind.type for kind in of_run)),
                "name": one.name,
                "description": one.description,
            }
        )
    fields = _FIELDS if arguments.to == "text" else [field for field in _FIELDS if field.name != "started_local"]
    write_table(fields, rows, arguments.to, output)
    return 0

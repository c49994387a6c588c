"""Which database a rank writes to, and which ones are read together.

On a server all ranks of a job share one. In files each rank has its own, so that no two processes wait for one lock:
rank 0 writes ``traces.db``, rank 1 ``traces.rank1.db`` beside it. Who reads ``traces.db`` reads them all.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from ml.db.files import sqlite_file


def rank_database(database: str | Path, rank: int) -> str | Path:
    """Returns the path or URL of the database that a rank writes to.

    Raises:
        ConfigError: It is neither a path nor a URL.
    """
    file = sqlite_file(database)
    return database if file is None or rank == 0 else file.with_name(f"{file.stem}.rank{rank}{file.suffix}")


def with_ranks(databases: Iterable[str | Path]) -> list[str | Path]:
    """Returns databases, behind each file those of its other ranks that are there, by rank; each once.

    Raises:
        ConfigError: One is neither a path nor a URL.
    """
    found: dict[str, str | Path] = {}
    for database in databases:
        file = sqlite_file(database)
        found.setdefault(str(database if file is None else file), database)
        for _, other in [] if file is None else other_ranks(file):
            found.setdefault(str(other), other)
    return list(found.values())


def other_ranks(file: Path) -> list[tuple[int, Path]]:
    """Returns the files of the ranks above 0 that lie beside that of rank 0, by rank."""
    pattern = re.compile(rf"{re.escape(file.stem)}\.rank([1-9][0-9]{{0,8}}){re.escape(file.suffix)}")
    siblings = file.parent.iterdir() if file.parent.is_dir() else iter(())
    return sorted((int(match[1]), path) for path in siblings if (match := pattern.fullmatch(path.name)))

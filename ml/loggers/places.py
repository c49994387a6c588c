"""Where a run has its journal, its log and their media: each backend has a folder that is called by its id."""

import re
from pathlib import Path

from ml.io.journal import journal_files
from ml.io.segments import segments

LOG = "log.jsonl"
LOG_FILE = f"json/{LOG}"
"""Where a run has its log, unless its JSON backend has another id."""

MEDIA = "media"
"""Where a log or a journal keeps its files, in its own folder."""

_JOURNAL = "journal"
_DIGEST = re.compile("[0-9a-f]{64}")
_FORM = re.compile("[a-z0-9]{1,10}")


def log_of(run: Path) -> Path:
    """Returns the log of a run: ``json/log.jsonl``, else that of the first JSON backend with another id."""
    usual = run / LOG_FILE
    return usual if usual.exists() else min(run.glob(f"*/{LOG}"), default=usual)


def journal_of(run: Path) -> Path:
    """Returns the folder of a run's journal: ``journal``, else that of the first one with another id."""
    usual = run / _JOURNAL
    folders = [usual, *sorted(path.parent for path in run.glob("*/*-*.journal"))]
    return next((folder for folder in folders if journal_files(folder)), usual)


def curves_of(run: Path) -> Path:
    """Returns where the values of a run are read: its log, else the folder of its journal, if it has that alone."""
    log, journal = log_of(run), journal_of(run)
    return log if segments(log) or not journal_files(journal) else journal


def media_path(digest: str, form: str) -> str:
    """Returns where a journal keeps a file, relative to its folder.

    Args:
        digest: The file's SHA-256, as 64 hexadecimal digits.
        form: Its extension.

    Raises:
        ValueError: They are something else, of which no path is made.
    """
    if not (_DIGEST.fullmatch(digest) and _FORM.fullmatch(form)):
        raise ValueError(f"no name of a file: {digest!r:.80}, {form!r:.20}")
    return f"{MEDIA}/{digest[:2]}/{digest}.{form}"

"""``mlog predictions export SOURCE --to FORMAT OUT``: records as other programs, and people, look at them."""

import argparse
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from ml.cli.output import Output, printable
from ml.cli.predictions_choice import chosen, limited, opened
from ml.core.errors import ConfigError
from ml.io.atomic import write_atomically
from ml.io.names import readable_segment
from ml.io.staging import staged
from ml.predictions.coco import write_coco
from ml.predictions.drawing import annotated_png
from ml.predictions.layout import SUFFIX
from ml.predictions.listing import order_of
from ml.predictions.parquet import require_pyarrow, write_parquet
from ml.predictions.reading import Found
from ml.predictions.sheet import MAX_RECORDS, sheet_of

_PRIVATE, _PRIVATE_DIRECTORY = 0o600, 0o700  # as what it was made from

_log = logging.getLogger("ml")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Exports the records. One that is damaged is left out, with a warning.

    Raises:
        FileNotFoundError: There is no such directory.
        ConfigError: No record was chosen, OUT is a directory that is not empty, or a library is not installed.
        WriteError: An object store does not answer, or the files cannot be written; then there are none.
    """
    if arguments.images and arguments.to not in ("coco", "parquet"):
        raise ConfigError(f"--images is for coco and parquet; {arguments.to} shows pictures anyway.")
    if arguments.to == "parquet":
        require_pyarrow()
    if arguments.to in ("coco", "png"):
        _require_free(arguments.out)
    predictions = opened(arguments.source, arguments)
    found = _some(chosen(predictions, arguments), predictions.source)
    told = _EXPORTS[arguments.to](found, arguments)
    output.line(f"{printable(arguments.out)}: {told}")
    return 0


def _coco(found: Iterator[Found], arguments: argparse.Namespace) -> str:
    with _new_directory(arguments.out) as directory:
        counts = write_coco(directory, limited(found, arguments), has_images=arguments.images)
    if counts.left_out:
        _log.warning("%s left out: nothing in them tells of boxes.", _records(counts.left_out))
    if counts.without_picture:
        _log.warning("%s without a picture: it was left out, or is damaged.", _records(counts.without_picture))
    return f"{counts.images} images, {counts.annotations} boxes"


def _parquet(found: Iterator[Found], arguments: argparse.Namespace) -> str:
    with _replaced(arguments.out) as path:
        return _records(write_parquet(path, limited(found, arguments), has_images=arguments.images))


def _html(found: Iterator[Found], arguments: argparse.Namespace) -> str:
    title = f"Predictions in {Path(arguments.source).absolute().name}"
    page = sheet_of(found, title=title, max_records=arguments.limit or MAX_RECORDS)
    write_atomically(arguments.out, page.encoded(), mode=_PRIVATE)
    return page.note


def _png(found: Iterator[Found], arguments: argparse.Namespace) -> str:
    count = 0
    with _new_directory(arguments.out) as directory:
        for count, (key, prediction) in enumerate(limited(found, arguments), start=1):
            name = readable_segment(order_of(key).removesuffix(SUFFIX))
            (directory / f"{count:06d}_{name}.png").write_bytes(annotated_png(prediction))
    return _records(count)


_EXPORTS = {"coco": _coco, "parquet": _parquet, "html": _html, "png": _png}


def _some(found: Iterator[Found], source: str) -> Iterator[Found]:
    """Returns the records, if there are some.

    Raises:
        ConfigError: There are none.
    """
    first = next(found, None)
    if first is None:
        raise ConfigError(f"No record in {source} is one of those that were asked for.")
    return chain([first], found)


def _require_free(path: Path) -> None:
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists() or path.is_symlink():
        raise ConfigError(f"{path} is there already. Name a directory that is not.")


@contextmanager
def _new_directory(path: Path) -> Iterator[Path]:
    """Gives a directory to write to, which is ``path`` when all is written."""
    with staged(path) as directory:
        directory.chmod(_PRIVATE_DIRECTORY)
        yield directory


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """Gives a file to write to, which is ``path`` when all is written; an earlier one is whole until then."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE))
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _records(count: int) -> str:
    return "1 record" if count == 1 else f"{count} records"

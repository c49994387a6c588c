"""``mlog predictions tail ADDRESS:PORT TOPIC``: records as a publisher sends them, one line each, until Ctrl-C."""

import argparse
import json
import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ml.cli.numbers import compact
from ml.cli.output import Output, printable
from ml.cli.predictions_json import as_json
from ml.core.errors import ConfigError
from ml.predictions.logged import LoggedPrediction
from ml.predictions.results import device_text_of, model_text_of, summary_of, surest_of, time_text_of
from ml.predictions.subscriber import Subscriber

_QUIET_S = 5.0  # then somebody may have mistaken the topic or the port
_MAX_KEY_BYTES = 200  # of the file that holds one; a key has 40 characters

_log = logging.getLogger("ml")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Prints the records, and says where some are missing.

    Returns:
        0, also after Ctrl-C: that is how it is meant to end.

    Raises:
        OSError: The file of a key cannot be read.
        ConfigError: There is no such address, a key is none, or ZeroMQ is not installed.
    """
    if arguments.count is not None and arguments.count < 1:
        raise ConfigError(f"--count is 1 or more, got {arguments.count}.")
    address, port = _endpoint(arguments.address)
    with Subscriber(
        address,
        port,
        arguments.topic,
        max_data_history=1,
        timeout_s=_QUIET_S,
        server_public_key=_key(arguments.server_key),
        client_secret_key=_key(arguments.client_key),
    ) as subscriber:
        gaps = _Gaps(subscriber)
        try:
            for record in islice(records_of(subscriber, arguments.topic, arguments.address), arguments.count):
                gaps.tell()
                output.write(f"{json.dumps(as_json(record)) if arguments.json else _line(record)}\n")
                output.flush()
        except KeyboardInterrupt:
            gaps.tell()
    return 0


def records_of(subscriber: Subscriber, topic: str, source: str) -> Iterator[LoggedPrediction]:
    """Yields the records as they come, until the subscriber is closed; says once if at first there are none.

    Args:
        subscriber: Iterating it ends when none has come for a while.
        topic: Which records, as the user wrote it: a wrong one is never answered.
        source: Whose, alike.
    """
    is_told = False
    while not subscriber.is_closed:
        yield from subscriber
        if not (is_told or subscriber.history or subscriber.is_closed):
            is_told = True
            refused = subscriber.refused
            why = f"{refused} attempts to connect failed" if refused else "topics are exact, by default a device's name"
            _log.warning("No record of %r from %s yet (%s). Waiting.", printable(topic), printable(source), why)


class _Gaps:
    """Says what is missing, once."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber, self._missed, self._damaged = subscriber, 0, 0

    def tell(self) -> None:
        missed, damaged = self._subscriber.missed, self._subscriber.damaged
        if missed > self._missed:
            _log.warning("%d records before this one were lost.", missed - self._missed)
        if damaged > self._damaged:
            _log.warning("%d messages before this one were no records.", damaged - self._damaged)
        self._missed, self._damaged = missed, damaged


def _line(record: LoggedPrediction) -> str:
    surest, latency = surest_of(record), record.inference_stats["latency_ms"]
    parts = [
        time_text_of(record),
        device_text_of(record),
        model_text_of(record),
        summary_of(record),
        "" if surest is None else f"{surest.confidence:.3f}",
        "" if latency is None else f"{compact(latency)} ms",
        f"error: {record.error_message}" if record.is_error else "",
    ]
    return "  ".join(printable(part) for part in parts if part)


def _endpoint(text: str) -> tuple[str, int]:
    """Returns address and port of ``"127.0.0.1:7777"`` or ``"[::1]:7777"``."""
    address, _, port = text.rpartition(":")
    if not address or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ConfigError(f"{text!r} is no ADDRESS:PORT such as 127.0.0.1:7777.")
    return address.removeprefix("[").removesuffix("]"), int(port)


def _key(path: Path | None) -> str | None:
    """Returns what a file holds: a key on the command line could be read by everybody on the machine."""
    if path is None:
        return None
    with path.open("rb") as file:
        return file.read(_MAX_KEY_BYTES).decode("ascii", "replace").strip()

"""Records as a contact sheet: one self-contained page of small pictures, with what was predicted below each."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from ml.predictions.drawing import thumbnail_of
from ml.predictions.reading import Found
from ml.predictions.results import device_text_of, model_text_of, summary_of, surest_of, time_text_of
from ml.report.html import Html, thumbnail
from ml.report.page import Page, Section
from ml.report.table import Column, cards

MAX_RECORDS = 500
"""Records on a sheet, unless it is said otherwise: each takes 10 to 20 kB."""

SIDE_PX = 256
"""What the longer side of a small picture has."""


class _Card(NamedTuple):
    """What a sheet shows of a record."""

    picture: Html
    remark: str
    result: str
    confidence: float | None
    model: str
    time: str
    latency_ms: float | None
    device: str
    error: str
    record_id: str


def sheet_of(
    found: Iterable[Found], *, title: str, max_records: int = MAX_RECORDS, made: datetime | None = None
) -> Page:
    """Returns the contact sheet of records.

    Args:
        found: The records. Of more than ``max_records`` the first are shown, and the page says so.
        title: Of the page.
        max_records: How many are shown, at least 1.
        made: When it was made; by default now.
    """
    shown, has_more = list[_Card](), False
    for one in found:
        if len(shown) == max_records:
            has_more = True
            break
        shown.append(_card(one))
    columns = [
        Column("", [card.picture for card in shown]),
        Column("result", [card.result for card in shown]),
        Column("confidence", [card.confidence for card in shown], is_number=True),
        Column("error", [card.error for card in shown], mark=True),
        Column("picture", [card.remark for card in shown]),
        Column("model", [card.model for card in shown]),
        Column("time (UTC)", [card.time for card in shown]),
        Column("latency (ms)", [card.latency_ms for card in shown], is_number=True),
        Column("device", [card.device for card in shown]),
        Column("id", [card.record_id for card in shown]),
    ]
    made = datetime.now(UTC) if made is None else made
    count = f"The first {len(shown)} records; more matched" if has_more else _count(len(shown))
    return Page(
        title, [Section("Records", [cards(columns)])], f"{count}, as of {made.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    )


def _card(found: Found) -> _Card:
    one = found.record
    result, surest, small = summary_of(one), surest_of(one), thumbnail_of(one, side_px=SIDE_PX)
    return _Card(
        thumbnail(small.file, one.error_message or result or "no result"),
        small.remark,
        result,
        None if surest is None else surest.confidence,
        model_text_of(one),
        time_text_of(one),
        one.inference_stats["latency_ms"],
        device_text_of(one),
        one.error_message,
        one.record_id,
    )


def _count(number: int) -> str:
    return f"{number} record{'' if number == 1 else 's'}"

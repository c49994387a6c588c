"""What a page shows of several things in turn: versions, epochs. A slider says which; without the program, the last.

Everything on a page that has stages follows the one slider of it, see ``Page.stages``: cells of tables that are
``Staged``, figures that ``in_turn`` was given, and the outlines on a picture.
"""

from collections.abc import Sequence

from ml.report.html import Html, joined, tag


def in_turn(shown: Sequence[Html]) -> Html:
    """Returns markup, of which the page shows one at a time.

    Args:
        shown: One a stage.
    """
    return joined([tag("div", attributes_of(stage, len(shown)), html) for stage, html in enumerate(shown)])


def attributes_of(stage: int, count: int) -> dict[str, object]:
    """Returns the attributes of an element that is there at one of ``count`` stages."""
    return {"data-stage": stage, "hidden": "" if stage < count - 1 else None}


def slider(names: Sequence[str]) -> Html:
    """Returns what chooses the stage; the program of the page shows it.

    Args:
        names: Of the stages.
    """
    last = len(names) - 1
    chooser = {"type": "range", "min": 0, "max": last, "value": last, "aria-label": "What is shown"}
    listed = tag("ol", {"hidden": ""}, *(tag("li", {}, name) for name in names))
    return tag("div", {"class": "slider", "hidden": ""}, tag("input", chooser), tag("output", {}, names[last]), listed)

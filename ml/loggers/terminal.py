"""Where lines are shown: a terminal with colours and a progress bar, or any other stream.

No thread is started, the cursor is never hidden, and ``sys.stdout`` stays what it
is. The bar lies one line below the cursor, so what others print in between lands
above it, and a process that is killed leaves a terminal that works.
"""

import io
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TextIO, cast

from ml.core.draws import nothing_drawn
from ml.core.state import State
from ml.loggers.lines import Line, duration

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

_log = logging.getLogger("ml")

_ERASE_BELOW = "\x1b[J"  # the one control code that is needed and that rich has no name for
_PHASE_STYLES = {"train": "bold cyan", "valid": "bold green", "test": "bold magenta"}
_CELL_STYLES = {"number": "bold", "non-finite": "bold red", "string": "yellow"}
_INDENT = 7  # under the step, so that the phases stay a column of their own
_MAX_BAR_WIDTH = 40
_MIN_BAR_WIDTH = 8


class Display(Protocol):
    """Turns lines into what is sent to a stream."""

    def show(self, lines: list[Line], state: State) -> str:
        """Returns the text that shows ``lines``, and how far ``state`` has come."""

    def end(self) -> str:
        """Returns the text that leaves the stream as it should be left."""


class PlainDisplay:
    """Lines as they are, for files, pipes, notebooks and terminals that cannot do more."""

    def show(self, lines: list[Line], state: State) -> str:
        return "".join(f"{line}\n" for line in lines)

    def end(self) -> str:
        return ""


class TerminalDisplay:
    """Coloured lines, wrapped between values, above a progress bar with the time left.

    Args:
        stream: The terminal. It is asked what it can do; nothing is written to it.
        total_steps: Training steps of the whole run; without it there is no bar.
        clock: Monotonic seconds.
    """

    def __init__(self, stream: TextIO, *, total_steps: int | None, clock: Callable[[], float]) -> None:
        with nothing_drawn():
            from rich.console import Console

            self._console = Console(
                file=stream, force_terminal=True, force_jupyter=False, highlight=False, markup=False, emoji=False
            )
        self._total_steps, self._clock = total_steps, clock
        self._start: tuple[int, float] | None = None  # the first step seen, and when
        self._bar: RenderableType | None = None

    def show(self, lines: list[Line], state: State) -> str:
        above = "".join(_rendered(self._console, row) for line in lines for row in _rows(line, self._console.width))
        if self._total_steps is None:
            return above
        from rich.control import Control

        self._bar = self._progress(state.num_steps, self._total_steps)
        bar = _rendered(self._console, self._bar).rstrip("\n")
        return f"{_ERASE_BELOW}{above}\n{bar}{Control.move_to_column(0, y=-1)}"

    def end(self) -> str:
        return "" if self._bar is None else f"{_ERASE_BELOW}{_rendered(self._console, self._bar)}"

    def _progress(self, step: int, total_steps: int) -> "RenderableType":
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        share = min(1.0, step / total_steps)
        label = Text.assemble(
            f"{int(100 * share):3}%  {step:>{len(str(total_steps))}}/{total_steps}",
            ("  " + self._time_left(step, total_steps), "dim"),
            no_wrap=True,
            overflow="crop",
        )
        width = min(_MAX_BAR_WIDTH, self._console.width - label.cell_len - 3)
        if width < _MIN_BAR_WIDTH:
            return label
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_row(ProgressBar(total=total_steps, completed=step, width=width), label)
        return grid

    def _time_left(self, step: int, total_steps: int) -> str:
        now = self._clock()
        if self._start is None:
            self._start = (step, now)
        first_step, start_s = self._start
        if step >= total_steps:
            return "done"
        if step <= first_step:
            return "-:--:-- left"
        return f"{duration((now - start_s) / (step - first_step) * (total_steps - step))} left"


class Output:
    """A stream that lines are sent to. Sending never raises: a stream that fails is left alone from then on.

    Args:
        stream: Where to; ``None`` is a process without standard output.
        display: What is sent.
        elsewhere: Where the lines can still be read, for the one notice.
    """

    def __init__(self, stream: TextIO | None, display: Display, *, elsewhere: str) -> None:
        self._stream, self._display, self._elsewhere = stream, display, elsewhere

    def show(self, lines: list[Line], state: State) -> None:
        """Shows lines, and how far the training has come."""
        if self._stream is not None:
            self._send(self._stream, self._display.show(lines, state))

    def end(self) -> None:
        """Shows for the last time how far the training has come."""
        if self._stream is not None:
            self._send(self._stream, self._display.end())
        self._stream = None

    def _send(self, stream: TextIO, text: str) -> None:
        try:
            _write(stream, text)
        except BlockingIOError:
            pass  # a terminal that somebody made non-blocking, and that is behind: the next line may pass
        except Exception as error:  # whatever somebody has put into sys.stdout
            self._stream = None
            _log.warning("Nothing more is printed: %s. Lines go on in %s.", str(error) or repr(error), self._elsewhere)


def open_output(
    stream: TextIO | None, *, total_steps: int | None, clock: Callable[[], float], elsewhere: str
) -> Output:
    """Returns the output that fits ``stream``: with colours and a bar on a terminal, plain elsewhere.

    ``NO_COLOR`` takes the colours away, ``TERM=dumb`` also the bar.
    """
    display: Display = PlainDisplay()
    if stream is not None and _is_capable_terminal(stream):
        display = TerminalDisplay(stream, total_steps=total_steps, clock=clock)
    return Output(stream, display, elsewhere=elsewhere)


def _is_capable_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty() and os.environ.get("TERM", "").lower() not in ("", "dumb", "unknown")
    except (AttributeError, OSError, ValueError):  # closed, or something with only a write method
        return False


def _write(stream: TextIO, text: str) -> None:
    """Sends all of ``text`` at once, with escapes for what the stream's encoding does not have."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    data = text.encode(encoding, "backslashreplace")
    if not isinstance(stream, io.TextIOWrapper):
        stream.write(data.decode(encoding))
        stream.flush()
        return
    # Past the stream's buffers: what could not be sent would come out of a forked child a second time, and
    # would fail again when the interpreter ends, which then exits with another status.
    stream.flush()
    raw = cast(io.RawIOBase, getattr(stream.buffer, "raw", stream.buffer))
    view = memoryview(data)
    while view:
        sent = raw.write(view)
        if sent is None:
            raise BlockingIOError
        view = view[sent:]


def _rows(line: Line, width: int) -> "list[Text]":
    """Returns the rows that a line takes: values that do not fit stand under the first."""
    from rich.text import Text

    row = Text.assemble(
        (f"{line.phase:5}", _PHASE_STYLES[line.phase]),
        ("  step ", "dim"),
        line.step,
        ("  epoch ", "dim"),
        line.epoch,
        (f"  {line.elapsed}", "dim"),
    )
    rows = [row]
    for cell in line.cells:
        value = Text.assemble((f"  {cell.tag} ", "dim"), (cell.text, _CELL_STYLES[cell.kind]), (cell.mark, "dim"))
        if row.cell_len + value.cell_len > width:
            row = Text(" " * (_INDENT - 2))
            rows.append(row)
        row.append_text(value)
    for row in rows:
        row.rstrip()
    return rows


def _rendered(console: "Console", renderable: "RenderableType") -> str:
    with console.capture() as capture:
        console.print(renderable, overflow="fold", crop=False)
    return capture.get()

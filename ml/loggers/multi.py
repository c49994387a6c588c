"""What a component logs with: ``self.logger.log_scalar("loss", lambda: loss)``.

A call keeps the callable or the value under its kind, namespace and key; nothing
is computed or copied. That happens at the end of the step, in ``LoggerGroup.write``.
"""

import logging
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from itertools import repeat, starmap
from types import FunctionType
from typing import TYPE_CHECKING, NamedTuple, NoReturn, cast

from ml.core.errors import ConfigError, LogValueError
from ml.core.state import State
from ml.io.lifetime import tell_after_fork
from ml.io.worker import Lock
from ml.loggers import kinds
from ml.loggers.entry import Entry, Held, Ident, is_sound, shown
from ml.loggers.graphs import outside_of_graphs, skip_frames
from ml.loggers.reduce import AcrossRanks, Reduce, ReduceOptions
from ml.loggers.tensors import version

if TYPE_CHECKING:
    from ml.loggers.base import AnyLogger
    from ml.loggers.group import LoggerGroup

MAX_WAITING = 4096
"""Values that a component may hold before the older ones of a key give way: the step was never ended."""

_MAX_IDENTS = 10_000
_PASSING_ON = ("ml.loggers.multi", "ml.session", "ml.integrations.")  # modules that log what others gave them

_log = logging.getLogger("ml")
_suffix: ContextVar[str] = ContextVar("ml_namespace_suffix", default="")


@contextmanager
def namespace_context(name: str) -> Iterator[None]:
    """Adds ``_<name>`` to every namespace that is logged to inside; an empty namespace becomes ``name``.

    It follows the context: other threads and tasks do not see it.

    Raises:
        ConfigError: The name is no text, is empty or holds a ``/``.
    """
    check_namespace(name)
    if not name:
        raise ConfigError("namespace_context adds a name that is not empty, got ''.")
    token = _suffix.set(f"{_suffix.get()}_{name}")
    try:
        yield
    finally:
        _suffix.reset(token)


def check_namespace(namespace: object) -> None:
    """Finds what is no namespace.

    Raises:
        ConfigError: It is no text, or holds a ``/``.
    """
    if not isinstance(namespace, str) or "/" in namespace:
        raise ConfigError(f"A namespace is a text that holds no '/', got {namespace!r}: use '_', or a key with '/'.")


class MultiLogger:
    """Holds what one component logs until the step ends.

    Every ``log_*`` takes a value, or a callable without arguments that gives it;
    a callable runs at most once, at the end of the step, and only if a backend
    wants the value. A value that is not a callable must not be changed in place
    until then: in a torch tensor that is noticed, and fails the value as ``mutated``;
    in an array, an inference tensor, a table, and in boxes, scores and colors it is not.

    Calls are thread-safe and re-entrant. None of them raises: what is wrong with a
    value is found and reported when it is computed. ``torch.compile`` leaves them
    out of its graphs, see ``graphs.py``.

    After a fork, and when pickled or copied, the copy discards what it is given.

    Args:
        default_namespace: Where keys go that are logged without a namespace; holds no ``/``.

    Attributes:
        overwritten: Values that a later one of the same key and step replaced.
    """

    def __init__(self, default_namespace: str) -> None:
        check_namespace(default_namespace)
        self.default_namespace = default_namespace
        self.overwritten = 0
        # Appending to a deque and taking from it are atomic: threads, signal handlers and
        # finalizers may log at any moment, and no lock can be held by one of them.
        self._entries: deque[Entry] | _Discarding = deque()
        self._idents: dict[str, Ident] = {}
        self._in_place: dict[tuple[AnyLogger, ...], LoggerGroup] = {}
        self._max_waiting = MAX_WAITING
        self._taking = Lock()
        self._warned = False
        skip_frames(MultiLogger)
        tell_after_fork(self)

    @outside_of_graphs
    def log_scalar(
        self,
        key: str,
        value: object,
        *,
        namespace: str | None = None,
        reduce: Reduce | None = None,
        weight: float = 1.0,
        across_ranks: AcrossRanks | None = None,
    ) -> None:
        """Logs one number.

        Args:
            key: The key within the namespace; may hold ``/``.
            value: A real number, a tensor or array with one element, or a callable that gives one.
            namespace: Instead of the component's own.
            reduce: What a window makes of several numbers: ``last``, ``mean``, ``sum``, ``min`` or
                ``max``. ``None`` is ``last`` in training and the mean over the pass otherwise.
            weight: What this number counts for in a mean, e.g. the batch size; 0 or more.
            across_ranks: What all ranks' numbers of a step, or of a pass, become: ``mean``, ``sum``, ``min`` or
                ``max``. Log it on every rank that has one; every rank computes it at every step, and none waits
                for another. In training some steps are written, in a pass its end; not together with ``reduce``
                in training. Where not all ranks gave one, and whenever their number changes, a text ``<key>.ranks``
                says so: ``7/8 ranks``.
        """
        if reduce is not None or across_ranks is not None or type(weight) is not float or weight != 1.0:
            # Past the constructor of a named tuple, which takes twice as long.
            options = tuple.__new__(ReduceOptions, (reduce, weight, across_ranks))
            self._add(kinds.SCALAR, key, value, namespace, options)
            return
        ident = self._idents.get(key) if type(key) is str and namespace is None and not _suffix.get() else None
        if ident is None:
            self._add(kinds.SCALAR, key, value, namespace, None)
            return
        # The call that is made most, without a further call.
        value_type = type(value)
        plain = value_type is FunctionType or value_type is float or value_type is int
        entries = self._entries
        entries.append((ident, value, None, None if plain else _held(value)))
        if len(entries) > self._max_waiting:
            self._compact()

    @outside_of_graphs
    def log_scalars(self, values: Mapping[str, object], *, namespace: str | None = None) -> None:
        """Logs several numbers: ``{key: value}``."""
        for key, value in items_of(values, "log_scalars"):
            self._add(kinds.SCALAR, key, value, namespace, None)

    @outside_of_graphs
    def log_string(self, key: str, value: object, *, namespace: str | None = None) -> None:
        """Logs a text. Texts are events: every one is kept, also several of one key in a step."""
        self._add(kinds.STRING, key, value, namespace, None)

    @outside_of_graphs
    def log_image(
        self,
        key: str,
        value: object,
        *,
        namespace: str | None = None,
        keep_resolution: bool = False,
        boxes: object = None,
        labels: Sequence[str] | None = None,
        scores: object = None,
    ) -> None:
        """Logs a picture.

        Args:
            key: The key within the namespace.
            value: Shape (H, W), (C, H, W) or (H, W, C) with C in 1, 3, 4, any real dtype, floats in
                [0, 1]; a PIL image; a matplotlib figure; or a callable that gives one.
            namespace: Instead of the component's own.
            keep_resolution: Keeps pictures above 512 x 512 pixels as large as they are.
            boxes: Shape (N, 4), xyxy in pixels of ``value``, or a callable that gives them; drawn
                after resizing, so lines stay sharp.
            labels: A text for each box.
            scores: Shape (N,), a number for each box, or a callable that gives them.
        """
        options = kinds.ImageOptions(keep_resolution, boxes, labels, scores)
        self._add(kinds.IMAGE, key, value, namespace, options)

    @outside_of_graphs
    def log_labeled_image(
        self,
        key: str,
        value: object,
        *,
        namespace: str | None = None,
        max_line_length: int | None = None,
        keep_resolution: bool = False,
        centered: bool = True,
    ) -> None:
        """Logs a picture with a text: ``(image, text)``, or a callable that gives the pair.

        ``max_line_length`` is in characters; by default lines fit the picture.
        """
        options = kinds.ImageOptions(keep_resolution, labeled=True, max_line_length=max_line_length, centered=centered)
        self._add(kinds.IMAGE, key, value, namespace, options)

    @outside_of_graphs
    def log_images(
        self,
        key: str,
        value: object,
        *,
        namespace: str | None = None,
        keep_resolution: bool = False,
        max_images: int = 64,
        sep: int = 0,
    ) -> None:
        """Logs a batch of pictures as one, tiled on the most nearly square grid.

        Args:
            key: The key within the namespace.
            value: Shape (B, H, W), (B, C, H, W) or (B, H, W, C), a sequence of pictures, or a
                callable that gives them.
            namespace: Instead of the component's own.
            keep_resolution: Keeps cells above 256 x 256 pixels as large as they are.
            max_images: Of more pictures, this many are shown, evenly spaced.
            sep: Pixels between neighbours.
        """
        self._add(kinds.IMAGE, key, value, namespace, kinds.GridOptions(keep_resolution, max_images, sep))

    @outside_of_graphs
    def log_labeled_images(
        self,
        key: str,
        value: object,
        *,
        namespace: str | None = None,
        max_line_length: int | None = None,
        keep_resolution: bool = False,
        centered: bool = True,
        max_images: int = 64,
        sep: int = 0,
    ) -> None:
        """Logs a batch of pictures with a text each: ``(images, texts)``, or a callable that gives the pair."""
        options = kinds.GridOptions(keep_resolution, max_images, sep, True, max_line_length, centered)
        self._add(kinds.IMAGE, key, value, namespace, options)

    @outside_of_graphs
    def log_audio(self, key: str, value: object, *, namespace: str | None = None, sample_rate: int = 44100) -> None:
        """Logs a clip: shape (T,), (C, T) or (T, C), floats in [-1, 1] or PCM; of more than two channels the first.

        ``sample_rate`` is in Hz.
        """
        self._add(kinds.AUDIO, key, value, namespace, kinds.AudioOptions(sample_rate))

    @outside_of_graphs
    def log_video(
        self,
        key: str,
        value: object,
        *,
        namespace: str | None = None,
        fps: float | None = None,
        length: int | None = None,
        max_frames: int = 256,
    ) -> None:
        """Logs a video.

        Args:
            key: The key within the namespace.
            value: Shape (T, H, W), (T, C, H, W) or (T, H, W, C), or a callable that gives it.
            namespace: Instead of the component's own.
            fps: Frames per second that ``value`` was taken at; by default 10.
            length: Frames to show, evenly spaced in time; the video lasts as long as before.
            max_frames: The most frames to show.
        """
        self._add(kinds.VIDEO, key, value, namespace, kinds.VideoOptions(fps, length, max_frames))

    @outside_of_graphs
    def log_histogram(self, key: str, value: object, *, namespace: str | None = None) -> None:
        """Logs the distribution of numbers: any shape and real dtype; NaN and infinities are counted apart."""
        self._add(kinds.HISTOGRAM, key, value, namespace, None)

    @outside_of_graphs
    def log_point_cloud(
        self,
        key: str,
        value: object,
        *,
        namespace: str | None = None,
        max_points: int = 1000,
        colors: object = None,
    ) -> None:
        """Logs points in space: shape (N, 3), (3, N) or (B, N, 3).

        Args:
            key: The key within the namespace.
            value: The points, or a callable that gives them.
            namespace: Instead of the component's own.
            max_points: Of more points, this many are drawn at random; the same every time.
            colors: Shape (N, 3) or (B, N, 3), uint8 or floats in [0, 1], or a callable that gives them.
        """
        self._add(kinds.POINT_CLOUD, key, value, namespace, kinds.PointOptions(max_points, colors))

    @outside_of_graphs
    def log_table(
        self,
        key: str,
        value: object,
        *,
        namespace: str | None = None,
        max_rows: int = 10_000,
    ) -> None:
        """Logs a table: numbers, texts, truth values, times, small arrays and pictures, in columns.

        Args:
            key: The key within the namespace.
            value: A mapping of column to sequence, each of the same length, an array or a tensor with a row for each
                element of its first axis among them; a data frame; what has ``column_names`` and ``iter_batches()``
                (``ml.media.table.TableLike``); or a callable that gives one. What its cells become,
                ``ml.media.table.standardize_table`` says.
            namespace: Instead of the component's own.
            max_rows: Of more rows, the first ones are kept: sort it by what matters.
        """
        self._add(kinds.TABLE, key, value, namespace, kinds.TableOptions(max_rows))

    @outside_of_graphs
    def log(
        self, kind: kinds.Kind, key: str, value: object, *, namespace: str | None = None, options: object = None
    ) -> None:
        """Logs a value of any kind, also of one of your own. Backends take it that have the kind in ``kinds``.

        Args:
            kind: What it is.
            key: The key within the namespace.
            value: What the kind's ``select`` takes, or a callable that gives it.
            namespace: Instead of the component's own.
            options: What belongs to the value, for the kind's ``select`` and ``munge``.
        """
        self._add(kind, key, value, namespace, options)

    @outside_of_graphs
    def write(self, loggers: "LoggerGroup | Iterable[AnyLogger]", state: State) -> None:
        """Ends a step of this component alone: writes what it holds to every logger that is due.

        Args:
            loggers: A group, or plain loggers that were initialized; those run in place, on this
                thread, and ``finish`` is to be called at the end.
            state: The state that the values belong to.
        """
        from ml.loggers.group import LoggerGroup

        if isinstance(loggers, LoggerGroup):
            loggers.write([self], state)
            return
        loggers = tuple(loggers)
        if loggers not in self._in_place:
            self._in_place[loggers] = LoggerGroup.in_place(loggers)
        self._in_place[loggers].write([self], state)

    def finish(self) -> None:
        """Has plain loggers write what they still wait for: the running pass, and what open windows hold.

        Call it before they are closed; a ``LoggerGroup`` does it by itself.
        """
        for group in self._in_place.values():
            group.end_windows()

    def scalar_ident(self, key: str) -> Ident:
        """Returns the series of a number that is logged here and now as ``key``, a text that is not empty."""
        ident = self._idents.get(key) if not _suffix.get() else None
        if ident is None:
            ident = _ident(kinds.SCALAR, self.default_namespace, key)
            if not _suffix.get() and len(self._idents) < _MAX_IDENTS:
                self._idents[key] = ident
        return ident

    def take(self) -> list[Entry]:
        """Returns what was logged since the last call, in order, and forgets it."""
        entries = self._entries
        taken: list[Entry] = []
        with self._taking, suppress(IndexError):  # a signal handler took the rest
            taken.extend(starmap(entries.popleft, repeat((), len(entries))))  # a loop in C
        return taken

    def put_back(self, entries: "list[Entry]") -> None:
        """Takes back what ``take`` returned, as older than what was logged meanwhile."""
        self._entries.extendleft(reversed(entries))

    def __len__(self) -> int:
        """How many values wait for the step to end."""
        return len(self._entries)

    def __bool__(self) -> bool:
        return True

    def after_fork_in_child(self) -> None:
        """Discards from now on: a forked child has no backend to write to."""
        self._entries = _Discarding(self.default_namespace)
        self._taking = Lock()

    def __reduce__(self) -> tuple[object, ...]:
        return _discarding_copy, (self.default_namespace,)

    def _add(self, kind: kinds.Kind, key: str, value: object, namespace: str | None, options: object) -> None:
        if namespace is None:
            namespace = self.default_namespace
            name = key
        else:
            name = None
        if type(key) is not str or type(namespace) is not str:
            self._add_odd(kind, key, value, namespace, options)
            return
        if _suffix.get():
            name = None
        ident = kind, namespace, key = _ident(kind, namespace, key)
        value_type = type(value)
        plain = value_type is FunctionType or value_type is float or value_type is int
        entries = self._entries
        if not key or (name is None and "/" in namespace) or not (options is None or is_sound(options)):
            plain, name = False, None  # it will fail whatever the value is, and only here is known who logged it
        entries.append((ident, value, options, None if plain else _held(value)))
        if name is not None and kind is kinds.SCALAR and len(self._idents) < _MAX_IDENTS:
            self._idents[name] = ident
        if len(entries) > self._max_waiting:
            self._compact()

    def _add_odd(self, kind: kinds.Kind, key: object, value: object, namespace: object, options: object) -> None:
        """Takes a value whose key or namespace is no plain text; what is no text at all fails when the step ends."""
        if isinstance(key, str) and isinstance(namespace, str):
            self._add(kind, "".join(key), value, "".join(namespace), options)
        else:
            ident = (kind, cast(str, _NoText.of(namespace)), cast(str, _NoText.of(key)))
            self._entries.append((ident, value, options, _held(value)))

    def _compact(self) -> None:
        if not self._taking.acquire(blocking=False):
            return  # another thread takes them, or compacts
        try:
            self._compact_taken()
        finally:
            self._taking.release()

    def _compact_taken(self) -> None:
        entries = self.take()
        latest = {entry[0]: entry for entry in entries}
        left = [e for e in entries if latest[e[0]] is e or not e[0][0].limited or isinstance(e[2], ReduceOptions)]
        left = left[-MAX_WAITING * 16 :]
        self.overwritten += len(entries) - len(left)
        self._entries.extendleft(reversed(left))  # what was logged meanwhile is newer
        self._max_waiting = max(MAX_WAITING, 2 * len(left))
        if len(left) < len(entries) and not self._warned:
            self._warned = True
            _log.warning(
                "%s holds %d values of one step and forgets all but the last of a key. Is run.step() called?",
                f"The logger of '{self.default_namespace}'" if self.default_namespace else "run.log",
                len(entries),
            )


def _ident(kind: kinds.Kind, namespace: str, key: str) -> Ident:
    """Returns the series that a call is of, inside of the running ``namespace_context``."""
    if suffix := _suffix.get():
        namespace = namespace + suffix if namespace else suffix[1:]
    if not namespace and key.find("/") > 0:  # "/x" stays what it is: it is another key than "x"
        namespace, _, key = key.partition("/")
    return kind, namespace, key


def items_of(values: Mapping[str, object], call: str) -> Iterable[tuple[str, object]]:
    """Returns the keys and values that ``call`` was given; of what is no mapping, a value that fails when it is due."""
    try:
        return values.items()
    except AttributeError:
        return [(call, partial(_refuse, values))]


def _refuse(values: object) -> NoReturn:
    raise LogValueError(f"it takes {{key: value}}, got {values!r}")


def _held(value: object) -> Held:
    frame = sys._getframe(2)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith(_PASSING_ON):
        frame = frame.f_back
    return Held(f"{frame.f_code.co_filename}:{frame.f_lineno}", None if callable(value) else version(value))


class _NoText(NamedTuple):
    """Stands for a key that is no text, which perhaps cannot be hashed either."""

    shown: str

    @classmethod
    def of(cls, name: object) -> "str | _NoText":
        return name if isinstance(name, str) else cls(shown(name))

    def __repr__(self) -> str:
        return self.shown


class _Discarding:
    """Stands for the entries of a copy that discards them; says so once."""

    def __init__(self, namespace: str) -> None:
        self._namespace: str | None = namespace

    def append(self, entry: Entry) -> None:
        if self._namespace is not None:
            namespace, self._namespace = self._namespace, None
            _log.warning(
                "This is a forked, pickled or copied '%s' logger, which discards. Log from the original.", namespace
            )

    def extendleft(self, entries: Iterable[Entry]) -> None:
        """Discards them."""

    def popleft(self) -> Entry:
        raise IndexError("nothing is kept")

    def __len__(self) -> int:
        return 0


def _discarding_copy(namespace: str) -> MultiLogger:
    copy = MultiLogger(namespace)
    copy.after_fork_in_child()
    return copy

"""Who gets the values of one series, and the path that most values take: plain numbers in training."""

from collections.abc import Callable

from ml.core.errors import LogValueError
from ml.core.state import Phase
from ml.loggers.delivery import Delivery
from ml.loggers.entry import Ident
from ml.loggers.values import Row, series_path


class Audience:
    """The deliveries that take the same series. What those that are due get, they get together.

    Attributes:
        deliveries: Who takes them.
        due: Those that are due in the running step: they get every value of it.
        waiting: The others: they get a value whose key their window has not kept yet.
        idents: The series that had a value in the running step.
        rows: Their values.
    """

    __slots__ = ("deliveries", "due", "idents", "rows", "waiting")

    def __init__(self, deliveries: tuple[Delivery, ...]) -> None:
        self.deliveries = deliveries
        self.begin_step()

    def begin_step(self) -> None:
        """A step ends: finds out who is due in it."""
        self.due = [delivery for delivery in self.deliveries if delivery.due]
        self.waiting = [delivery for delivery in self.deliveries if not delivery.due]
        self.idents: list[Ident] = []
        self.rows: list[Row] = []

    def give_rows(self, phase: Phase) -> None:
        """Gives the values to those that are due."""
        rows, self.rows = self.rows, []
        for delivery in self.due:
            delivery.give_plain(rows, self.idents, phase)


class Route:
    """Who gets the values of one series, found once.

    Attributes:
        ident: Kind, namespace and key without secrets, as backends are given them.
        path: ``<namespace>/<key>``, or the key in the empty namespace.
        problem: What is wrong with the namespace or the key, if something is.
        receivers: The deliveries that take this kind and key.
        audience: The same, as they are shared with other series.
        is_straight: Whether its plain numbers need no further question.
        is_reduced: Whether training values of it are reduced.
        limited: Values that no one needed, until ``tell_limited`` counts them.
        step: Stands for the step that last had one of those.
    """

    __slots__ = (
        "audience",
        "ident",
        "is_reduced",
        "is_straight",
        "limited",
        "path",
        "problem",
        "receivers",
        "refusals",
        "step",
    )

    def __init__(
        self,
        ident: Ident,
        deliveries: list[Delivery],
        audiences: dict[tuple[Delivery, ...], Audience],
        redact: Callable[[str], str],
    ) -> None:
        kind, namespace, key = ident
        self.ident = ident
        self.path = series_path(namespace, str(key))
        self.problem = _problem(namespace, key)
        path = self.path if self.problem is not None else redact(self.path)
        if path != self.path:
            self.ident, self.path = (kind, redact(namespace), redact(key)), path
        refusals = [(delivery, delivery.refusal(kind, self.path)) for delivery in deliveries]
        self.refusals = tuple((delivery, refusal) for delivery, refusal in refusals if refusal is not None)
        takers = tuple(delivery for delivery, refusal in refusals if refusal is None)
        if takers not in audiences:
            audiences[takers] = Audience(takers)
        self.audience = audiences[takers]
        self.receivers = self.audience.deliveries
        self.is_straight = kind.reducible and self.problem is None and not self.refusals
        self.is_reduced = False
        self.limited = 0
        self.step: object = None

    def tell_limited(self) -> None:
        """Counts what was not needed."""
        count, self.limited = self.limited, 0
        if count:
            for delivery in self.receivers:
                delivery.tally.skip("rate_limited", count)
            self.tell_refused(count)

    def tell_refused(self, count: int = 1) -> None:
        """Counts values at the backends that never get them."""
        for delivery, refusal in self.refusals:
            delivery.tally.skip(refusal, count)


def _problem(namespace: object, key: object) -> LogValueError | None:
    if not isinstance(key, str) or not key:
        return LogValueError(f"a key is a text that is not empty, got {key!r}")
    if not isinstance(namespace, str) or "/" in namespace:
        return LogValueError(f"a namespace is a text without '/', got {namespace!r}", "Put the '/' into the key.")
    return None

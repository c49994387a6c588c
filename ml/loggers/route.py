"""Who gets the values of one series."""

from ml.core.errors import LogValueError
from ml.loggers.delivery import Delivery, Ident


class Route:
    """Who gets the values of one series, found once.

    Attributes:
        path: ``<namespace>/<key>``, or the key in the empty namespace.
        problem: What is wrong with the namespace or the key, if something is.
        receivers: The deliveries that take this kind and key.
        limited: Values that no one needed, until ``tell_limited`` counts them.
        step: Stands for the step that last had one of those.
    """

    __slots__ = ("limited", "path", "problem", "receivers", "refusals", "step")

    def __init__(self, ident: Ident, deliveries: list[Delivery]) -> None:
        kind, namespace, key = ident
        self.path = f"{namespace}/{key}" if namespace else str(key)
        self.problem = _problem(namespace, key)
        refusals = [(delivery, delivery.refusal(kind, self.path)) for delivery in deliveries]
        self.receivers = [delivery for delivery, refusal in refusals if refusal is None]
        self.refusals = [(delivery, refusal) for delivery, refusal in refusals if refusal is not None]
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

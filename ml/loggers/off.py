"""A backend that could not start: it takes its place, so that what it would have got is counted."""

from ml.core.errors import ClosedError
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import AnyLogger, BaseLogger, BaseLoggerConfig


class OffLogger(BaseLogger[BaseLoggerConfig]):
    """Stands for ``backend``: is due when it would be, and fails every write."""

    def __init__(self, backend: AnyLogger, context: RunContext) -> None:
        super().__init__(backend.config)
        self._id, self._backend = backend.id, backend
        self.kinds = backend.kinds
        self.attach(context)

    @property
    def id(self) -> str:
        return self._id if hasattr(self, "_id") else "off"

    def default_write_every_n_seconds(self, state: State) -> float:
        return 1.0

    def write(self, state: State) -> None:
        raise ClosedError(f"'{self.id}' is off, as it could not start")

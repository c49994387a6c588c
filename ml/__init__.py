"""The logging subsystem of a PyTorch training framework: it keeps what was logged, and costs next to nothing.

``start_run`` logs any loop; ``open_run`` and ``open_runs`` read back what was written;
``ml.loggers`` has what components and backends are made of.
"""

from typing import TYPE_CHECKING

from ml.core.lazy import loaded_on_use

if TYPE_CHECKING:
    from ml.core.errors import ClosedError, ConfigError, FormatError, LogValueError, MLError, WriteError
    from ml.core.run import RunContext
    from ml.core.state import Phase, State
    from ml.integrations.std_logging import logging_handler
    from ml.loggers import (
        BaseLogger,
        BaseLoggerConfig,
        LoggerGroup,
        LoggerStats,
        MultiLogger,
        namespace_context,
        register_logger,
    )
    from ml.reading import open_run, open_runs
    from ml.session import Run, start_run

_HOMES = {
    "ml.core.errors": ("ClosedError", "ConfigError", "FormatError", "LogValueError", "MLError", "WriteError"),
    "ml.core.run": ("RunContext",),
    "ml.core.state": ("Phase", "State"),
    "ml.integrations.std_logging": ("logging_handler",),
    "ml.loggers": (
        "BaseLogger",
        "BaseLoggerConfig",
        "LoggerGroup",
        "LoggerStats",
        "MultiLogger",
        "namespace_context",
        "register_logger",
    ),
    "ml.reading": ("open_run", "open_runs"),
    "ml.session": ("Run", "start_run"),
}

__all__ = [
    "BaseLogger",
    "BaseLoggerConfig",
    "ClosedError",
    "ConfigError",
    "FormatError",
    "LogValueError",
    "LoggerGroup",
    "LoggerStats",
    "MLError",
    "MultiLogger",
    "Phase",
    "Run",
    "RunContext",
    "State",
    "WriteError",
    "logging_handler",
    "namespace_context",
    "open_run",
    "open_runs",
    "register_logger",
    "start_run",
]

__getattr__ = loaded_on_use(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)

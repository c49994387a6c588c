"""Loggers: the interface of a backend, and what calls it.

A component logs with a ``MultiLogger``; a ``LoggerGroup`` ends steps and gives
every backend its values; a backend is a ``BaseLogger``, registered by name.
"""

from ml.core.registry import register_logger
from ml.loggers.base import BaseLogger, BaseLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.multi import MultiLogger, namespace_context
from ml.loggers.stats import LoggerStats

__all__ = [
    "BaseLogger",
    "BaseLoggerConfig",
    "LoggerGroup",
    "LoggerStats",
    "MultiLogger",
    "namespace_context",
    "register_logger",
]

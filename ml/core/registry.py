"""Types that are chosen by name: loggers, tasks, models, trainers and callbacks.

A type registers itself when its module is imported. One that is not known yet
is looked for among the entry points of installed packages, so a backend in a
package of its own needs no import by the user.
"""

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ml.core.config import BaseConfig, BaseObject
from ml.core.errors import ConfigError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

ObjectT = TypeVar("ObjectT", bound=BaseObject[Any])
DecoratedT = TypeVar("DecoratedT", bound=type[BaseObject[Any]])


class Registered(NamedTuple, Generic[ObjectT]):
    """A type, and the configuration that it is built from."""

    cls: type[ObjectT]
    config: type[BaseConfig]


class Registry(Generic[ObjectT]):
    """The types of one kind, by name.

    Args:
        kind: What the types are, for messages: ``"logger"``.
        group: The entry-point group of third parties: ``"ml.loggers"``. An entry
            point names a module, or the type in it; importing it registers the type.
        builtin: Module of each name that comes with this package, imported on first use.
    """

    def __init__(self, kind: str, group: str, builtin: Mapping[str, str] | None = None) -> None:
        self.kind, self.group = kind, group
        self._builtin = dict(builtin or {})
        self._types: dict[str, Registered[ObjectT]] = {}

    def register(self, name: str, config: type[BaseConfig]) -> Callable[[DecoratedT], DecoratedT]:
        """Decorates a class: ``name`` now stands for it, built from ``config``.

        Raises:
            ConfigError: The name is taken by another class, or ``config`` is no BaseConfig.
        """
        if not dataclasses.is_dataclass(config):
            raise ConfigError(f"The {self.kind} '{name}' needs a dataclass derived from BaseConfig, got {config!r}.")

        def decorate(cls: DecoratedT) -> DecoratedT:
            known = self._types.get(name)
            if known is not None and _identity(known.cls) != _identity(cls):
                raise ConfigError(
                    f"Two {self.kind}s are called '{name}': {_identity(known.cls)} and {_identity(cls)}. Rename one."
                )
            self._types[name] = Registered(cls, config)  # type: ignore[arg-type]  # a decorator keeps the exact class
            return cls

        return decorate

    def lookup(self, name: str) -> Registered[ObjectT]:
        """Returns the type called ``name``.

        Raises:
            ConfigError: There is none; the message has the nearest names.
        """
        if name not in self._types and name in self._builtin:
            import_module(self._builtin[name])
        if name not in self._types:
            for entry in self._entry_points():
                if entry.name == name:
                    entry.load()
        if name not in self._types:
            raise ConfigError(f"No {self.kind} is registered as '{name}'. {self._suggestion(name)}")
        return self._types[name]

    def names(self) -> list[str]:
        """Returns every name that ``lookup`` would find, sorted."""
        return sorted({*self._types, *self._builtin, *(entry.name for entry in self._entry_points())})

    def name_of(self, cls: type[BaseObject[Any]]) -> str | None:
        """Returns the name that ``cls`` is registered under, or ``None``."""
        return next((name for name, known in self._types.items() if known.cls is cls), None)

    def build(self, config: BaseConfig | DictConfig | Mapping[str, object]) -> ObjectT:
        """Builds the object that ``config.name`` stands for.

        A mapping is first checked against the type's configuration class, so an
        unknown or ill-typed setting is found here.

        Raises:
            ConfigError: The name or a setting is unknown or missing, a value is of the wrong type, or
            the type lacks a method.
        """
        name = config.name if isinstance(config, BaseConfig) else config.get("name", "???")
        if not isinstance(name, str) or name == "???":
            raise ConfigError(f"A {self.kind} needs a name: one of {', '.join(self.names())}.")
        registered = self.lookup(name)
        typed = config if isinstance(config, BaseConfig) else self._typed(name, config)
        if not isinstance(typed, registered.config):
            expected, got = registered.config.__name__, type(typed).__name__
            raise ConfigError(f"The {self.kind} '{name}' is configured by a {expected}, got a {got}.")
        if missing := sorted(getattr(registered.cls, "__abstractmethods__", ())):
            raise ConfigError(
                f"The {self.kind} '{name}' cannot be built: {_identity(registered.cls)} does not implement "
                f"{', '.join(missing)}."
            )
        return registered.cls(typed)

    def _typed(self, name: str, config: DictConfig | Mapping[str, object]) -> BaseConfig:
        schema = self.lookup(name).config
        fields = [field.name for field in dataclasses.fields(schema)]
        for key in config:
            if key not in fields:
                close = difflib.get_close_matches(str(key), fields, n=1)
                hint = f"Did you mean '{close[0]}'? " if close else ""
                raise ConfigError(
                    f"The {self.kind} '{name}' has no setting {str(key)!r}. {hint}Valid: {', '.join(fields)}."
                )
        try:
            if isinstance(config, DictConfig):  # while it is still part of what it refers to
                config = cast(Mapping[str, object], OmegaConf.to_container(config, resolve=True))
            typed = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), config))
        except OmegaConfBaseException as error:
            raise ConfigError(f"The {self.kind} '{name}' cannot be configured: {str(error).splitlines()[0]}") from error
        assert isinstance(typed, BaseConfig)
        return typed

    def _entry_points(self) -> "EntryPoints":
        from importlib.metadata import entry_points  # slow to import, and rarely needed

        return entry_points(group=self.group)

    def _suggestion(self, name: str) -> str:
        names = self.names()
        close = difflib.get_close_matches(name, names, n=1)
        return f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(names) or 'none'}."


def _identity(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


LOGGERS: Registry[Any] = Registry(
    "logger",
    "ml.loggers",
    {name: f"ml.loggers.{name}" for name in ("tensorboard", "stdout", "json", "journal", "memory", "csv")}
    | {name: f"ml.integrations.{name}" for name in ("parquet", "wandb", "mlflow", "trackio", "sql")},
)
TASKS: Registry[Any] = Registry("task", "ml.tasks", {"digits": "ml.tasks.digits"})
MODELS: Registry[Any] = Registry("model", "ml.models", {"cnn": "ml.models.cnn"})
TRAINERS: Registry[Any] = Registry("trainer", "ml.trainers", {"supervised": "ml.trainers.supervised"})
CALLBACKS: Registry[Any] = Registry(
    "callback", "ml.callbacks", {"system": "ml.benchmarks.system", "tables": "ml.evaluation.validation"}
)

register_logger = LOGGERS.register
register_task = TASKS.register
register_model = MODELS.register
register_trainer = TRAINERS.register
register_callback = CALLBACKS.register

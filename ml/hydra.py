"""The configuration as Hydra sees it: schemas, where the files are, and errors that a user can act on.

Without torch, so that a mistake on the command line is found at once.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.errors import MissingConfigException, OverrideParseException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ml.benchmarks.config import SystemCallbackConfig
from ml.core.config import BaseConfig, conf_field
from ml.core.errors import ConfigError
from ml.core.registry import LOGGERS
from ml.evaluation.config import TablesCallbackConfig
from ml.models.config import CnnConfig
from ml.tasks.config import DigitsConfig
from ml.trainers.config import SupervisedTrainerConfig

_BACKENDS = (
    "tensorboard",
    "stdout",
    "json",
    "journal",
    "memory",
    "csv",
    "parquet",
    "wandb",
    "mlflow",
    "trackio",
    "sql",
)
_SCHEMAS: dict[str, dict[str, type[BaseConfig]]] = {
    "trainer": {"supervised": SupervisedTrainerConfig},
    "task": {"digits": DigitsConfig},
    "model": {"cnn": CnnConfig},
    "callbacks": {"system": SystemCallbackConfig, "tables": TablesCallbackConfig},
}


@dataclass
class RunConfig:
    """What a run is called, and how its logging ends.

    Attributes:
        name: Runs of one name lie together, ``runs/<name>/<date>_<time>``.
        directory: Another directory for this run.
        on_error: ``warn``: training survives a failing backend; ``raise``: it does not.
        close_timeout_s: Seconds that the backends have at the end, all together.
        audit_syncs: Names every logged callable that waits for an accelerator. Slow: for a few steps.
        primary_rank: The rank that writes what all share; -1 is the last. By default what ``ML_PRIMARY_RANK``
            says, else 0.
    """

    name: str = MISSING
    directory: str | None = None
    on_error: str = "warn"
    close_timeout_s: float = 10.0
    audit_syncs: bool = False
    primary_rank: int | None = None


@dataclass
class RootConfig:
    """The whole configuration. Groups are typed by their own schemas.

    Attributes:
        run: What the run is called.
        trainer: One trainer.
        task: One task.
        model: One model.
        loggers: Backends by id.
        callbacks: Callbacks by name.
    """

    run: RunConfig = conf_field(RunConfig())
    trainer: Any = MISSING
    task: Any = MISSING
    model: Any = MISSING
    loggers: dict[str, Any] = conf_field({})
    callbacks: dict[str, Any] = conf_field({})


def config_directory() -> Path:
    """Returns where the configuration files are: inside the package when installed, else beside it."""
    package = Path(__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


class ConfigFiles(SearchPathPlugin):
    """Adds our configuration files behind those of an application, so that it can override them."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Appends their directory."""
        search_path.append(provider="ml", path=config_directory().as_uri())


def register_configs() -> None:
    """Lets Hydra compose our groups: ``logger: [stdout, json]`` in the primary configuration of any application.

    Call it before the function that ``hydra.main`` decorates. The structured configurations go to the group
    ``ml_schema``, on which the files build.
    """
    Plugins.instance().register(ConfigFiles)
    store = ConfigStore.instance()
    store.store(group="ml_schema", name="root", node=RootConfig, provider="ml")
    for name in _BACKENDS:
        store.store(group="ml_schema/logger", name=name, node=LOGGERS.lookup(name).config, provider="ml")
    for group, schemas in _SCHEMAS.items():
        for name, schema in schemas.items():
            store.store(group=f"ml_schema/{group}", name=name, node=schema, provider="ml")


def check_config(config: DictConfig) -> None:
    """Finds what Hydra lets pass: keys added with ``+`` that nobody reads, and settings of a backend not chosen.

    What lies inside a trainer, task, model or backend is checked when it is built.

    Raises:
        ConfigError: One message with the key and the valid ones.
    """
    _check_keys("", config, [field.name for field in fields(RootConfig)])
    _check_keys("run.", config.run, [field.name for field in fields(RunConfig)])
    for group in ("trainer", "task", "model"):
        if OmegaConf.is_missing(config, group):
            raise ConfigError(f"No {group} is chosen. Valid: {', '.join(_options(group))}.")
    for key, backend in config.loggers.items():
        if not isinstance(backend, DictConfig) or "name" not in backend or OmegaConf.is_missing(backend, "name"):
            raise ConfigError(
                f"loggers.{key} has settings, but no name: the backend is not chosen. "
                f"Add it to logger=[...], or remove the settings. Valid: {', '.join(_options('logger'))}."
            )


def explain(error: Exception) -> str:
    """Says in one line what is wrong with a configuration, with the key and the valid ones where there are some."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        return unknown(f"'{name}'", f"the group '{group}'", name, _options(group))
    if isinstance(error, OverrideParseException):
        return f"Cannot read '{error.override}': {str(error).splitlines()[0]}"
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, OmegaConfBaseException):
        key, parent = str(cause.key), cause.parent_node
        if isinstance(parent, DictConfig) and cause.key is not None and key not in parent:
            return unknown(f"key '{cause.full_key or key}'", "the configuration", key, map(str, parent))
    lines = [line.strip().rstrip(".:") for line in str(error).splitlines() if line.strip()]
    if cause is not error:
        lines.append(str(cause).splitlines()[0])
    return ". ".join(lines)


def unknown(what: str, where: str, name: str, valid: Iterable[str]) -> str:
    """Says that there is no such name, which one was probably meant, and which there are."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    return f"There is no {what} in {where}. {hint}Valid: {', '.join(names) or 'none'}."


def _check_keys(prefix: str, config: DictConfig, valid: list[str]) -> None:
    for key in map(str, config):
        if key not in valid:
            raise ConfigError(unknown(f"key '{prefix}{key}'", "the configuration", key, valid))


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (config_directory() / group).glob("*.yaml"))

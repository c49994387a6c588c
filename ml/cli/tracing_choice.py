"""Which inferences a word of ``mlog tracing`` is about."""

import argparse

from ml.cli.names import listed
from ml.core.errors import ConfigError
from ml.tracing.overview import Overview, overview, version_of
from ml.tracing.selection import Epochs, Selection


def selection_of(arguments: argparse.Namespace) -> Selection:
    """Returns what the arguments choose.

    Raises:
        FileNotFoundError: There is no such database.
        ConfigError: There is no such model, version, dataset type, epoch or run, or several could be meant.
        FormatError: The database is damaged.
    """
    there = overview([arguments.database])
    version = version_of(there, arguments.model, arguments.version)
    of_version = Overview((version,), there.of(version))
    _check_dataset_type(of_version, arguments.dataset_type)
    return Selection(
        version.model_name,
        version.version_name,
        arguments.dataset_type,
        _epochs(of_version, arguments.epoch),
        _run(of_version, arguments.run),
    )


def class_names_of(arguments: argparse.Namespace) -> list[str]:
    """Returns the names of the classes."""
    return [name.strip() for name in arguments.class_names.split(",")] if arguments.class_names else []


def _check_dataset_type(there: Overview, name: str | None) -> None:
    names = list(dict.fromkeys(group.dataset_type for group in there.groups))
    if not names:
        raise ConfigError(f"Nothing was traced of {_name(there)}.")
    if name is not None and name not in names:
        raise ConfigError(f"{_name(there)} has no inferences of the dataset type {name!r}. There are: {listed(names)}.")


def _epochs(there: Overview, text: str) -> Epochs:
    if text in ("latest", "all"):
        return "latest" if text == "latest" else "all"
    if not (text.isascii() and text.isdecimal()):
        raise ConfigError(f"--epoch is a number, 'latest' or 'all', got {text!r}.")
    epochs = sorted({group.epoch for group in there.groups})
    if int(text) not in epochs:
        raise ConfigError(
            f"{_name(there)} has no inferences of epoch {text}. There are: {listed(list(map(str, epochs)))}."
        )
    return int(text)


def _run(there: Overview, beginning: str | None) -> str | None:
    if beginning is None:
        return None
    runs = list(dict.fromkeys(group.run for group in there.groups))
    found = [run for run in runs if run.startswith(beginning)]
    if len(found) != 1:
        how_many = "No run" if not found else f"{len(found)} runs"
        raise ConfigError(
            f"{how_many} of {_name(there)} has a uuid that begins with {beginning!r}. There are: {listed(runs)}."
        )
    return found[0]


def _name(there: Overview) -> str:
    version = there.versions[0]
    return f"{version.model_name} {version.version_name}"

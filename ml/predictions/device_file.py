"""Reads the configuration file of a device.

::

    device: {ip: 127.0.0.1, port: 5555, name: camera-3, group: factory}
    data: {interval: 0, max_workers: 4}                      # milliseconds between two records of a model
    S3_storage:                                              # may be left out; without keys the usual chain is asked
      aws_access_key_id: ${AWS_ACCESS_KEY_ID}
      aws_secret_access_key: ${AWS_SECRET_ACCESS_KEY}
      bucket_name: predictions
      bucket_region: eu-central-1
    logger: {codec: png, keep_below_confidence: 0.5}         # further settings of ``PredictionLoggerConfig``

``${NAME}`` stands for a variable of the environment. No message holds a value of the file: it may be a secret.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar, cast

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ml.core.errors import ConfigError
from ml.core.plain import Plain, escaped
from ml.io.store import StoreConfig
from ml.predictions.config import CloudConfig, LocalConfig, PredictionLoggerConfig
from ml.predictions.publishing import StreamConfig

Sections = dict[str, dict[str, Plain]]

ConfigT = TypeVar("ConfigT", PredictionLoggerConfig, LocalConfig, StoreConfig, StreamConfig, "_Spool")

_STORE_KEYS = {
    "access_key_id": "aws_access_key_id",
    "secret_access_key": "aws_secret_access_key",
    "session_token": "aws_session_token",
    "region": "bucket_region",
    "endpoint_url": "endpoint_url",
}
_KEYS_OF = {
    "device_name": "device.name",
    "device_group": "device.group",
    "address": "device.ip",
    "port": "device.port",
    "interval_ms": "data.interval",
    "max_workers": "data.max_workers",
    **{name: f"S3_storage.{key}" for name, key in _STORE_KEYS.items()},
}
"""Where the file has a setting that is called otherwise there."""
_TYPES = {"int": "a whole number", "float": "a number", "str": "a text", "bool": "true or false", "None": "null"}

_MAX_BYTES = 2**20
_MAX_DEPTH = 8
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_KEYS = {
    "device": frozenset({"ip", "port", "name", "group"}),
    "data": frozenset({"interval", "max_workers"}),
    "S3_storage": frozenset(
        {
            "aws_access_key_id",
            "aws_secret_access_key",
            "aws_session_token",
            "bucket_name",
            "bucket_region",
            "endpoint_url",
            "prefix",
        }
    ),
    "logger": frozenset(field.name for field in fields(PredictionLoggerConfig)) - {"local", "cloud", "stream"}
    | {"max_local_bytes", "retention", "spool_directory", "max_spool_bytes"},
    "stream": frozenset(field.name for field in fields(StreamConfig)) - {"address", "port"},
}


@dataclass
class _Spool:
    """What the file says of the spool."""

    spool_directory: str = CloudConfig.spool_directory
    max_spool_bytes: int = CloudConfig.max_spool_bytes


def read_sections(path: Path) -> Sections:
    """Returns what the file of a device says, by section.

    Raises:
        ConfigError: It cannot be read, or has a section or a key that nothing reads.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise ConfigError(f"{path} has more than {_MAX_BYTES} bytes, which no configuration has.")
        content = yaml.safe_load(data.decode("utf-8"))
    except yaml.MarkedYAMLError as error:  # whose text shows what is there
        mark = error.problem_mark
        where = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
        raise ConfigError(f"{path}{where}: this is no YAML.") from None
    except yaml.YAMLError:
        raise ConfigError(f"{path}: this is no YAML.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: this is no text in UTF-8.") from None
    except RecursionError:
        raise ConfigError(f"{path}: this is nested too deeply.") from None
    except OSError as error:
        raise ConfigError(f"The configuration {path} cannot be read: {error.strerror or error}.") from error
    return _checked(content, path)


def config_of(sections: Sections, *, save_local: bool, save_cloud: bool, stream: bool) -> PredictionLoggerConfig:
    """Returns the settings of a logger for a device.

    Args:
        sections: Of ``read_sections``.
        save_local: Whether records are kept as files.
        save_cloud: Whether they go to the bucket.
        stream: Whether they are published.

    Raises:
        ConfigError: What is needed for that is missing, or of the wrong type.
    """
    device, data = sections.get("device", {}), sections.get("data", {})
    more = dict(sections.get("logger", {}))
    local = _taken(more, {"max_local_bytes", "retention"})
    spool = _taken(more, {"spool_directory", "max_spool_bytes"})
    settings: dict[str, Plain] = {
        "device_name": device.get("name", ""),
        "device_group": device.get("group") or PredictionLoggerConfig.device_group,
        "interval_ms": data.get("interval", 0),
        "max_workers": data.get("max_workers", PredictionLoggerConfig.max_workers),
        **more,
        "local": None,
    }
    config = _typed(PredictionLoggerConfig, settings, "logger")
    if save_local:
        config.local = _typed(LocalConfig, local, "logger")
    if save_cloud:
        typed = _typed(_Spool, spool, "logger")
        store = _store_of(sections.get("S3_storage"))
        config.cloud = CloudConfig(store, typed.spool_directory, typed.max_spool_bytes)
    if stream:
        where = _needed(device, {"ip": "address", "port": "port"}, "device", "stream=True")
        config.stream = _typed(StreamConfig, {**sections.get("stream", {}), **where}, "stream")
    return config


def _store_of(section: dict[str, Plain] | None) -> StoreConfig:
    section = section or {}
    bucket = _needed(section, {"bucket_name": "bucket"}, "S3_storage", "save_cloud=True")["bucket"]
    prefix = str(section.get("prefix") or "").strip("/")
    settings = {name: section.get(key) or None for name, key in _STORE_KEYS.items()}
    url = f"s3://{bucket}/{prefix}".rstrip("/")
    return _typed(StoreConfig, {"url": url, **settings}, "S3_storage")


def _checked(content: object, path: Path) -> Sections:
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path} holds no sections, but {type(content).__name__}. Write device:, data: and so on.")
    sections: Sections = {}
    for name, section in content.items():
        keys = _KEYS.get(name) if isinstance(name, str) else None
        if keys is None:
            raise ConfigError(f"{path} has an unknown section {name!r}. Known are {', '.join(_KEYS)}.")
        if section is None:
            continue
        if not isinstance(section, Mapping):
            raise ConfigError(f"{path}: the section {name!r} holds settings, not {type(section).__name__}.")
        for key in section:
            if key not in keys:
                known = ", ".join(sorted(keys))
                raise ConfigError(f"{path} has an unknown key {key!r} in {name!r}. Known are {known}.")
        sections[name] = {key: _expanded(value, f"{path}: {name}.{key}") for key, value in section.items()}
    return sections


def _expanded(value: object, where: str, depth: int = 0) -> Plain:
    """Returns a setting with its variables replaced."""
    if depth > _MAX_DEPTH:
        raise ConfigError(f"{where} is nested too deeply.")
    if isinstance(value, list):
        return [_expanded(item, where, depth + 1) for item in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: _variable(match[1], where), value)
    if value is None or isinstance(value, bool | int | float):
        return value
    raise ConfigError(f"{where} must be a number, a text or a list of these, got {type(value).__name__}.")


def _variable(name: str, where: str) -> str:
    if name not in os.environ:
        raise ConfigError(f"{where} names the variable {name}, which is not set in the environment. Set it.")
    return os.environ[name]


def _needed(section: dict[str, Plain], names: dict[str, str], of: str, why: str) -> dict[str, Plain]:
    """Returns settings under other names; all must be there."""
    missing = [key for key in names if section.get(key) in (None, "")]
    if missing:
        raise ConfigError(f"{why} needs {missing[0]!r} in the section {of!r} of the configuration.")
    return {name: section[key] for key, name in names.items()}


def _taken(settings: dict[str, Plain], names: set[str]) -> dict[str, Plain]:
    return {name: settings.pop(name) for name in names if name in settings}


def _typed(kind: type[ConfigT], settings: Mapping[str, Plain], where: str) -> ConfigT:
    """Returns a configuration whose values are of the types of its fields: ``"5555"`` is a port.

    Raises:
        ConfigError: A value cannot be.
    """
    typed = OmegaConf.structured(kind)
    typed_as = {field.name: getattr(field.type, "__name__", field.type) for field in fields(kind)}
    for name, value in settings.items():
        try:
            OmegaConf.update(typed, name, escaped(value) if isinstance(value, str) else value, merge=False)
        except OmegaConfBaseException:  # whose text shows the value
            wanted = " or ".join(_TYPES.get(part, part) for part in str(typed_as[name]).split(" | "))
            key = _KEYS_OF.get(name, f"{where}.{name}")
            raise ConfigError(f"{key} must be {wanted}, got {type(value).__name__}.") from None
    return cast(ConfigT, OmegaConf.to_object(typed))

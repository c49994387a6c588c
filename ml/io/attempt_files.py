"""Reads the files of an attempt of a run, which anybody may have written: bounded, and without running anything."""

from io import StringIO
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import SafeLoader, YAMLError, scan, tokens

from ml.core.errors import FormatError
from ml.io.regular import open_regular

_MAX_FILE_BYTES = 4 * 2**20  # of a configuration or a record
_MAX_DEPTH = 100
_OPENING = (
    tokens.BlockMappingStartToken,
    tokens.BlockSequenceStartToken,
    tokens.FlowMappingStartToken,
    tokens.FlowSequenceStartToken,
)
_CLOSING = (tokens.BlockEndToken, tokens.FlowMappingEndToken, tokens.FlowSequenceEndToken)


def read_config(path: Path) -> DictConfig:
    """Returns the configuration that an attempt kept, ``config.yaml``.

    Raises:
        FormatError: It is none, or larger than any that a run writes.
        OSError: It cannot be read.
    """
    data = read_bounded(path)
    try:
        text = data.decode()
        _check_size_when_loaded(text, path)
        config = OmegaConf.load(StringIO(text))
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())  # YAML says it in several lines
        raise FormatError(f"no configuration: {reason}", path=path) from error
    if not isinstance(config, DictConfig):
        raise FormatError("no configuration: a list", path=path)
    return config


def read_bounded(path: Path) -> bytes:
    """Returns the content of a file.

    Raises:
        FormatError: It is larger than any configuration or record that a run writes.
        OSError: It cannot be read, or is no file.
    """
    with open_regular(path) as file:
        data = file.read(_MAX_FILE_BYTES + 1)
    if len(data) > _MAX_FILE_BYTES:
        raise FormatError(f"more than {_MAX_FILE_BYTES} bytes: this is no file that a run wrote", path=path)
    return data


def _check_size_when_loaded(text: str, path: Path) -> None:
    """Refuses what a few lines can do to whoever loads them: aliases of aliases, and depth without end."""
    depth = 0
    for token in scan(text, Loader=SafeLoader):
        if isinstance(token, tokens.AliasToken):
            raise FormatError("no configuration of a run: it has aliases (*name)", path=path)
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > _MAX_DEPTH:
            raise FormatError(f"no configuration: it is more than {_MAX_DEPTH} levels deep", path=path)

"""Which store a word is about, of its arguments."""

import argparse
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ml.io.store import Store, StoreConfig, open_store


def add_store(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that say how to get into an object store."""
    group = parser.add_argument_group("object stores")
    group.add_argument("--endpoint-url", metavar="URL", help="of a server that speaks S3: http://127.0.0.1:9000")
    group.add_argument("--region", metavar="NAME", help="of the bucket")


def is_directory(source: str) -> bool:
    """Whether a source is a directory, and not the URL of an object store."""
    return "://" not in source or source.startswith("file://")


def opened_bucket(source: str, arguments: argparse.Namespace) -> Store:
    """Opens an object store.

    Raises:
        ConfigError: The URL is none, or its library is not installed.
    """
    return open_store(StoreConfig(source, endpoint_url=arguments.endpoint_url, region=arguments.region))


def opened_store(source: str, arguments: argparse.Namespace) -> Store:
    """Opens a store that is there: other than a writer's, a reader's directory is not made.

    Raises:
        ConfigError: The URL is none, or its library is not installed.
        FileNotFoundError, NotADirectoryError: There is no such directory.
    """
    if not is_directory(source):
        return opened_bucket(source, arguments)
    path = Path(unquote(urlsplit(source).path) if source.startswith("file://") else source)
    if not path.exists():
        raise FileNotFoundError(f"There is no directory {path}. A store is a directory or a URL.")
    if not path.is_dir():
        raise NotADirectoryError(f"{path} is no directory.")
    return open_store(source)

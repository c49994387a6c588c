"""Where traces are sent: an HTTP endpoint that speaks ``docs/upload.md``, a bucket, or a directory."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ml.core.errors import ConfigError
from ml.io.http_target import HttpTarget
from ml.io.store import Store, open_store

ENDPOINT_VARIABLE: Final = "ML_API_ENDPOINT"
KEY_VARIABLE: Final = "ML_API_KEY"


@dataclass(frozen=True)
class Destination:
    """Where to, and with which key; the key is in no ``repr``.

    Attributes:
        url: ``https://host/path``; or what ``ml.io.store.open_store`` takes: ``s3://bucket/prefix``, a directory.
        api_key: For HTTP. ``None``: what ``ML_API_KEY`` says whenever it is opened, if anything.
        allow_http: Whether another machine may be asked without TLS.
        timeout_s: For one request over HTTP.
    """

    url: str
    api_key: str | None = field(default=None, repr=False)
    allow_http: bool = False
    timeout_s: float = 120.0

    def open(self, environ: Mapping[str, str] = os.environ) -> "HttpTarget | StoreTarget":
        """Returns what keeps traces there. Every call is one attempt.

        Raises:
            ConfigError: The URL is none, or is not allowed; or credentials are incomplete.
            WriteError: The directory cannot be made.
        """
        if not is_http(self.url):
            return StoreTarget(open_store(self.url, attempts=1))
        key = self.api_key or environ.get(KEY_VARIABLE) or None
        return HttpTarget(self.url, key, allow_http=self.allow_http, timeout_s=self.timeout_s)


class StoreTarget:
    """A store that can be asked whether it has something: whole or not at all, and its name is that of its content."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def url(self) -> str:
        """Where it is."""
        return self._store.url

    def holds(self, key: str, data: bytes) -> bool:
        """Returns whether an object is there."""
        found = next(iter(self._store.list(key)), None)
        return found is not None and (found.key, found.size_bytes) == (key, len(data))

    def create(self, key: str, data: bytes) -> bool:
        """Keeps an object; see ``ml.io.store.Store``."""
        return self._store.create(key, data)


def destination_of(
    endpoint: str | None,
    api_key: str | None = None,
    *,
    allow_http: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Destination:
    """Returns where to send; what is ``None`` is looked up: ``ML_API_ENDPOINT``, ``ML_API_KEY``.

    Raises:
        ConfigError: There is no endpoint: nothing leaves this machine.
    """
    url = endpoint or environ.get(ENDPOINT_VARIABLE) or ""
    if not url:
        raise ConfigError(
            "There is no endpoint, so nothing leaves this machine. Give one: the argument api_endpoint, or the "
            f"variable {ENDPOINT_VARIABLE}, with a URL such as https://host/path or s3://bucket/prefix, or a directory."
        )
    return Destination(url, api_key, allow_http)


def is_http(url: str) -> bool:
    """Whether a URL is of an HTTP endpoint; else it is of a store."""
    return url.lower().startswith(("http:", "https:"))

"""An HTTP endpoint that keeps objects under keys: the client's side of ``docs/upload.md``.

Two requests are all that there is: ``HEAD`` asks whether an object is there, ``PUT`` keeps it if its key is free. Each
is one attempt; whoever calls tries again. An object counts as kept when the answer names the SHA-256 of what was sent:
what stands between, such as the page of a hotel's network, answers 200 to anything.
"""

import base64
import hashlib
import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, quote, urlsplit

from ml.core.errors import ConfigError, LogValueError, WriteError
from ml.core.redact import Redactor
from ml.io.http_request import Answer, request
from ml.io.sending import NotNow
from ml.io.store import Refused, check_key
from ml.io.store_url import may_be_http, split_url

if TYPE_CHECKING:
    import ssl

MAX_RETRY_AFTER_S: Final = 3600.0
"""Longer than this no server is left alone, whatever it says."""

_OBJECTS: Final = "/v1/objects/"
_MAX_SAID: Final = 200
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")
_PASSING: Final = (408, 422, 425, 429)
_NEVER: Final = (501, 505)
_TOO_LARGE: Final = 413
_KEY_HINT: Final = "Check the key: the argument api_key, or ML_API_KEY."


class HttpTarget:
    """Keeps objects at an HTTP endpoint; usable from several threads at once.

    The key goes to this endpoint alone: an answer that sends elsewhere is not followed. It is in no message, nor in
    ``repr``.

    Args:
        url: ``https://host/path``, without user, password and query.
        api_key: Is sent as ``Authorization: Bearer``; ``None``: none is.
        timeout_s: For one attempt, from the look-up of the host's name to the end of the answer.
        allow_http: Whether requests may go to another machine without TLS. To this machine itself they may in any case.
        tls: How servers are trusted; ``None``: as the system does.
        wall_clock: Unix seconds: a server may say a date until which to wait.

    Raises:
        ConfigError: The URL is none, or is not allowed; or the key cannot be sent.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        timeout_s: float = 120.0,
        allow_http: bool = False,
        tls: "ssl.SSLContext | None" = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        parts = split_url("The endpoint", url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ConfigError("An endpoint looks like https://host/path, without user and password.")
        if not re.fullmatch(r"[!-~]*", url) or not _has_port(parts):
            raise ConfigError("An endpoint is written in ASCII, with a port from 1 to 65535 if any.")
        if parts.query or parts.fragment:
            raise ConfigError("An endpoint has no query: write https://host/path, and give the key as api_key.")
        may_be_http(f"{parts.scheme}://{parts.netloc}", allow_http)
        if api_key is not None and not re.fullmatch(r"[!-~]{1,4096}", api_key):
            raise ConfigError("The key of an endpoint has characters that cannot be sent: it is 1 to 4096 of ASCII.")
        self.url = url.rstrip("/")
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._redactor = Redactor({} if api_key is None else {"ML_API_KEY": api_key})
        self._api_key = api_key
        self._timeout_s, self._tls, self._wall_clock = timeout_s, tls, wall_clock

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def create(self, key: str, data: bytes) -> bool:
        """Keeps an object under a key that is free; see ``ml.io.store.Store.create``."""
        sha256 = hashlib.sha256(data).digest()
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Digest": f"sha-256=:{base64.b64encode(sha256).decode()}:",
            "If-None-Match": "*",
        }
        answer = self._request("PUT", key, headers, data)
        kept = _digest_of(answer)
        if answer.status in (200, 201, 204):
            if kept is None:
                raise Refused(
                    self._message("keep", key, "it does not say the digest of what it has: is it an endpoint?")
                )
            if kept != sha256:
                raise WriteError(self._message("keep", key, "it has something else than what was sent"))
            return True
        if answer.status == 412 and kept is not None:
            return kept == sha256
        raise self._problem("keep", key, answer)

    def holds(self, key: str, data: bytes) -> bool:
        """Returns whether an object is there, with this content.

        Raises:
            LogValueError, WriteError, Refused: As ``ml.io.store.Store`` has them.
        """
        answer = self._request("HEAD", key, {}, None)
        if answer.status == 404:
            return False
        if answer.status == 200 and (kept := _digest_of(answer)) is not None:
            return kept == hashlib.sha256(data).digest()
        raise self._problem("look for", key, answer)

    def _request(self, method: str, key: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        check_key(key)
        url = f"{self.url}{_OBJECTS}{quote(key, safe='/')}"
        try:
            return request(method, url, {**self._headers, **headers}, body, timeout_s=self._timeout_s, tls=self._tls)
        except WriteError as error:
            what = "look for" if method == "HEAD" else "keep"
            raise type(error)(self._message(what, key, str(error))) from error

    def _problem(self, what: str, key: str, answer: Answer) -> Exception:
        reason = f"{answer.status} {answer.reason} {answer.body.decode('utf-8', 'replace')}"
        status = answer.status
        if 300 <= status < 400:
            place = _host_of(answer.headers.get("location", ""))
            if self._api_key is not None and self._api_key.lower() in place:  # a host's name has no capitals
                place = "another place"
            reason = f"{status}, it sends to {place}, which is not followed: give the endpoint that answers itself"
            return Refused(self._message(what, key, reason))
        if status in _PASSING or (status >= 500 and status not in _NEVER):
            wait_s = _retry_after_s(answer.headers.get("retry-after", ""), self._wall_clock())
            message = self._message(what, key, reason)
            return WriteError(message) if wait_s is None else NotNow(message, wait_s)
        if status == _TOO_LARGE:
            return LogValueError(self._message(what, key, reason).rstrip("."))
        return Refused(self._message(what, key, reason, _KEY_HINT if status in (401, 403) else ""))

    def _message(self, what: str, key: str, reason: str, hint: str = "") -> str:
        return f"Cannot {what} {key!r} at {self.url}: {self._said(reason)}.{f' {hint}' if hint else ''}"

    def _said(self, text: str) -> str:
        """Returns what somebody said, on one line, without the key; cut last, as half of it would not be known."""
        text = " ".join(text[: 100 * _MAX_SAID].split())
        if self._api_key is not None:
            text = text.replace(self._api_key, "***")  # the redactor leaves short ones
        text = "".join(c if c.isprintable() else "?" for c in self._redactor.redact_text(text))
        return text[:_MAX_SAID].rstrip(". ")


def _has_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


def _host_of(location: str) -> str:
    try:
        return urlsplit(location).hostname or "another place"
    except ValueError:
        return "another place"


def _digest_of(answer: Answer) -> bytes | None:
    found = _DIGEST.fullmatch(answer.headers.get("content-digest", "").strip())
    return None if found is None else base64.b64decode(found[1])


def _retry_after_s(text: str, now_s: float) -> float | None:
    """Returns the seconds that a ``Retry-After`` asks for, or ``None``."""
    text = text.strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return min(float(text), MAX_RETRY_AFTER_S)
    try:
        wait_s = parsedate_to_datetime(text).timestamp() - now_s
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return min(max(0.0, wait_s), MAX_RETRY_AFTER_S)

"""URLs of buckets and of the servers that keep them: what is one, and what may be asked without TLS."""

import ipaddress
from contextlib import suppress
from urllib.parse import SplitResult, unquote, urlsplit

from ml.core.errors import ConfigError, LogValueError
from ml.io.store import check_key

S3 = ("s3", "s3a")
_OTHERS = ("gs", "az", "abfs", "abfss")


def parsed_url(url: str) -> SplitResult:
    """Returns the parts of the URL of a bucket.

    Raises:
        ConfigError: It is none. The message has nothing of a URL that may hold secrets.
    """
    parts = split_url("The URL of a store", url)
    # A password may have a slash in it, and then what follows looks like a path.
    is_to_someone = ":" in parts.netloc or ("@" in parts.netloc and parts.scheme in ("gs", *S3))
    if parts.query or parts.fragment or is_to_someone:
        raise ConfigError("The URL of a store has a user, a password or a query. Write s3://bucket/prefix alone.")
    if parts.scheme not in (*S3, *_OTHERS):
        known = ", ".join(f"{scheme}://" for scheme in (*S3, *_OTHERS))
        raise ConfigError(f"No store is known for {parts.scheme}://. Known are {known}, and directories.")
    if not parts.netloc:
        raise ConfigError(f"{url} names no bucket. Write {parts.scheme}://bucket/prefix.")
    try:
        check_key(unquote(parts.path).strip("/") or "x")
    except LogValueError as error:
        raise ConfigError(f"The prefix of {url} cannot be that of keys: {error}") from None
    return parts


def split_url(what: str, url: str) -> SplitResult:
    """Returns the parts of a URL.

    Args:
        what: It is, for the message, which has nothing of a URL that may hold secrets.
        url: Any text.

    Raises:
        ConfigError: It is none.
    """
    parts = None
    with suppress(ValueError):
        parts = urlsplit(url)
    if parts is None:  # out here: the error quotes the URL
        raise ConfigError(f"{what} is none: brackets or letters in it are not those of a host's name.")
    return parts


def may_be_http(endpoint_url: str | None, allow_http: bool) -> bool:
    """Whether requests may go without TLS.

    Raises:
        ConfigError: The endpoint is no URL, or wants what is not allowed.
    """
    if endpoint_url is None:
        return allow_http
    parts = split_url("endpoint_url of a store", endpoint_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in endpoint_url or parts.query:
        raise ConfigError("endpoint_url of a store looks like https://host:port, without user, password and query.")
    if parts.scheme == "http" and not allow_http and not _is_loopback(parts.hostname):
        raise ConfigError(
            f"http://{parts.hostname} has no TLS: whoever is on the way can read and change what is sent. Write "
            "https://, or set allow_http=True if you trust the network."
        )
    return parts.scheme == "http"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")

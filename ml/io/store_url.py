"""URLs of buckets and of the servers that keep them: what is one, and what may be asked without TLS."""

import ipaddress
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
    parts = urlsplit(url)
    if parts.query or parts.fragment or ("@" in parts.netloc and parts.scheme in ("gs", *S3)):
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


def may_be_http(endpoint_url: str | None, allow_http: bool) -> bool:
    """Whether requests may go without TLS.

    Raises:
        ConfigError: The endpoint is no URL, or wants what is not allowed.
    """
    if endpoint_url is None:
        return allow_http
    parts = urlsplit(endpoint_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
        raise ConfigError("endpoint_url of a store looks like https://host:port, without user, password and query.")
    if parts.scheme == "http" and not allow_http and not _is_loopback(parts.hostname):
        raise ConfigError(
            f"{endpoint_url} has no TLS: whoever is on the way can read and change what is sent. Write https://, or "
            "set allow_http=True if you trust the network."
        )
    return parts.scheme == "http"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")

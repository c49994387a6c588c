"""Buckets of S3, Google Cloud and Azure as stores, over obstore, which is imported here alone.

obstore signs and sends; when a request is sent again is decided here, and for how long that goes on. An object is
always sent in one request, so none is ever left half uploaded.

What obstore 0.12 leaves no choice about: it does not tell ``Retry-After``, so pauses are ours alone. It reads the whole
body of an error before its message can be cut. It follows the redirect of a GET, to another host without the
``Authorization`` of the request but with its session token, which is of no use without the secret key.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import SplitResult, unquote

from ml.core.errors import ClosedError, ConfigError, FormatError, WriteError, missing
from ml.core.redact import Redactor
from ml.io.credentials import Credentials, S3Access, s3_access
from ml.io.retry import CHANCE, Retry
from ml.io.store import Entry, Refused, StoreConfig, check_key
from ml.io.store_errors import MAX_MESSAGE, problem_of
from ml.io.store_url import S3, may_be_http, parsed_url

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import AzureStore, ClientConfig, GCSStore, RetryConfig, S3Config, S3Credential, S3Store

    Bucket = S3Store | GCSStore | AzureStore

T = TypeVar("T")

_CONNECT_S = 5.0
_PROCESS = os.getpid()
_LISTED_AT_ONCE = 1000
_NO_CREDENTIALS = (
    "No access key is set in the configuration, the environment or a profile, so a role of this machine was asked for."
)


class ObjectStore:
    """A bucket, or what lies in it below a prefix; see ``ml.io.store.Store`` for the laws.

    Calls are tried again after errors that pass, until the deadline; each attempt has its own. After the store has
    refused one, the next reads the credentials anew. In a forked child every call raises ``ClosedError``.

    Args:
        config: Its URL is one of a bucket.
        attempts: How often each call is tried; ``None``: until the deadline.
        environ: Where credentials and endpoints are looked up. obstore looks in the process's own for what it finds by
            itself.
        clock: Monotonic seconds.
        sleep: Waits for so many seconds.
        chance: Returns numbers from 0 to 1.

    Attributes:
        url: Without credentials.

    Raises:
        ConfigError: The URL is none, a setting or credentials are incomplete, or obstore is missing.
    """

    def __init__(
        self,
        config: StoreConfig,
        *,
        attempts: int | None = None,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = CHANCE,
    ) -> None:
        parts = parsed_url(config.url)
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
        if not config.timeout_s > 0:
            raise ConfigError(f"timeout_s of {self.url} is more than 0, got {config.timeout_s!r}.")
        self._retry = Retry(attempts=attempts, deadline_s=config.deadline_s, clock=clock, sleep=sleep, chance=chance)
        self._config, self._parts, self._environ = config, parts, environ
        self._client: _Client | None = _open(config, parts, self.url, environ)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def create(self, key: str, data: bytes) -> bool:
        check_key(key)
        return self._retry.call(lambda: self._create(key, data))

    def put(self, key: str, data: bytes) -> None:
        check_key(key)
        self._retry.call(lambda: self._written(key, lambda bucket: _put(bucket, key, data)))

    def get(self, key: str, *, max_bytes: int) -> bytes:
        check_key(key)
        return self._retry.call(lambda: self._get(key, max_bytes))

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        parent = prefix.rpartition("/")[0]
        if parent:
            check_key(f"{parent}/x")
        pages = _Pages(self._ask, parent, after)
        while page := self._retry.call(pages.next):
            for entry in page:
                if entry.key.startswith(prefix):
                    yield entry
                elif entry.key.encode() > prefix.encode():
                    return

    def delete(self, key: str) -> None:
        check_key(key)
        self._retry.call(lambda: self._delete(key))

    def _create(self, key: str, data: bytes) -> bool:
        if self._written(key, lambda bucket: _create(bucket, key, data)):
            return True
        try:
            return self._get(key, len(data)) == data
        except FormatError:
            return False
        except FileNotFoundError:  # S3 answers so to two at once too, and may have kept neither
            raise WriteError(f"{key!r} was not there any more when it was read from {self.url}. Try again.") from None

    def _written(self, key: str, request: Callable[["Bucket"], T]) -> T:
        try:
            return self._ask(f"write {key!r} to", request)
        except FileNotFoundError as error:
            raise Refused(f"There is no bucket {self.url}, it seems: {error}") from None

    def _get(self, key: str, max_bytes: int) -> bytes:
        size_bytes, data = self._ask(f"read {key!r} from", lambda bucket: _get(bucket, key, max_bytes))
        if data is None:
            raise FormatError(f"it has {size_bytes} bytes, {max_bytes} are the most", path=f"{self.url}/{key}")
        if len(data) != size_bytes:
            raise WriteError(f"Of {size_bytes} bytes of {key!r} in {self.url} {len(data)} came. Try again.")
        return data

    def _delete(self, key: str) -> None:
        with suppress(FileNotFoundError):
            self._ask(f"remove {key!r} from", lambda bucket: _delete(bucket, key))

    def _ask(self, what: str, request: Callable[["Bucket"], T]) -> T:
        """Returns what a request returns; raises the error that the library's stands for.

        Args:
            what: Is done, with a preposition: ``"read 'a' from"``.
            request: Sends it.

        Raises:
            FileNotFoundError: There is no such object.
            LogValueError: The store does not take such a key, or so much.
            WriteError: As ``ml.io.store.Store`` has it.
        """
        client = self._opened()
        try:
            return request(client.bucket)
        except _library_errors() as error:
            problem = problem_of(f"{what} {self.url}", str(error), client.redactor, hint=client.hint)
        if isinstance(problem, Refused):
            self._client = None
        raise problem  # out here: the library's error, which quotes the server, is not its context

    def _opened(self) -> "_Client":
        if os.getpid() != _PROCESS:
            raise ClosedError(
                f"{self.url} belongs to the process {_PROCESS}, of which this one was forked: the S3 library would "
                "wait for threads that did not come along. Use multiprocessing's 'spawn'."
            )
        client = self._client
        if client is None:  # two threads may both open it: either will do
            try:
                client = self._client = _open(self._config, self._parts, self.url, self._environ)
            except ConfigError as error:  # they were complete at first: whoever renews them may not be done
                raise Refused(f"The credentials of {self.url} cannot be read anew: {error}") from error
        return client


class _Client(NamedTuple):
    """What requests are sent through, made of the credentials of one moment."""

    bucket: "Bucket"
    redactor: Redactor
    hint: str


class _Pages:
    """A listing, some thousand entries at a time; goes on behind the last one after a failure."""

    def __init__(
        self, ask: Callable[[str, Callable[["Bucket"], list[Entry]]], list[Entry]], parent: str, after: str
    ) -> None:
        self._ask, self._parent, self._after, self._last = ask, parent, after, ""
        self._stream: Iterator[Sequence[ObjectMeta]] | None = None

    def next(self) -> list[Entry]:
        """Returns the next entries, none at the end; may be called again after it failed."""
        try:
            page = self._ask("list", self._next)
        except FileNotFoundError as error:
            raise Refused(str(error)) from None
        except WriteError:
            self._stream = None
            raise
        for entry in page:
            if entry.key.encode() <= self._last.encode():
                raise Refused(f"The store lists {entry.key!r} after {self._last!r}, in another order than S3.")
            self._last = entry.key
        return page

    def _next(self, bucket: "Bucket") -> list[Entry]:
        import obstore

        if self._stream is None:
            # The library takes keys alone; what else comes after this one and should not is left out below.
            offset = (self._last or self._after).rstrip("/") or None
            self._stream = iter(obstore.list(bucket, self._parent or None, offset=offset, chunk_size=_LISTED_AT_ONCE))
        while page := next(self._stream, ()):
            entries = [Entry(found["path"], found["size"]) for found in page]
            if entries := [entry for entry in entries if entry.key.encode() > self._after.encode()]:
                return entries
        return []


def _create(bucket: "Bucket", key: str, data: bytes) -> bool:
    import obstore
    from obstore.exceptions import AlreadyExistsError

    try:
        obstore.put(bucket, key, data, mode="create", use_multipart=False)
    except AlreadyExistsError:
        return False
    return True


def _put(bucket: "Bucket", key: str, data: bytes) -> None:
    import obstore

    obstore.put(bucket, key, data, use_multipart=False)


def _get(bucket: "Bucket", key: str, max_bytes: int) -> tuple[int, bytes | None]:
    """Returns an object's size, and its content where it is no larger than it may be."""
    import obstore

    found = obstore.get(bucket, key)
    size_bytes = found.meta["size"]
    return size_bytes, bytes(found.bytes()) if size_bytes <= max_bytes else None


def _delete(bucket: "Bucket", key: str) -> None:
    import obstore

    obstore.delete(bucket, key)


def _library_errors() -> tuple[type[Exception], ...]:
    from obstore.exceptions import BaseError

    return BaseError, OSError, ValueError


def _open(config: StoreConfig, parts: SplitResult, url: str, environ: Mapping[str, str]) -> _Client:
    try:
        from obstore import store
    except ImportError as error:
        raise missing(f"A store at {parts.scheme}://", "obstore", "s3", error) from error
    retry: RetryConfig = {"max_retries": 0, "retry_timeout": timedelta(seconds=config.timeout_s)}
    options: ClientConfig = {
        "allow_http": config.allow_http,
        "timeout": timedelta(seconds=config.timeout_s),
        "connect_timeout": timedelta(seconds=min(_CONNECT_S, config.timeout_s)),
    }
    redactor, problem = Redactor(environ), ""
    try:
        if parts.scheme not in S3:
            bucket = store.from_url(url, client_options=options, retry_config=retry)
            return _Client(bucket, redactor, "")  # type: ignore[arg-type]  # it may also be what these URLs never are
        access = s3_access(
            access_key_id=config.access_key_id,
            secret_access_key=config.secret_access_key,
            session_token=config.session_token,
            region=config.region,
            endpoint_url=config.endpoint_url,
            environ=environ,
        )
        options["allow_http"] = may_be_http(access.endpoint_url, config.allow_http)
        s3 = store.S3Store(
            parts.netloc,
            prefix=unquote(parts.path).strip("/") or None,
            config=_s3_config(access),
            client_options=options,
            retry_config=retry,
            credential_provider=_provider(access.credentials),
        )
        return _Client(s3, _redactor(environ, access.credentials), "" if access.credentials else _NO_CREDENTIALS)
    except ConfigError:
        raise
    except _library_errors() as error:
        problem = redactor.redact_text(str(error).partition("\n")[0][:MAX_MESSAGE])
    raise ConfigError(f"Cannot open {url}: {problem}")


def _s3_config(access: S3Access) -> "S3Config":
    # One request for each object that is removed: not every server knows the one for many.
    settings: S3Config = {"region": access.region, "disable_bulk_delete": True}
    if access.endpoint_url is not None:
        # Under both names, or the library would prefer what the environment has under the other.
        settings |= {"endpoint": access.endpoint_url, "aws_endpoint_url_s3": access.endpoint_url}
    return settings


def _provider(credentials: Credentials | None) -> "Callable[[], S3Credential] | None":
    """Returns what gives the library exactly these: as settings they would mix with those of the environment."""
    if credentials is None:
        return None
    given: S3Credential = {
        "access_key_id": credentials.access_key_id,
        "secret_access_key": credentials.secret_access_key,
        "token": credentials.session_token,
        "expires_at": None,
    }
    return lambda: given


def _redactor(environ: Mapping[str, str], credentials: Credentials | None) -> Redactor:
    known = dict(environ)
    if credentials is not None:
        known["ML_STORE_SECRET_KEY"] = credentials.secret_access_key
        known["ML_STORE_SECRET_TOKEN"] = credentials.session_token or ""
    return Redactor(known)

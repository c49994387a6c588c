"""Talks to MLflow: at once or not at all, and never through what a program's own MLflow code has set up.

MLflow's client repeats a request to a server that is away for four minutes, and to one that hangs for a quarter of an
hour; it draws random numbers for the pauses, which are the training's. Both can be changed for the whole process alone,
by the environment. So requests to a tracking server are sent here by MLflow's own function for one request, without
repetition and with a timeout of our own; the backend's worker offers the same values again. Other stores are used as
MLflow has them.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import quote

from ml.core.errors import LogValueError, WriteError, missing
from ml.core.redact import Redactor

try:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, Run, RunTag
    from mlflow.exceptions import ERROR_CODE_TO_HTTP_STATUS, MlflowException
    from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
    from mlflow.store.tracking.rest_store import RestStore
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.tracking._tracking_service import utils
    from mlflow.tracking._tracking_service.client import TrackingServiceClient
    from mlflow.utils import proto_json_utils, rest_utils
except ImportError as error:
    raise missing("The backend 'mlflow'", "MLflow 3", "mlflow", error) from error

MAX_METRICS = 1000
MAX_PARAMS = 100
"""What MLflow takes of each at once."""

_SERVER_INFO = "/api/3.0/mlflow/server-info"
_ANOTHER_TIME = (401, 403, 408, 409, 425, 429)
_CONTENT_TYPES = {
    ".gif": "image/gif",
    ".ply": "application/octet-stream",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
    ".wav": "audio/wav",
    ".yaml": "text/plain; charset=utf-8",
}

# MLflow has types in places.
_http_request: Callable[..., Any] = rest_utils.http_request
_verify: Callable[..., Any] = rest_utils.verify_rest_response
_parse: Callable[..., Any] = proto_json_utils.parse_dict

Point = tuple[str, int, int, float]
"""``(name, step, time in milliseconds, value)``."""

ResultT = TypeVar("ResultT")


class Client:
    """What the backend needs of MLflow; every method returns when MLflow has answered.

    All of them raise ``WriteError`` where it may work another time, and then perhaps it was done all the same;
    ``LogValueError`` where MLflow refuses.

    Args:
        tracking_uri: Of a server or a store; ``None`` is where the program's own MLflow code logs.
        timeout_s: How long to wait for an answer.
    """

    def __init__(self, tracking_uri: str | None, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        with _explained():
            self._client = MlflowClient(tracking_uri)
            self._client._tracking_client = _Service(self._client.tracking_uri, timeout_s)
            self._store = self._client._tracking_client.store

    def drops_equal_metrics(self) -> bool:
        """Whether the store keeps a metric that is sent twice, with the same time, once: those in SQL databases do."""
        if isinstance(self._store, SqlAlchemyStore):
            return True
        if not isinstance(self._store, _PromptStore):
            return False
        with _explained():
            answer = self._store.request(_SERVER_INFO, "GET")
            return answer.status_code == 200 and bool(answer.json().get("store_type") == "SqlStore")

    def experiment_id(self, name: str, artifact_location: str | None) -> str:
        """Returns the experiment that is called so, made if it is not there."""
        found = self._call(self._client.get_experiment_by_name, name)
        if found is None:
            try:
                return str(self._call(self._client.create_experiment, name, artifact_location))
            except LogValueError:
                found = self._call(self._client.get_experiment_by_name, name)
                if found is None:  # else another run has just made it
                    raise
        return str(found.experiment_id)

    def runs_tagged(self, experiment_id: str, tag: str, value: str) -> list[Run]:
        """Returns the runs with a tag, those that hold metrics first."""
        found = self._call(self._client.search_runs, [experiment_id], f"tags.`{tag}` = '{value}'")
        return sorted(found, key=lambda run: (not run.data.metrics, run.info.run_id))

    def create_run(self, experiment_id: str, name: str, start_ms: int, tags: Mapping[str, str]) -> Run:
        """Returns a new run. ``WriteError``: there may be one, see ``runs_tagged``."""
        return self._call(self._client.create_run, experiment_id, start_time=start_ms, tags=dict(tags), run_name=name)

    def delete_run(self, run_id: str) -> None:
        """Deletes a run."""
        self._call(self._client.delete_run, run_id)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Sets tags of a run."""
        self._call(self._client.log_batch, run_id, tags=[RunTag(*tag) for tag in tags.items()], synchronous=True)

    def params(self, run_id: str) -> dict[str, str]:
        """Returns the params of a run."""
        return dict(self._call(self._client.get_run, run_id).data.params)

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Logs params, which must not be there with another value."""
        every = [Param(*param) for param in params.items()]
        for start in range(0, len(every), MAX_PARAMS):
            batch = every[start : start + MAX_PARAMS]
            self._call(self._client.log_batch, run_id, params=batch, synchronous=True)

    def log_points(self, run_id: str, points: Sequence[Point]) -> None:
        """Logs points of metrics."""
        for start in range(0, len(points), MAX_METRICS):
            batch = [
                Metric(name, value, time_ms, step) for name, step, time_ms, value in points[start : start + MAX_METRICS]
            ]
            self._call(self._client.log_batch, run_id, metrics=batch, synchronous=True)

    def points(self, run_id: str, name: str) -> list[Point]:
        """Returns the points of a metric."""
        found = self._call(self._client.get_metric_history, run_id, name)
        return [(name, metric.step, metric.timestamp, metric.value) for metric in found]

    def put(self, run_id: str, path: str, data: bytes) -> None:
        """Makes an artifact, or replaces it.

        Args:
            run_id: Of the run.
            path: Relative, with slashes.
            data: All of it.
        """
        with _explained():
            repository = self._client._tracking_client._get_artifact_repo(run_id)
            if isinstance(repository, HttpArtifactRepository):
                suffix = PurePosixPath(path).suffix
                answer = _http_request(
                    repository._host_creds,
                    "/" + quote(path),
                    "PUT",
                    data=data,
                    extra_headers={"Content-Type": _CONTENT_TYPES.get(suffix, "application/octet-stream")},
                    max_retries=0,
                    timeout=self._timeout_s,
                    raise_on_status=False,
                )
                _verify(answer, path)
                return
            folder, _, name = path.rpartition("/")
            with tempfile.TemporaryDirectory(prefix="ml-mlflow-") as directory:
                file = Path(directory, name)
                file.write_bytes(data)
                repository.log_artifact(str(file), folder or None)  # type: ignore[no-untyped-call]

    def set_status(self, run_id: str, status: str) -> None:
        """Says how a run stands: ``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``; the latter three end it now."""
        if status == "RUNNING":
            self._call(self._client.update_run, run_id, status)
        else:
            self._call(self._client.set_terminated, run_id, status)

    def _call(self, function: Callable[..., ResultT], *arguments: object, **named: object) -> ResultT:
        with _explained():
            return function(*arguments, **named)


class _PromptStore(RestStore):
    """A tracking server, asked once."""

    def __init__(self, get_host_creds: Callable[[], Any], timeout_s: float) -> None:
        super().__init__(get_host_creds)  # type: ignore[no-untyped-call]
        self._timeout_s = timeout_s

    def request(self, endpoint: str, method: str, body: object = None) -> Any:
        """Returns the answer to a request, whatever its status is."""
        return _http_request(
            self.get_host_creds(),
            endpoint,
            method,
            max_retries=0,
            timeout=self._timeout_s,
            raise_on_status=False,
            **({} if body is None else {"params" if method == "GET" else "json": body}),
        )

    def _call_endpoint(
        self,
        api: Any,
        json_body: str | None = None,
        endpoint: str | None = None,
        retry_timeout_seconds: float | None = None,
        response_proto: Any = None,
    ) -> Any:
        usual, method = self._METHOD_TO_INFO[api]
        answer = self.request(endpoint or usual, method, None if json_body is None else json.loads(json_body))
        _verify(answer, endpoint or usual)
        response = response_proto or api.Response()
        _parse(js_dict=answer.json(), message=response)
        return response


class _Service(TrackingServiceClient):
    """MLflow's client of a store, with a server that is asked once."""

    def __init__(self, tracking_uri: str, timeout_s: float) -> None:
        self._prompt: Any = None
        self._timeout_s = timeout_s
        super().__init__(tracking_uri)  # type: ignore[no-untyped-call]

    @property
    def store(self) -> Any:
        if self._prompt is None:
            store = utils._get_store(self.tracking_uri)  # type: ignore[no-untyped-call]
            is_server = type(store) is RestStore  # those of Databricks speak otherwise
            self._prompt = _PromptStore(store.get_host_creds, self._timeout_s) if is_server else store
        return self._prompt

    def _log_url(self, run_id: str) -> None:
        """Prints nothing: standard output is the program's."""


@contextmanager
def _explained() -> Iterator[None]:
    """Makes an error of ours of one of MLflow's, which says it all; what it came from are five errors more."""
    try:
        yield
    except MlflowException as error:
        raise _translated(error, ERROR_CODE_TO_HTTP_STATUS.get(error.error_code, 500)) from None
    except OSError as error:  # among them those of the library that requests are sent with
        raise _translated(error, getattr(getattr(error, "response", None), "status_code", 503)) from None


def _translated(error: Exception, status: int) -> WriteError | LogValueError:
    reason = Redactor({}).redact_text(" ".join(str(error).split()))[:500].rstrip(".")
    if status >= 500 or status in _ANOTHER_TIME:
        return WriteError(f"MLflow cannot be written to now: {reason}")
    return LogValueError(f"MLflow refuses it: {reason}")

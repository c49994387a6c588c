"""Writes to MLflow: a tracking server, a database, or any store that MLflow has a URI for.

Scalars are metrics, at the training step and with the time at which they were logged; what they are called is in
``mlflow_names``: ``task/loss`` in training, ``valid/task/loss`` in a validation pass. The configuration becomes
params, flattened (``model.width``), and the artifact ``config.yaml``; the first value of a param holds, as MLflow has
it, so of a resumed run see ``config-2.yaml``. Pictures, sounds, videos, point clouds and texts are artifacts::

    image/task/digits/train-00000003-0f3a9b….png        text/task/note/train-00000003-0.txt

A run of ours is one run of MLflow's, found by its tag ``ml.run`` when it is resumed or replayed: ``mlog replay RUN --to
mlflow`` completes it. What differs in MLflow: an infinity becomes the largest number (as all its SQL stores do), times
have milliseconds, and what a resumed run goes over again is kept of both attempts, the later one with the later time.

Only a client of its own is used: active runs, environment and settings of MLflow stay as they are. While the server is
away values wait, as the group has it (``on_full``), and nothing holds up training.
"""

import hashlib
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from ml.core.config import conf_field
from ml.core.errors import ConfigError, WriteError
from ml.core.plain import Plain, plain_mapping
from ml.core.redact import Redactor
from ml.core.registry import register_logger
from ml.core.run import RunContext
from ml.core.state import State
from ml.integrations.mlflow_names import bounded, escaped, file_segment, metric_name
from ml.io.liveness import is_alive
from ml.io.runrecord import attempts_of, read_record
from ml.loggers.base import BaseLogger, BaseLoggerConfig
from ml.loggers.remote import Ordinals, check_timeout, identity_of, remember_place
from ml.loggers.strict_json import real
from ml.loggers.values import Lazy, series_path

if TYPE_CHECKING:
    from ml.integrations.mlflow_client import Client, Point

RUN_TAG, ATTEMPT_TAG = "ml.run", "ml.attempt"
MAX_PARAM_LENGTH = 6000

_MILLISECOND = timedelta(milliseconds=1)
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}

Kept = tuple[int, int, float | None]
"""``(step, time in milliseconds, value)`` as a store keeps them: of infinities the largest number, of NaN ``None``."""


@dataclass
class MlflowLoggerConfig(BaseLoggerConfig):
    """What the MLflow backend can be told.

    Attributes:
        tracking_uri: ``http://host:5000``, ``sqlite:///mlflow.db``, or any other that MLflow knows. By default where
            the program's own MLflow code logs: ``MLFLOW_TRACKING_URI``, else ``mlflow.db`` in the working directory.
        experiment: The experiment's name; made if it is not there.
        artifact_location: Where a new experiment keeps its artifacts; by default where MLflow's server, or store, does.
        run_name: By default the name of the run's directory.
        tags: Of the run.
        timeout_s: How long to wait for an answer of a server. One that is slower never gets anything.
    """

    tracking_uri: str | None = None
    experiment: str = "Default"
    artifact_location: str | None = None
    run_name: str | None = None
    tags: dict[str, str] = conf_field({})
    timeout_s: float = 10.0


@register_logger("mlflow", MlflowLoggerConfig)
class MlflowLogger(BaseLogger[MlflowLoggerConfig]):
    """Writes scalars as metrics, everything else as artifacts.

    Attributes:
        run_id: MLflow's name of the run; ``None`` until the first write.
    """

    gathers = True
    is_remote = True

    def initialize(self, context: RunContext) -> None:
        from ml.integrations.mlflow_client import Client  # needs MLflow, which may be missing

        super().initialize(context)
        check_timeout(self.id, "timeout_s", self.config.timeout_s)
        if not self.config.experiment:
            raise ConfigError(f"experiment of '{self.id}' is a name, got ''.")
        place = {"tracking_uri": self.config.tracking_uri, "experiment": self.config.experiment}
        remember_place(self.log_directory, place)
        self.run_id: str | None = None
        self._connect = partial(Client, self.config.tracking_uri, self.config.timeout_s)
        self._client: Client | None = None
        self._settings: DictConfig | None = None  # not sent yet
        self._ordinals = Ordinals()
        self._points: list[Point] = []
        self._files: dict[str, bytes] = {}
        self._is_doubtful = False  # whether some of what is sent may be there already
        self._is_begun_before = self._may_have_twins = False
        self._there: dict[str, set[Kept]] = {}

    def log_config(self, config: DictConfig) -> None:
        self._settings = config

    def log_scalar(self, key: str, value: Callable[[], int | float], state: State, namespace: str) -> None:
        name = metric_name(state.phase, series_path(namespace, key))
        self._points.append((name, state.num_steps, _milliseconds(state.time_s), real(value())))

    def log_string(self, key: str, value: Callable[[], str], state: State, namespace: str) -> None:
        number = self._ordinals.take(state, series_path(namespace, key))
        attempt = "" if self.context.attempt == 1 else f"attempt-{self.context.attempt}-"
        path = f"{_folder('text', namespace, key)}/{_step_of(state)}-{attempt}{number}.txt"
        self._files[path] = value().encode(errors="backslashreplace")

    def _log_media(self, key: str, value: Lazy, state: State, namespace: str) -> None:
        form = next(iter(value.kind.encoders))
        data = value.encoded(form)
        digest = hashlib.sha256(data).hexdigest()[:12]
        self._files[f"{_folder(value.kind.name, namespace, key)}/{_step_of(state)}-{digest}.{form}"] = data

    log_image = log_audio = log_video = log_point_cloud = _log_media  # type: ignore[assignment]

    def write(self, state: State) -> None:
        points, self._points = self._points, []
        files, self._files = self._files, {}
        try:
            client, run_id = self._begin(state)
            self._send_settings(client, run_id)
            self._send(client, run_id, points)
            for path, data in files.items():  # last: what is sent again replaces what is there
                client.put(run_id, path, data)
        except BaseException as error:
            self._ordinals.roll_back()
            self._is_doubtful = self._is_doubtful or isinstance(error, WriteError)
            raise
        self._ordinals.commit()
        self._is_doubtful = self._is_begun_before

    def flush(self) -> None:
        if self._client is not None and self.run_id is not None:
            self._send_settings(self._client, self.run_id)

    def media_bytes_on_disk(self) -> int:
        return 0

    def close(self) -> None:
        if self._client is None or self.run_id is None:
            return
        if self._may_have_twins:
            self._delete_twins(self._client, self.run_id)
        if (status := self._status()) is not None:
            self._client.set_status(self.run_id, status)

    def _begin(self, state: State) -> "tuple[Client, str]":
        """Returns the client and the run, which is found, or made."""
        if self._client is not None and self.run_id is not None:
            return self._client, self.run_id
        identity, config = identity_of(self.log_directory), self.config
        client = self._connect()
        self._drops_equal = client.drops_equal_metrics()
        self._experiment_id = client.experiment_id(config.experiment, config.artifact_location)
        attempt = self.context.attempt
        redact = Redactor(os.environ).redact_text
        given = {name: redact(tag) for name, tag in config.tags.items()}
        tags = {RUN_TAG: identity, ATTEMPT_TAG: str(attempt)} | given
        found = client.runs_tagged(self._experiment_id, RUN_TAG, identity)
        if found:
            run = found[0]
            begun = run.data.tags.get(ATTEMPT_TAG, "0")
            self._is_begun_before = begun.isdigit() and int(begun) >= attempt  # so this is a replay
            self._is_doubtful = self._is_doubtful or self._is_begun_before
            if not self._is_begun_before:
                client.set_tags(run.info.run_id, tags)
                client.set_status(run.info.run_id, "RUNNING")
        else:
            name = redact(config.run_name or self.context.directory.absolute().name)
            start_ms = _milliseconds(state.start_time_s or state.time_s)
            earlier, self._may_have_twins = self._may_have_twins, True  # also if the answer is lost
            run = client.create_run(self._experiment_id, name, start_ms, tags)
            self._may_have_twins = earlier
        self._client, self.run_id = client, str(run.info.run_id)
        return client, self.run_id

    def _status(self) -> str | None:
        """Returns how the run ended; ``None`` while it goes on."""
        directory, attempt = self.context.directory, self.context.attempt
        if max(attempts_of(directory), default=attempt) > attempt:  # a replay, which comes to that one too
            return None
        record = read_record(directory, attempt)
        status = self.context.status or record.get("status")
        if status == "running":  # a replay: of a run that was killed, or of one that goes on
            return "KILLED" if is_alive(record) is False else None
        return _STATUS.get(str(status), "FINISHED")

    def _send(self, client: "Client", run_id: str, points: "list[Point]") -> None:
        if self._is_doubtful and not self._drops_equal:
            points = [point for point in points if _kept(point) not in self._points_there(client, run_id, point[0])]
        client.log_points(run_id, points)
        for point in points:
            if point[0] in self._there:
                self._there[point[0]].add(_kept(point))
        if not self._is_begun_before:
            self._there.clear()

    def _points_there(self, client: "Client", run_id: str, name: str) -> set[Kept]:
        """Returns what a store has of a metric, if it is one that keeps twice what is sent twice."""
        if name not in self._there:
            self._there[name] = set(map(_kept, client.points(run_id, name)))
        return self._there[name]

    def _send_settings(self, client: "Client", run_id: str) -> None:
        if (settings := self._settings) is None:
            return
        there = client.params(run_id)
        flat = {bounded(escaped(name)): value for name, value in _flattened(plain_mapping(settings), "")}
        client.log_params(run_id, {name: value for name, value in flat.items() if name and name not in there})
        number = "" if self.context.attempt == 1 else f"-{self.context.attempt}"
        client.put(run_id, f"config{number}.yaml", OmegaConf.to_yaml(settings).encode(errors="backslashreplace"))
        if self._settings is settings:
            self._settings = None

    def _delete_twins(self, client: "Client", run_id: str) -> None:
        """Deletes runs that were made by requests whose answers were lost."""
        for run in client.runs_tagged(self._experiment_id, RUN_TAG, identity_of(self.log_directory)):
            if run.info.run_id != run_id and not run.data.metrics:
                client.delete_run(run.info.run_id)


def _milliseconds(time_s: float) -> int:
    """Returns Unix milliseconds, 0 at the least; the same for a time that was kept in microseconds."""
    return max(0, timedelta(seconds=time_s) // _MILLISECOND)


def _kept(point: "Point") -> Kept:
    _, step, time_ms, value = point
    return step, time_ms, None if math.isnan(value) else max(-sys.float_info.max, min(sys.float_info.max, value))


def _folder(kind: str, namespace: str, key: str) -> str:
    return "/".join(file_segment(part) for part in (kind, namespace, key) if part)


def _step_of(state: State) -> str:
    return f"{state.phase}-{state.num_steps:08d}"


def _flattened(node: Plain, name: str) -> Iterator[tuple[str, str]]:
    """Yields ``("model.width", "64")`` for each setting of nested mappings; a list is one setting."""
    if isinstance(node, Mapping) and (node or not name):
        for key, value in node.items():
            yield from _flattened(value, f"{name}.{key}" if name else str(key))
    else:
        text = str(node).replace("\0", "\\x00").encode(errors="backslashreplace").decode()
        yield name, text if len(text) <= MAX_PARAM_LENGTH else text[: MAX_PARAM_LENGTH - 1] + "…"

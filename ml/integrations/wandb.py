"""Gives a run to Weights & Biases: online, or as an offline run that ``wandb sync`` uploads later.

::

    wandb/identity.json                                              what W&B calls the run
    wandb/wandb/offline-run-20260102_030405-k3j9x2ab/run-k3j9x2ab.wandb    values; online the folder is ``run-…``
    wandb/wandb/offline-run-20260102_030405-k3j9x2ab/files/media/…   pictures, clips, videos, texts, points

A state is one row of W&B's history: ``{"step": 7, "task/loss": 0.25}``. Validation and test have their phase in
front of the key, and in a field, ``{"step": 7, "phase": "valid", "valid/task/loss": 0.5}``. ``step``, the training
step, is the x axis of every chart: W&B's own counts rows, as it must grow.
"""

import os
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from omegaconf import DictConfig, OmegaConf

from ml.core.errors import ConfigError, WriteError, missing
from ml.core.registry import register_logger
from ml.core.run import RunContext
from ml.core.state import State
from ml.integrations.wandb_names import STEP, out_of_the_way
from ml.integrations.wandb_records import LogProgress
from ml.integrations.wandb_rows import File, Points, Value, hand_over
from ml.integrations.wandb_settings import MODES, WandbLoggerConfig, has_key, mode_of, project_of, settings_of
from ml.io.fileops import sync_file
from ml.io.lifetime import close_before_others, let_pools_be_made_late
from ml.io.worker import Event
from ml.loggers.base import BaseLogger, bytes_below
from ml.loggers.remote import check_timeout, identity_of
from ml.loggers.values import Lazy
from ml.loggers.wide_rows import WideRows, in_64_bits

if TYPE_CHECKING:
    import wandb

_EXIT_CODES = {"failed": 1, "interrupted": 255}
_POLL_S, _MAX_POLLS = 0.02, 1500
_ID_DIGITS = 8


@register_logger("wandb", WandbLoggerConfig)
class WandbLogger(BaseLogger[WandbLoggerConfig]):
    """Logs every kind of value to a run of W&B that is its own: a run that the user has beside it is not touched.

    Numbers are what JSON has, with NaN and infinities; whole numbers from 2^63 become floats. A text is a page, as
    W&B has no panel for plain texts. Of a histogram W&B takes the bins. Where W&B has a key for itself (``step``,
    ``phase``, and what begins with ``_``) ours is ``logged/<key>``.

    W&B is imported, and its service process started, on the backend's own thread, with the configuration or the
    first write. While it cannot start, values wait. An attempt goes on with the W&B run of the one before when it is
    online; offline it is one of its own, ``<id>-<attempt>``, as W&B cannot join the two.
    """

    def __init__(self, config: WandbLoggerConfig) -> None:
        super().__init__(config)
        if config.mode is not None and config.mode not in MODES:
            raise ConfigError(f"mode of '{self.id}' must be one of {', '.join(MODES)}, got {config.mode!r}.")
        self._mode = config.mode or mode_of(os.environ)
        check_timeout(self.id, "finish_timeout_s", config.finish_timeout_s)
        if self._mode == "disabled":
            self.kinds = frozenset()

    def initialize(self, context: RunContext) -> None:
        """Makes the directory; W&B is left for later, as it takes seconds.

        Raises:
            ConfigError: W&B is not installed.
        """
        if find_spec("wandb") is None:
            raise missing(f"The logger '{self.id}'", "W&B", "wandb")
        super().initialize(context)
        let_pools_be_made_late()
        self._settings: dict[str, Any] = {}
        self._rows: WideRows[Value] = WideRows(out_of_the_way)
        self._handed: Counter[tuple[State, frozenset[str]]] = Counter()  # of a write that failed in the middle
        self._run: wandb.Run | None = None
        self._progress: LogProgress | None = None
        self._num_handed = 0
        self._synced: set[Path] = set()

    def log_config(self, config: DictConfig) -> None:
        self._settings = cast(dict[str, Any], OmegaConf.to_container(config))
        if self._mode == "disabled":
            return
        if self._run is None:
            self._open()
        else:
            self._run.config.update(self._settings, allow_val_change=True)  # type: ignore[no-untyped-call]

    def log_scalar(self, key: str, value: Callable[[], int | float], state: State, namespace: str) -> None:
        self._rows.put(namespace, key, in_64_bits(value()), state)

    def log_string(self, key: str, value: Callable[[], str], state: State, namespace: str) -> None:
        texts = self._rows.last(namespace, key, state)
        if isinstance(texts, list):
            texts.append(value())
        else:
            self._rows.put(namespace, key, [value()], state)

    def log_histogram(  # type: ignore[override]  # a group gives media as Lazy
        self, key: str, value: Lazy, state: State, namespace: str
    ) -> None:
        self._rows.put(namespace, key, value.histogram(), state)

    def log_point_cloud(  # type: ignore[override]
        self, key: str, value: Lazy, state: State, namespace: str
    ) -> None:
        table = value.array().reshape(-1, 3)
        if value.colors is not None:
            table = np.concatenate([table, value.colors.reshape(-1, 3)], axis=1)
        self._rows.put(namespace, key, Points(table), state)

    def _log_file(self, key: str, value: Lazy, state: State, namespace: str) -> None:
        form = next(iter(value.kind.encoders))
        self._rows.put(namespace, key, File(value.kind, form, value.encoded(form)), state)

    log_image = log_audio = log_video = _log_file  # type: ignore[assignment]

    def write(self, state: State) -> None:
        rows = self._rows.take()
        if not rows:
            return
        run = self._run or self._open()
        from wandb.errors import CommError, UsageError

        handed = Counter(self._handed)
        for row in rows:
            identity = row.state, frozenset(row.values)
            if handed[identity]:
                handed[identity] -= 1
                continue
            try:
                hand_over(row, run, self.log_directory)
            except (OSError, CommError, UsageError) as error:  # its process is gone, or someone has ended the run
                raise WriteError(f"W&B does not take values: {error!r}") from error
            except Exception:
                self._handed.clear()  # what is refused is not offered again
                raise
            self._handed[identity] += 1
            self._num_handed += 1
        self._handed.clear()

    def flush(self) -> None:
        """Waits until the service process has written what it was handed to its log, and syncs that and media."""
        if self._run is None:
            return
        self._wait_until(lambda progress: progress.num_rows >= self._num_handed)
        new = {path for path in Path(self._run.dir, "media").rglob("*") if path.is_file()} - self._synced
        for path in new:
            sync_file(path)
        self._synced |= new

    def media_bytes_on_disk(self) -> int:
        return sum(bytes_below(path) for path in self.log_directory.glob("wandb/*run-*/files/media"))

    def close(self) -> None:
        """Finishes the run; when this returns, its log is complete."""
        run, self._run = self._run, None
        if run is not None:
            run.finish(exit_code=_EXIT_CODES.get(self.context.status or "", 0))
            self._wait_until(lambda progress: progress.has_ended)

    def _wait_until(self, has_come: Callable[[LogProgress], bool]) -> None:
        """Waits until the service process has come so far with its log, and syncs that.

        Raises:
            OSError, WriteError: It does not, or the log cannot be synced.
        """
        assert self._progress is not None, "a run was opened"
        for _ in range(_MAX_POLLS):
            self._progress.look()
            if has_come(self._progress):
                sync_file(self._progress.path)
                return
            Event().wait(_POLL_S)
        raise WriteError(
            f"W&B has written {self._progress.num_rows} of {self._num_handed} rows to {self._progress.path}"
        )

    def _open(self) -> "wandb.Run":
        """Starts the run of W&B, on the backend's thread.

        Raises:
            WriteError: W&B cannot be reached, or refuses.
        """
        import wandb

        directory, attempt = self.context.directory.absolute(), self.context.attempt
        online, config = self._mode == "online", self.config
        name = config.run_name or directory.name
        ident = identity_of(self.log_directory, digits=_ID_DIGITS)
        if attempt > 1 and not online:
            name, ident = f"{name} (attempt {attempt})", f"{ident}-{attempt}"
        try:
            if online and not has_key(wandb.setup().settings.base_url):  # W&B would ask at the terminal
                raise WriteError("W&B has no API key. Run 'wandb login', or set WANDB_API_KEY, or mode=offline.")
            run = wandb.init(
                id=ident,
                name=name,
                project=project_of(config, directory),
                entity=config.entity,
                group=config.group,
                tags=config.tags or None,
                config=self._settings,
                mode="online" if online else "offline",
                resume="allow" if online else None,
                reinit="create_new",  # leaves a run that the user has alone, and is not the global one
                settings=settings_of(config, self.log_directory.absolute()),
            )
            if not Path(run.dir).is_relative_to(self.log_directory.absolute()):  # W&B's answer to a full disk
                run.finish()
                raise WriteError(f"W&B cannot write to {self.log_directory}")
            run.define_metric(STEP, hidden=True)
            run.define_metric("*", step_metric=STEP)
        except (OSError, WriteError):
            raise
        except Exception as error:
            raise WriteError(f"W&B does not start: {error!r}") from error
        finally:
            close_before_others()  # W&B ends all runs at exit, before values that wait would come
        self._run, self._progress, self._num_handed = run, LogProgress(Path(run.settings.sync_file)), 0
        return run

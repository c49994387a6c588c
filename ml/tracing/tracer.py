"""Watches a model that is called through it, and keeps what it said; what all tracers and loggers have in common.

::

    logger = ObjectDetectionLogger(model, "fcos", "v1")
    detections = logger(images)                      # as model(images), and the same object

The model does not notice. What it returns is handed on as it is; its gradients, mode, buffers and random numbers, its
setting and the current device are afterwards as if it had been called without. What it raises comes through. What
fails while it is watched is counted and told once, and never raised: ``stats``. On the caller's thread its output is
read, and nothing is written: a thread does that, and where it cannot keep up the oldest inferences are given up,
counted, and told.

A model in training mode may have another output than its detections, such as losses: then the call is counted as
``failed["parse"]``, and nothing of it is kept.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from torch import nn

from ml.core.errors import ClosedError
from ml.core.run import detect_rank, resolve_primary_rank
from ml.io.lifetime import close_at_exit, forget_at_exit, tell_after_fork
from ml.io.worker import Lock
from ml.tracing.delivery import Delivery, Listener
from ml.tracing.failures import Failures
from ml.tracing.fields import field_specs
from ml.tracing.hooks import Recorder
from ml.tracing.identity import architecture_of
from ml.tracing.inferences import InferenceMaker
from ml.tracing.layers import LayerFeatures
from ml.tracing.options import Options
from ml.tracing.output import NmsConfig
from ml.tracing.record import Identity
from ml.tracing.saving import Saver
from ml.tracing.task import Output, Size, Task
from ml.tracing.tracer_stats import TracerStats
from ml.tracing.watching import OWN, Call, CallArguments, Watcher
from ml.tracing.wrapped import target_modules, unwrapped

if TYPE_CHECKING:
    from ml.tracing.selection import Selection
    from ml.tracing.upload import UploadReport

CLOSE_TIMEOUT_S = 10.0


class ModelTracer:
    """Not made by itself: derived classes say for which task, and how they are called.

    It may be called by several threads at once. A forked child's copy calls the model, and keeps nothing. It is closed
    at exit, if nobody does before; until then it keeps the model alive.

    Args:
        model: Of the user.
        task: What the model is for.
        options: Checked.

    Attributes:
        identity: Of the model, as it is kept.

    Raises:
        ConfigError: An argument makes no sense for this model, or another architecture has its name.
    """

    def __init__(self, model: nn.Module, task: Task, options: Options) -> None:
        self._options, self._task = options, task
        self._model: nn.Module | None = model
        self._is_forked = self._is_closed = False
        self._closing = Lock()
        inner, failures = unwrapped(model), Failures(f"The tracer of {options.model_name}")
        self._failures = failures
        targets = target_modules(model, options.target_layers or {})
        fields = field_specs("additional_fields", options.additional_fields)
        label_fields = field_specs("additional_label_fields", options.additional_label_fields)
        with self._apply_nms_config(inner, options.nms):  # a limit that the model does not have is found now
            pass
        n_class = self._get_n_class(inner) if options.n_class is None else options.n_class
        self.identity = Identity(options.model_name, options.version_name, architecture_of(inner), task.name, n_class)
        self._layers = LayerFeatures(tuple(targets), options.feature_reductions or {}, failures)
        self._maker = InferenceMaker(
            task,
            failures,
            max_candidates=options.max_candidates,
            thumbnail_px=options.thumbnail_px,
            features_of=self._layers.of_input,
        )
        rank, world_size = detect_rank()
        self._is_primary = rank == resolve_primary_rank(None, world_size)
        self._saver = Saver(
            options,
            self.identity,
            fields,
            label_fields,
            rank=rank,
            world_size=world_size,
            is_primary=self._is_primary,
        )
        self._delivery = Delivery(self._saver.submit, failures)
        self._recorder = Recorder(failures)
        try:
            with self._recorder.adopting(inner):
                watched = self._register_model_hooks(inner) or {}
            self._recorder.watch({f"{OWN}{alias}": module for alias, module in watched.items()} | targets)
        except BaseException:
            self._recorder.close()
            self._saver.close(0.0)
            raise
        self._watcher = Watcher(
            self,
            task,
            options,
            failures,
            fields,
            label_fields,
            self._recorder,
            self._layers,
            self._maker,
            self._delivery,
        )
        close_at_exit(self)
        tell_after_fork(self)

    # what a class for a model of its own overrides

    @staticmethod
    def detect(model: nn.Module) -> bool:
        """Returns whether this class handles a model; it is the user's own, without a wrapper around it."""
        return False

    def _get_n_class(self, model: nn.Module) -> int:
        """Returns how many classes the model knows. Asked where ``n_class`` is not given."""
        return self._task.n_class(model)

    def _register_model_hooks(self, model: nn.Module) -> Mapping[str, nn.Module] | None:
        """Says what ``_parse_model_output`` needs beside the model's output.

        Returns:
            The modules whose outputs are in ``self.call.captured`` then, by alias. Forward hooks that are registered
            here by hand work too: they are called in calls that are traced, and what they raise harms nobody.
        """
        return self._task.modules(model)

    def _apply_nms_config(self, model: nn.Module, nms_config: NmsConfig) -> AbstractContextManager[None]:
        """Returns a context inside which the model has a setting, and after which its own; ``None`` changes nothing."""
        return self._task.applied(model, nms_config)

    def _get_image_sizes(self, model_input: object) -> list[Size]:
        """Returns height and width of each input, in pixels."""
        return self._task.sizes(model_input)

    def _parse_model_output(self, model_output: object, img_sizes: Sequence[Size]) -> Sequence[Output]:
        """Returns what the model said of each input; called without gradients, after the model, on the same thread."""
        return self._task.parse(
            unwrapped(self._opened()), model_output, self.call.captured, img_sizes, self.call.config
        )

    @property
    def call(self) -> Call:
        """What the call that is being parsed on this thread is read with."""
        return self._watcher.current

    def _trace(self, model_input: object, arguments: CallArguments) -> object:
        """Calls the model, keeps what it said, and returns its very output."""
        model = self._opened()
        if self._is_forked:
            return self._watcher.call_unwatched(model, model_input)
        return self._watcher.call(model, model_input, arguments)

    def _inner(self) -> nn.Module:
        return unwrapped(self._opened())

    def _opened(self) -> nn.Module:
        model = self._model
        if model is None:
            raise ClosedError(f"The tracer of {self._options.model_name} is closed. Call the model itself.")
        return model

    # what came of it

    def get_hooked_features(self, layer_name: str) -> object:
        """Returns what one of ``target_layers`` returned last, without its graph; it may lie on a GPU.

        Args:
            layer_name: Its alias.

        Raises:
            KeyError: There is no such alias, or nothing was captured yet.
            ClosedError: The tracer is closed.
        """
        self._opened()
        return self._layers.last(layer_name)

    def listen(self, listener: Listener) -> None:
        """Has a function told of the inferences of each call, on its thread; what it raises is counted, and told once.

        They are what is saved: not to be changed.
        """
        self._delivery.listen(listener)

    def wait_for_save(self, interval: float = 3, *, timeout_s: float | None = None) -> bool:
        """Waits until all inferences so far are in the database, and sent, where they are sent by themselves.

        It is woken as soon as they are.

        Args:
            interval: Seconds between warnings that say what is waited for.
            timeout_s: How long at the most; ``None``: as long as it takes.

        Returns:
            False: they are not in time, or some of them were lost; ``stats`` says which way.
        """
        return self._saver.wait(interval, timeout_s)

    def export(self, output_path: str | Path | None = None) -> Path | None:
        """Writes the inferences of this version to a ZIP file, those of all ranks together.

        Which epochs is what ``n_epoch`` says. What this process has not saved yet is waited for, 30 s at most. Other
        ranks' inferences are there as far as they are saved: let each rank
        ``wait_for_save``, and then wait for each other, before this.

        Args:
            output_path: A file that ends in ``.zip``, or a directory; ``None``: the working directory.

        Returns:
            The file; ``None`` on ranks that are not the primary one, which write none.

        Raises:
            ConfigError: pyarrow is not installed, or it cannot be written there.
            WriteError: The database, or the file, cannot be used now.
        """
        return self._saver.export(output_path) if self._is_primary else None

    def upload(self) -> "UploadReport | None":
        """Sends the inferences of this version that were not sent yet; again sends what is missing.

        What is not saved yet is waited for, 30 s at most.

        Returns:
            What was sent; ``None`` on ranks that are not the primary one, which send nothing.

        Raises:
            ConfigError: There is no endpoint: neither ``api_endpoint`` nor ``ML_API_ENDPOINT``.
            WriteError: It cannot be sent now.
        """
        self._saver.endpoint()
        return self._saver.upload() if self._is_primary else None

    def selection(self) -> "Selection":
        """Returns what is exported and sent: the inferences of this version, of the epochs that ``n_epoch`` says."""
        return self._saver.selection()

    def stats(self) -> TracerStats:
        """Returns what became of the inputs so far."""
        written, counts = self._saver.stats(), self._watcher.counts()
        failed = {**{name: number for name, number in written.failed.items() if number}, **self._failures.counts()}
        dropped = {name: number for name, number in written.dropped.items() if number}
        return TracerStats(
            counts.calls, counts.inputs, written.written, written.pending, dropped, failed, counts.disagreements
        )

    # how it ends

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self, timeout_s: float | None = CLOSE_TIMEOUT_S) -> None:
        """Removes the hooks, lets go of the model, and saves what waits; again does nothing.

        Args:
            timeout_s: How long the database is waited for. What it has not taken by then is lost, and told.
        """
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
        forget_at_exit(self)
        self._model = None
        self._recorder.close()
        self._layers.forget()
        self._saver.close(timeout_s)

    def after_fork_in_child(self) -> None:
        """Makes this copy inert: it calls the model, with the setting that was chosen, and keeps nothing."""
        self._is_forked = True
        self._watcher.after_fork_in_child()
        forget_at_exit(self)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError(f"The tracer of {self._options.model_name} belongs to its process and cannot be copied.")

"""Logs what a ``Trainer`` of ``lightning`` or ``pytorch_lightning`` logs: ``Trainer(logger=LightningLogger(run))``.

Keys, steps and values are those of Lightning's own loggers, ``epoch`` included. Checkpoints go to
``<run>/checkpoints``, each noted as a text ``checkpoint``::

    train  step 99  checkpoint  runs/demo/checkpoints/epoch=1-step=100.ckpt (val_loss 0.25)

Several processes: give the logger what starts the run, ``LightningLogger(partial(ml.start_run, "runs/demo"))``.
Lightning then starts it in every process, once their ranks are known.
"""

import logging
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ml.core.errors import ConfigError, missing
from ml.integrations.feeding import Feed, RunSource
from ml.loggers.multi import MultiLogger
from ml.session import Run

try:
    from lightning.pytorch.loggers import Logger
    from lightning.pytorch.utilities import rank_zero_only
except ImportError:
    try:
        from pytorch_lightning.loggers import Logger  # type: ignore[assignment]
        from pytorch_lightning.utilities import rank_zero_only
    except ImportError as error:
        raise missing("LightningLogger", "the package lightning", "lightning", error) from error

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import ModelCheckpoint
    from torch import Tensor
    from torch.nn import Module

_log = logging.getLogger("ml")


class LightningLogger(Logger):
    """Feeds a run with what Lightning logs, which has thinned it already: every value is written.

    A step ends when something of another step is logged, and with every ``fit``, ``validate`` and ``test``, also one
    that raises; then all is durable. ``logger.experiment`` is the run.

    Pickled, as ``strategy="ddp_spawn"`` does it, a logger of a run discards; one that was given what starts a run
    starts it in the new process.

    Args:
        run: The run, which stays open; or what starts one: see ``Feed``.

    Raises:
        ConfigError: It is neither.
    """

    def __init__(self, run: RunSource) -> None:
        super().__init__()
        self._feed = Feed(run)
        self._warned_of_graph = False

    @property
    def experiment(self) -> Run:
        """The run; it is started if it was not yet.

        Raises:
            ConfigError: It was started before the ranks were known, so every rank has one.
        """
        run = self._feed.run
        rank = getattr(rank_zero_only, "rank", 0)
        if rank and run.context.world_size == 1:
            raise ConfigError(
                f"Rank {rank} has a run of its own, {run.path}: it was started before Lightning started the ranks."
                " Give the logger what starts it: LightningLogger(partial(ml.start_run, ...))."
            )
        return run

    @property
    def name(self) -> str:
        """Empty, as ``version`` is: a run's directory has no further ones within, ``save_dir`` is it."""
        return ""

    @property
    def version(self) -> str:
        """Empty; see ``name``."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run's directory: ``trainer.log_dir``, and where ``checkpoints`` is made."""
        return str(self._feed.run.path)

    @property
    def root_dir(self) -> str:
        """The run's directory."""
        return self.save_dir

    @property
    def log_dir(self) -> str:
        """The run's directory."""
        return self.save_dir

    def log_metrics(self, metrics: Mapping[str, object], step: int | None = None) -> None:
        """Logs numbers and texts; see ``ml.integrations.metrics.log_metrics``.

        Args:
            metrics: Values by key.
            step: ``None`` is the step after the last one, so nothing is overwritten.
        """
        self._feed.log(step, metrics, epochs=metrics.get("epoch"))

    def log_hyperparams(
        self, params: Mapping[str, object] | Namespace, metrics: Mapping[str, object] | None = None
    ) -> None:
        """Adds to the run's configuration.

        Args:
            params: Replace settings of the same name.
            metrics: Logged at the last step, as Lightning's TensorBoardLogger does.
        """
        self._feed.run.log_config(params)
        if metrics:
            self._feed.log(self._feed.run.state.num_steps, metrics)

    def log_image(
        self, key: str, images: object, step: int | None = None, caption: str | Sequence[str] | None = None
    ) -> None:
        """Logs pictures; several are shown as one, on a grid.

        Args:
            key: The key.
            images: One picture or a list: arrays, tensors, PIL images or matplotlib figures.
            step: ``None`` is the last step.
            caption: A text for each picture.
        """
        pictures, captions = _listed(images), None if caption is None else _listed(caption)
        with self._feed.media(step) as logger:
            if len(pictures) == 1 and captions is None:
                logger.log_image(key, pictures[0])
            elif len(pictures) == 1:
                logger.log_labeled_image(key, (pictures[0], captions[0] if captions else ""))
            elif captions is None:
                logger.log_images(key, pictures)
            else:
                logger.log_labeled_images(key, (pictures, captions))

    def log_audio(
        self, key: str, audios: object, step: int | None = None, sample_rate: int | Sequence[int] = 44100
    ) -> None:
        """Logs clips; of several the keys are ``<key>/0``, ``<key>/1`` and so on.

        Args:
            key: The key.
            audios: One clip or a list; see ``MultiLogger.log_audio``.
            step: ``None`` is the last step.
            sample_rate: In Hz, of all or of each.
        """
        self._log_each(key, audios, sample_rate, step, _log_audio)

    def log_video(self, key: str, videos: object, step: int | None = None, fps: float | Sequence[float] = 10.0) -> None:
        """Logs videos; of several the keys are ``<key>/0``, ``<key>/1`` and so on.

        Args:
            key: The key.
            videos: One video or a list; see ``MultiLogger.log_video``.
            step: ``None`` is the last step.
            fps: Frames per second, of all or of each.
        """
        self._log_each(key, videos, fps, step, _log_video)

    def log_text(
        self,
        key: str,
        text: str | None = None,
        *,
        columns: Sequence[object] | None = None,
        data: Sequence[Sequence[object]] | None = None,
        step: int | None = None,
    ) -> None:
        """Logs a text, or a table as Markdown.

        Args:
            key: The key.
            text: The text.
            columns: Names of a table's columns.
            data: Its rows.
            step: ``None`` is the last step.
        """
        with self._feed.media(step) as logger:
            logger.log_string(key, markdown_table(columns or (), data or ()) if text is None else text)

    def log_graph(self, model: "Module", input_array: "Tensor | None" = None) -> None:
        """Logs nothing: a run has no kind of value for graphs. Says so once to who asks for one."""
        if input_array is not None and not self._warned_of_graph:
            self._warned_of_graph = True
            _log.warning(
                "log_graph logs nothing: a run keeps no graphs. Export the model with torch.export or ONNX,"
                " or log its text: log_text('model', str(model))."
            )

    def after_save_checkpoint(self, checkpoint_callback: "ModelCheckpoint") -> None:
        """Notes the checkpoint that was saved, its score and the last step that it holds."""
        path = getattr(checkpoint_callback, "_last_checkpoint_saved", "") or checkpoint_callback.best_model_path
        scores, monitor = checkpoint_callback.best_k_models, checkpoint_callback.monitor
        score = scores.get(path, checkpoint_callback.current_score)
        # Lightning's global step counts finished steps; it logs them from 0.
        finished = getattr(checkpoint_callback, "_last_global_step_saved", 0)
        step = finished - 1 if finished > 0 else None
        self._feed.note_checkpoint(step, path, None if monitor is None or score is None else (monitor, score))

    def finalize(self, status: str) -> None:
        """Ends the last step and waits until all is durable. Lightning calls it after each ``fit`` and its like."""
        self._feed.end()

    def close(self) -> None:
        """Closes a run that was started here, before the interpreter ends."""
        self._feed.close()

    def _log_each(
        self,
        key: str,
        values: object,
        rates: float | Sequence[float],
        step: int | None,
        log: Callable[[MultiLogger, str, object, float], None],
    ) -> None:
        items = _listed(values)
        each = list(rates) if isinstance(rates, Sequence) else [rates] * len(items)
        with self._feed.media(step) as logger:
            for index, item in enumerate(items):
                log(logger, key if len(items) == 1 else f"{key}/{index}", item, each[min(index, len(each) - 1)])


def markdown_table(columns: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """Returns a table as Markdown; ``|`` and line breaks in a cell are escaped."""
    lines = [list(map(_cell, row)) for row in (columns, ["---"] * len(columns), *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", "<br>")


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _log_audio(logger: MultiLogger, key: str, clip: object, sample_rate: float) -> None:
    logger.log_audio(key, clip, sample_rate=int(sample_rate))


def _log_video(logger: MultiLogger, key: str, video: object, fps: float) -> None:
    logger.log_video(key, video, fps=fps)

"""``SummaryWriter`` as ``torch.utils.tensorboard`` has it, on a run of ours: one import line changes.

::

    from ml.integrations.summary_writer import SummaryWriter

    with SummaryWriter("runs/demo") as writer:
        for step, batch in enumerate(loader):
            writer.add_scalar("loss/train", loss, step)

A call encodes and writes nothing: a thread of its own does. A step is over when a value of another step is added;
then it is in the hands of the kernel within 100 ms, and durable after ``flush``. Everything is complete when the
program ends, also without ``close``. No call raises because of what it is given: that is told, and counted.

TensorBoard shows what it shows for torch's writer, in the run ``<log_dir>/tensorboard/train``. What differs:

- A histogram has 64 bins of one width, of at most 10^6 of its values; ``bins`` and ``max_bins`` say nothing. NaN
  and infinities are counted in a scalar ``<tag>.nonfinite``.
- ``add_scalars`` adds tags ``<main_tag>/<name>``, in one chart of the page CUSTOM SCALARS; no runs of their own.
- Boxes are drawn in our style. Videos need no moviepy, and are fitted to 512 x 512 pixels and 256 frames.
- Sound may have two channels and be PCM. Colours of a mesh may be floats.
- What is larger than 64 MiB is refused. Media that come faster than they are encoded wait, up to 256 MiB; then
  the oldest are dropped, told and counted.
- ``add_embedding`` and ``add_onnx_graph`` are not there.

A directory that holds a run is joined, and what is added after ``close`` is too, as a further attempt of the run.
TensorBoard shows all of them, as it does for torch's writer. ``open_run``, which needs a backend such as ``json``,
takes a later attempt for a resume: from its first step on it stands for those before.
"""

import os
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import cast

from ml.core.config import BaseConfig
from ml.core.redact import Redactor
from ml.core.state import State
from ml.integrations.summary_hparams import row, run_of
from ml.integrations.summary_logger import PLOT, Events, Recipe, SummaryLogger, SummaryLoggerConfig
from ml.integrations.summary_steps import SummarySteps
from ml.integrations.summary_values import (
    clip,
    figures,
    mesh_parts,
    number,
    picture,
    redacted,
    rescaled,
    scaled,
    sound,
)
from ml.io.rundir import Resume
from ml.loggers.base import BaseLogger
from ml.loggers.graphs import outside_of_graphs, skip_frames
from ml.loggers.kinds import AUDIO, HISTOGRAM, IMAGE, VIDEO, AudioOptions, ImageOptions, VideoOptions
from ml.session import LoggerSpec, Run, start_run

QUEUE_BYTES = 256 * 2**20
"""What may wait to be encoded: scripts add hundreds of pictures in a row, for which torch's writer holds them up."""

_REMEDY = (
    "SummaryWriter.{method} is not there. Torch's own writer can write beside this one, into the same log directory:"
    " torch.utils.tensorboard.SummaryWriter({directory!r}).{method}(...)."
)

MAX_PLAIN = 2.0**1000
"""What is larger takes the way of all values, which looks at it; so does NaN."""

_AS_IT_IS = ImageOptions(keep_resolution=True)


class SummaryWriter:
    """Writes entries to event files, for TensorBoard; see the module for what differs from torch's.

    Threads may share it. A forked child's copy discards what it is given.

    Args:
        log_dir: The directory of the run; one that is there is joined, as its next attempt. By default
            ``runs/<date>_<host><comment>``.
        comment: Ends the default name.
        purge_step: TensorBoard no longer shows what earlier attempts wrote from this step on.
        max_queue: Accepted, and says nothing: calls never write.
        flush_secs: The same: what was added is handed on at once.
        filename_suffix: The same.
        loggers: Further backends, such as ``["json"]``. They get numbers, texts and media; rows of hyperparameters and
            what else only a page of TensorBoard shows go to TensorBoard alone. A ``SummaryLogger`` takes the place of
            ours.

    Attributes:
        run: What it logs to; ``writer.run.stats()`` counts what became of every value since it was opened.
        log_dir: The directory of the run, absolute.

    Raises:
        ConfigError: The directory cannot be used, a backend is wrong, or the package ``tensorboard`` is missing.
    """

    def __init__(
        self,
        log_dir: str | Path | None = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: int = 120,
        filename_suffix: str = "",
        *,
        loggers: Iterable[LoggerSpec] | LoggerSpec = (),
    ) -> None:
        backends = [loggers] if isinstance(loggers, str | BaseConfig | Mapping | BaseLogger) else list(loggers)
        self._steps = SummarySteps(_Attempts(log_dir, comment, purge_step, backends))
        self.log_dir = str(self.run.path)
        self.purge_step, self.max_queue, self.flush_secs = purge_step, max_queue, flush_secs
        self.filename_suffix = filename_suffix
        self._redact = Redactor(os.environ).redact_text  # of what reaches the file past the run's own
        self._layout: dict[str, dict[str, Sequence[object]]] = {}
        self._lines: dict[str, list[str]] = {}  # of the charts of add_scalars
        skip_frames(SummaryWriter)

    @property
    def run(self) -> Run:
        """What it logs to."""
        return self._steps.run

    def get_logdir(self) -> str:
        """Returns the directory of the run."""
        return self.log_dir

    @outside_of_graphs
    def add_scalar(
        self,
        tag: str,
        scalar_value: object,
        global_step: object = None,
        walltime: float | None = None,
        new_style: bool = False,
        double_precision: bool = False,
    ) -> None:
        """Adds a number; a tensor is read now, or copied where it lies, and may be changed afterwards.

        Args:
            tag: Its tag.
            scalar_value: A number, or an array or tensor with one element.
            global_step: The step; ``None`` is 0.
            walltime: Unix seconds; by default now.
            new_style: Accepted, and says nothing.
            double_precision: The same: TensorBoard keeps float32.
        """
        kind = type(scalar_value)
        is_plain = kind is float or kind is int
        if not is_plain:
            scalar_value, is_plain = number(scalar_value)
        if is_plain and type(tag) is str and tag:
            plain = cast(float, scalar_value)
            if -MAX_PLAIN < plain < MAX_PLAIN:
                self._steps.add_number(tag, plain, global_step, walltime)
                return
        with self._steps.lock:
            self._steps.enter(tag, global_step, walltime)
            self.run.logger.log_scalar(tag, scalar_value)
            self._steps.leave(is_kept=is_plain)

    @outside_of_graphs
    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: Mapping[str, object],
        global_step: object = None,
        walltime: float | None = None,
    ) -> None:
        """Adds numbers ``<main_tag>/<name>``, and a chart of them all to the page CUSTOM SCALARS."""
        with self._steps.lock:
            if not isinstance(tag_scalar_dict, Mapping):
                self._steps.enter(main_tag, global_step, walltime)
                self.run.logger.log_scalars(tag_scalar_dict)  # which fails it
                self._steps.end()
                return
            values = {f"{main_tag}/{name}": value for name, value in tag_scalar_dict.items()}
            for tag, value in values.items():
                self.add_scalar(tag, value, global_step, walltime)
            self._add_lines(str(main_tag), list(values))

    @outside_of_graphs
    def add_histogram(
        self,
        tag: str,
        values: object,
        global_step: object = None,
        bins: object = "tensorflow",
        walltime: float | None = None,
        max_bins: int | None = None,
    ) -> None:
        """Adds the distribution of ``values``, any shape and real dtype; there are 64 bins, whatever ``bins`` says."""
        self._steps.log(HISTOGRAM, tag, values, global_step, walltime)

    @outside_of_graphs
    def add_histogram_raw(
        self,
        tag: str,
        min: float,
        max: float,
        num: float,
        sum: float,
        sum_squares: float,
        bucket_limits: object,
        bucket_counts: object,
        global_step: object = None,
        walltime: float | None = None,
    ) -> None:
        """Adds a histogram that is counted already: ``bucket_limits`` are the upper edges of its bins."""
        from ml.integrations import summary_events as events

        arrays = [bucket_limits, bucket_counts, min, max, num, sum, sum_squares]
        self._steps.log(PLOT, tag, arrays, global_step, walltime, Recipe(tag, events.histogram_raw))

    @outside_of_graphs
    def add_image(
        self,
        tag: str,
        img_tensor: object,
        global_step: object = None,
        walltime: float | None = None,
        dataformats: str = "CHW",
    ) -> None:
        """Adds a picture, or a batch as a grid with rows of eight.

        Args:
            tag: Its tag.
            img_tensor: uint8, or floats in [0, 1]; gray, RGB or RGBA.
            global_step: The step; ``None`` is 0.
            walltime: Unix seconds; by default now.
            dataformats: What the axes are: ``CHW``, ``HWC``, ``HW``, ``WH``, ``NCHW``, ``NHWC`` ...
        """
        self._steps.log(IMAGE, tag, partial(picture, img_tensor, dataformats), global_step, walltime, _AS_IT_IS)

    @outside_of_graphs
    def add_images(
        self,
        tag: str,
        img_tensor: object,
        global_step: object = None,
        walltime: float | None = None,
        dataformats: str = "NCHW",
    ) -> None:
        """Adds a batch of pictures as a grid with rows of eight; see ``add_image``."""
        self.add_image(tag, img_tensor, global_step, walltime, dataformats)

    @outside_of_graphs
    def add_image_with_boxes(
        self,
        tag: str,
        img_tensor: object,
        box_tensor: object,
        global_step: object = None,
        walltime: float | None = None,
        rescale: float = 1,
        dataformats: str = "CHW",
        labels: Sequence[str] | str | None = None,
    ) -> None:
        """Adds a picture with boxes.

        Args:
            tag: Its tag.
            img_tensor: See ``add_image``.
            box_tensor: Shape (N, 4): x1, y1, x2, y2 in pixels of the picture.
            global_step: The step; ``None`` is 0.
            walltime: Unix seconds; by default now.
            rescale: How much longer the sides of the picture become.
            dataformats: What the axes are.
            labels: A text for each box; left out where their number is another.
        """
        labels = [labels] if isinstance(labels, str) else labels
        if not isinstance(labels, Sequence) or len(labels) != _length(box_tensor):
            labels = None

        def drawn() -> object:
            return rescaled(picture(img_tensor, dataformats), rescale)

        self._steps.log(
            IMAGE, tag, drawn, global_step, walltime, ImageOptions(True, partial(scaled, box_tensor, rescale), labels)
        )

    @outside_of_graphs
    def add_figure(
        self,
        tag: str,
        figure: object,
        global_step: object = None,
        close: bool = True,
        walltime: float | None = None,
    ) -> None:
        """Adds a matplotlib figure, or a list of them as a grid; drawn now, then closed unless ``close`` is false."""
        layout = "NCHW" if isinstance(figure, list) else "CHW"
        self._steps.log(IMAGE, tag, lambda: picture(figures(figure), layout), global_step, walltime, _AS_IT_IS)
        pyplot = sys.modules.get("matplotlib.pyplot")
        if close and pyplot is not None:
            for drawn in figure if isinstance(figure, list) else [figure]:
                pyplot.close(drawn)

    @outside_of_graphs
    def add_video(
        self,
        tag: str,
        vid_tensor: object,
        global_step: object = None,
        fps: float = 4,
        walltime: float | None = None,
    ) -> None:
        """Adds videos side by side: shape (N, T, C, H, W), uint8 or floats in [0, 1]; ``fps`` is frames per second."""
        self._steps.log(VIDEO, tag, partial(clip, vid_tensor), global_step, walltime, VideoOptions(fps=fps))

    @outside_of_graphs
    def add_audio(
        self,
        tag: str,
        snd_tensor: object,
        global_step: object = None,
        sample_rate: int = 44100,
        walltime: float | None = None,
    ) -> None:
        """Adds a clip: shape (1, L), floats in [-1, 1], cut off there, or PCM; ``sample_rate`` is in Hz."""
        self._steps.log(AUDIO, tag, partial(sound, snd_tensor), global_step, walltime, AudioOptions(sample_rate))

    @outside_of_graphs
    def add_text(self, tag: str, text_string: str, global_step: object = None, walltime: float | None = None) -> None:
        """Adds a text, shown as Markdown; its tag is ``<tag>/text_summary``."""
        with self._steps.lock:
            self._steps.enter(tag, global_step, walltime)
            self.run.logger.log_string(tag, text_string)
            self._steps.leave(is_kept=type(text_string) is str)

    @outside_of_graphs
    def add_tensor(self, tag: str, tensor: object, global_step: object = None, walltime: float | None = None) -> None:
        """Adds a tensor of any shape and real dtype, for ``EventAccumulator.Tensors``; bfloat16 becomes float32."""
        from ml.integrations import summary_events as events

        self._steps.log(PLOT, tag, [tensor], global_step, walltime, Recipe(tag, events.tensor))

    @outside_of_graphs
    def add_pr_curve(
        self,
        tag: str,
        labels: object,
        predictions: object,
        global_step: object = None,
        num_thresholds: int = 127,
        weights: object = None,
        walltime: float | None = None,
    ) -> None:
        """Adds a precision-recall curve.

        Args:
            tag: Its tag.
            labels: 0 or 1.
            predictions: As many, the probability of 1; what is not in [0, 1] is left out.
            global_step: The step; ``None`` is 0.
            num_thresholds: At most 127.
            weights: As many, or one number.
            walltime: Unix seconds; by default now.
        """
        from ml.integrations import summary_events as events

        build = partial(events.curve, num_thresholds=num_thresholds)
        self._steps.log(PLOT, tag, [labels, predictions, weights], global_step, walltime, Recipe(tag, build))

    @outside_of_graphs
    def add_pr_curve_raw(
        self,
        tag: str,
        true_positive_counts: object,
        false_positive_counts: object,
        true_negative_counts: object,
        false_negative_counts: object,
        precision: object,
        recall: object,
        global_step: object = None,
        num_thresholds: int = 127,
        weights: object = None,
        walltime: float | None = None,
    ) -> None:
        """Adds a precision-recall curve that is counted already: six sequences of one length."""
        from ml.integrations import summary_events as events

        counts = [true_positive_counts, false_positive_counts, true_negative_counts, false_negative_counts]
        rows = [*counts, precision, recall]
        build = partial(events.curve_raw, num_thresholds=num_thresholds)
        self._steps.log(PLOT, tag, rows, global_step, walltime, Recipe(tag, build))

    @outside_of_graphs
    def add_custom_scalars_multilinechart(
        self, tags: Sequence[str], category: str = "default", title: str = "untitled"
    ) -> None:
        """Adds a chart of several tags to the page CUSTOM SCALARS."""
        self.add_custom_scalars({category: {title: ["Multiline", tags]}})

    @outside_of_graphs
    def add_custom_scalars_marginchart(
        self, tags: Sequence[str], category: str = "default", title: str = "untitled"
    ) -> None:
        """Adds a chart of a value, its lower and its upper bound to the page CUSTOM SCALARS: three tags."""
        self.add_custom_scalars({category: {title: ["Margin", tags]}})

    @outside_of_graphs
    def add_custom_scalars(self, layout: Mapping[str, Mapping[str, Sequence[object]]]) -> None:
        """Adds charts to the page CUSTOM SCALARS, beside those that are there.

        Args:
            layout: ``{category: {title: ["Multiline" or "Margin", tags]}}``; tags are regular expressions.
        """
        layout = redacted(layout, self._redact)
        with self._steps.lock:
            together = {category: dict(charts) for category, charts in self._layout.items()}

            def laid_out() -> Events:
                from ml.integrations import summary_events as events

                for category, charts in layout.items():
                    together.setdefault(category, {}).update(charts)
                built = events.summary(events.layout(together))
                self._layout = together  # only now: it can be shown
                return Events((built,), (events.LAYOUT_TAG,))

            self._steps.log_events("custom_scalars", laid_out)

    @outside_of_graphs
    def add_mesh(
        self,
        tag: str,
        vertices: object,
        colors: object = None,
        faces: object = None,
        config_dict: Mapping[str, object] | None = None,
        global_step: object = None,
        walltime: float | None = None,
    ) -> None:
        """Adds meshes, or clouds of points.

        Args:
            tag: Its tag.
            vertices: Shape (B, N, 3).
            colors: Shape (B, N, 3), integers in [0, 255] or floats in [0, 1].
            faces: Shape (B, M, 3): three vertices each.
            config_dict: Names of Three.js classes, and how they are set up.
            global_step: The step; ``None`` is 0.
            walltime: Unix seconds; by default now.
        """
        from ml.integrations import summary_events as events

        tag, config_dict = redacted((tag, config_dict), self._redact)
        parts = partial(mesh_parts, vertices, faces, colors, config_dict)
        self._steps.log(PLOT, tag, parts, global_step, walltime, Recipe(tag, events.mesh))

    @outside_of_graphs
    def add_hparams(
        self,
        hparam_dict: Mapping[str, object],
        metric_dict: Mapping[str, object],
        hparam_domain_discrete: Mapping[str, list[object]] | None = None,
        run_name: str | None = None,
        global_step: object = None,
    ) -> None:
        """Adds a row to the table of hyperparameters.

        Args:
            hparam_dict: Numbers, truth values and texts by name; ``None`` is left out.
            metric_dict: Numbers by tag.
            hparam_domain_discrete: All values that a hyperparameter can have, by its name.
            run_name: Its TensorBoard run, below that of the writer; by default the time.
            global_step: The step of the metrics; ``None`` is 0.
        """
        name = self._redact(run_name) if isinstance(run_name, str) and run_name else str(time.time())
        run = run_of(name, self.log_dir)
        step = self._steps.whole(global_step)
        self._steps.log_events(
            "hparams", lambda: row(hparam_dict, metric_dict, hparam_domain_discrete, run=run, step=step)
        )

    @outside_of_graphs
    def add_graph(
        self, model: object, input_to_model: object = None, verbose: bool = False, use_strict_trace: bool = True
    ) -> None:
        """Adds the graph of a model, as torch's own tracer makes it. The model runs once, now, on this thread.

        Args:
            model: A ``torch.nn.Module``.
            input_to_model: A tensor or a tuple of them.
            verbose: Prints the graph.
            use_strict_trace: Whether the tracer refuses mutable containers, as lists and dictionaries.
        """

        def traced() -> Events:
            # Of no public name, but what torch's writer calls itself; its absence is told as any failure.
            from torch.utils.tensorboard._pytorch_graph import graph

            from ml.integrations import summary_events as events

            graph_def, run_metadata = graph(model, input_to_model, verbose, use_strict_trace)  # type: ignore[no-untyped-call]
            return Events(events.graph(graph_def, run_metadata), step=0)

        self._steps.log_events("graph", traced)

    def add_onnx_graph(self, prototxt: object) -> None:
        """Is not there.

        Raises:
            NotImplementedError: Always, with the remedy.
        """
        raise NotImplementedError(_REMEDY.format(method="add_onnx_graph", directory=f"{self.log_dir}/graph"))

    def add_embedding(
        self,
        mat: object,
        metadata: object = None,
        label_img: object = None,
        global_step: object = None,
        tag: str = "default",
        metadata_header: object = None,
    ) -> None:
        """Is not there.

        Raises:
            NotImplementedError: Always, with the remedy.
        """
        raise NotImplementedError(_REMEDY.format(method="add_embedding", directory=f"{self.log_dir}/embedding"))

    def flush(self) -> bool:
        """Ends the open step, and returns when everything is durable, True; False if it is not within 10 s."""
        with self._steps.lock:
            self._steps.hand_on()
            self._steps.end()
        return self.run.flush()

    def close(self) -> None:
        """Ends the run: what was added is durable then. Again does nothing."""
        self.__exit__(None, None, None)

    def __enter__(self) -> "SummaryWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._steps.close(kind, error, trace)

    def _add_lines(self, title: str, tags: Sequence[str]) -> None:
        """Adds tags to the chart of ``add_scalars``."""
        patterns = [f"^{re.escape(tag)}$" for tag in tags]
        known = self._lines.setdefault(title, [])
        if new := [pattern for pattern in patterns if pattern not in known]:
            known += new
            self.add_custom_scalars({"add_scalars": {title: ["Multiline", known]}})


class _Attempts:
    """Starts the run of a writer, and further attempts of it."""

    def __init__(
        self, log_dir: str | Path | None, comment: str, purge_step: int | None, backends: list[LoggerSpec]
    ) -> None:
        self._directory: str | Path = log_dir or _default_directory(comment)
        self._resume: Resume = "auto" if log_dir else False
        self._purge_step, self._backends = purge_step, backends

    def __call__(self) -> Run:
        ours = [] if any(isinstance(b, SummaryLogger) for b in self._backends) else [_default_backend(self._purge_step)]
        state = State()  # every value says its step
        run = start_run(self._directory, loggers=[*ours, *self._backends], resume=self._resume, state=state)
        self._directory, self._resume, self._purge_step = run.path, True, None
        return run


def _default_backend(purge_step: int | None) -> SummaryLogger:
    config = SummaryLoggerConfig(
        "tensorboard",
        write_every_n_seconds=0.0,
        write_media_every_n_seconds=0.0,
        max_queue_bytes=QUEUE_BYTES,
        purge_step=purge_step,
    )
    return SummaryLogger(config)


def _default_directory(comment: str) -> str:
    """Returns ``runs/<date>_<host><comment>``, as torch's writer names it."""
    now = datetime.now().astimezone().strftime("%b%d_%H-%M-%S")
    return os.path.join("runs", f"{now}_{os.uname().nodename}{comment}")


def _length(boxes: object) -> int:
    shape = getattr(boxes, "shape", None)
    if isinstance(shape, tuple):
        return int(shape[0]) if shape else 0
    return len(boxes) if isinstance(boxes, Sequence) else 0

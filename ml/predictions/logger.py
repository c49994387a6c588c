"""Keeps every inference as one record: locally, in an object store, as a live stream.

::

    with PredictionLogger(PredictionLoggerConfig(device_name="camera-3")) as predictions:
        predictions.log(image, VisionModelType.DETECTION, "yolo", "1.0.0", latency=12.5, detection=[
            {"x": 10, "y": 20, "width": 30, "height": 40, "confidence": 0.9, "classification": {"cat": 0.9}}])

``log`` checks its arguments and copies the image; everything else happens on other threads, and nothing there reaches
the caller but through the ``Future``.
"""

import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, cast

import numpy as np

from ml.core.errors import ClosedError, LogValueError, MLError
from ml.core.redact import Redactor
from ml.core.run import RunContext
from ml.io.lifetime import close_at_exit, forget_at_exit
from ml.io.pool import OrderedPool
from ml.io.worker import Future, Lock
from ml.loggers.multi import MultiLogger
from ml.loggers.report import Reporter, text_of
from ml.loggers.stats import Dropped, LoggerStats
from ml.predictions import drafts
from ml.predictions.buffers import Buffers
from ml.predictions.config import (
    FOREVER_S,
    OnFull,
    PredictionLoggerConfig,
    checked,
    close_timeout_s_of,
    device_name_of,
    directory_of,
)
from ml.predictions.delivery import Delivery, Parcel
from ml.predictions.ids import RecordIds
from ml.predictions.images import Allocate, Codec, Picture, check_encodable, snapshot
from ml.predictions.kinds import InferenceDevice, VisionModelType
from ml.predictions.layout import key_of
from ml.predictions.receipt import Logged, Receipt, failed, give_up_all
from ml.predictions.record import Draft, Record, encode_record
from ml.predictions.sampling import Model, Sampler
from ml.predictions.showing import show
from ml.predictions.sinks import open_sinks

Classes = Mapping[str, float] | Sequence[Mapping[str, object]]
Boxes = Iterable[Mapping[str, object]]

_UNUSED_BYTES = 32 * 2**20  # of memory for images between two calls
_DRAFT_BYTES = 1024  # what a draft counts for beside its images


class _Order(NamedTuple):
    """A prediction that is to be encoded."""

    draft: Draft
    directory: Path | None
    receipt: Receipt
    is_shown: bool  # by a component too, which keeps the picture


class PredictionLogger:
    """Keeps predictions. Thread-safe; a context manager; closed when the interpreter ends.

    In a forked child it is inert: make one there.

    Args:
        config: The settings.
        clock: Monotonic seconds.
        wall_clock: Unix seconds.

    Attributes:
        config: The settings.
        sinks: Where records go. ``sinks.stream.port`` and ``sinks.cloud.stats`` may be asked at any time.

    Raises:
        ConfigError: A setting is wrong, a library is missing, or the port of the stream is taken; nothing was started.
        WriteError: There is no place for the spool.
    """

    def __init__(
        self,
        config: PredictionLoggerConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        checked(config)
        self.config = config
        self._process = os.getpid()
        self._wall_clock = wall_clock
        self._device = device_name_of(config)
        self._codec = cast(Codec, config.codec)
        self._run_id = config.run_id or secrets.token_hex(8)
        self._ids = RecordIds(wall_clock)
        self._buffers = Buffers(_UNUSED_BYTES)
        self._redactor = Redactor(os.environ)
        self._redactor.learn_config(config)
        context = RunContext(directory_of(config), clock=clock, wall_clock=wall_clock)
        self._reporter = Reporter(context, self._redactor, "raise" if config.on_error == "raise" else "warn")
        self._sampler = Sampler(
            config.interval_ms / 1000,
            keep_errors=config.keep_errors,
            keep_below_confidence=config.keep_below_confidence,
            clock=clock,
        )
        self._lock = Lock()
        self._is_closed = False
        self._left: list[_Order] = []  # what ``close`` is giving up
        self.sinks = open_sinks(config, self._device, clock=clock)
        self._deliveries = [
            Delivery(
                sink,
                max_bytes=config.max_queue_bytes,
                on_full=cast(OnFull, config.on_full),
                reporter=self._reporter,
            )
            for sink in self.sinks.all()
        ]
        self._pool: OrderedPool[_Order, Record] = OrderedPool(
            "ml-predictions-encode",
            config.max_workers,
            self._encode,
            self._deliver,
            max_bytes=config.max_queue_bytes,
        )
        close_at_exit(self)

    def log(
        self,
        image: object,
        model_type: VisionModelType,
        model_name: str,
        model_version: str,
        *,
        prediction: object = None,
        timestamp: int | None = None,
        latency: float | None = None,
        inference_device: InferenceDevice | None = None,
        classification: Classes | None = None,
        detection: Boxes | None = None,
        error_message: str = "",
        bgr: bool = False,
        directory: str | Path | None = None,
        logger: MultiLogger | None = None,
    ) -> "Future[Logged] | None":
        """Logs one inference. Returns at once.

        Args:
            image: What the model saw: shape (H, W), (H, W, C) or (C, H, W) with C in 1, 3, 4, RGB; uint8, uint16, bool,
                or floats in [0, 1], which are stored in 8 bits; a PIL image. ``None``: it is not kept.
            model_type: What the model tells of an image.
            model_name: Its name.
            model_version: Its version.
            prediction: The annotated picture, if somebody drew one; as ``image``.
            timestamp: When it happened, in milliseconds since 1970; ``None``: now.
            latency: Of the inference, in milliseconds.
            inference_device: What the model ran on.
            classification: The probability of each class, by name.
            detection: A mapping for each box: ``x``, ``y`` of its top left corner, ``width``, ``height`` in pixels,
                ``confidence``, and ``classification`` (may be left out).
            error_message: What went wrong, if something did.
            bgr: Whether the channels of both pictures are in OpenCV's order.
            directory: Where the file goes instead of the configured directory.
            logger: Also shows the image with its boxes, and logs the latency, among the values of this component.

        Returns:
            Resolved once every sink has the record safe: on the disk locally and for the object store, handed on for
            the stream. ``None``: the prediction lies inside of the interval, and is not kept. What was wrong with an
            argument (``LogValueError``), or that a record was dropped (``WriteError``), is raised by ``result()``.

        Raises:
            LogValueError: With ``on_error="raise"``: an argument is wrong.
            MLError: With ``on_error="raise"``: the first failure of a sink since the last call.
        """
        if os.getpid() != self._process:  # here no lock may be taken: a thread that is not here may hold it
            return self._refuse_in_child()
        self._reporter.raise_first()
        try:
            model = Model(
                drafts.checked_type(model_type),
                drafts.checked_text("model_name", model_name),
                drafts.checked_text("model_version", model_version),
            )
            classes, boxes = drafts.checked_classes(classification), drafts.checked_boxes(detection)
            message = drafts.checked_text("error_message", error_message)
            confidence = drafts.best_confidence(classes, boxes)
            if not self._sampler.takes(model, is_error=bool(message), confidence=confidence):
                for delivery in self._deliveries:
                    delivery.tally.skip("rate_limited")
                return None
            allocate = self._buffers.lend if logger is None else np.empty  # a component keeps what it is given
            now_s = self._wall_clock()
            stamp_ms = drafts.checked_timestamp_ms(timestamp)
            draft = Draft(
                record_id=self._ids.next(),
                run_id=self._run_id,
                timestamp_ms=int(now_s * 1000) if stamp_ms is None else stamp_ms,  # as its id: never after logged_at_us
                logged_at_us=int(now_s * 1e6),
                model_type=model.type,
                model_name=model.name,
                model_version=model.version,
                device_name=self._device,
                device_group=self.config.device_group,
                image=self._copied(image, bgr, allocate),
                prediction=self._copied(prediction, bgr, allocate),
                latency_ms=drafts.checked_latency_ms(latency),
                inference_device=drafts.checked_device(inference_device),
                error_message=self._redactor.redact_text(message) if message else "",
                classification=classes,
                detection=boxes,
                codec=self._codec,
                quality=self.config.quality,
            )
            place = None if directory is None else Path(os.path.abspath(directory))
        except LogValueError as error:
            return self._refuse(error)
        except Exception as error:  # of the caller's own objects, or no memory for the copy
            return self._refuse(_unreadable(error))
        if logger is not None:
            show(draft, logger)
        return self._submit(draft, place, logger is not None)

    def flush(self, timeout_s: float | None = None) -> bool:
        """Waits until everything logged so far is durable in every sink. True only if it is.

        For the object store that is once it has been sent; until then it is durable in the spool.

        Args:
            timeout_s: How long it waits; ``None``: as long as it takes.
        """
        timeout_s = FOREVER_S if timeout_s is None else min(timeout_s, FOREVER_S)
        end_s = time.monotonic() + timeout_s
        is_done = self._pool.drain(timeout_s)
        for delivery in self._deliveries:
            is_done = delivery.flush(max(0.0, end_s - time.monotonic())) and is_done
        self._reporter.raise_first()
        return is_done

    def close(self, timeout_s: float | None = None) -> dict[str, LoggerStats]:
        """Writes what is left, as far as there is time, and ends every thread; again does nothing.

        In a callback of a ``Future`` it takes nothing more from then on, and does not wait: the next call elsewhere,
        or the end of the interpreter, does the rest.

        Args:
            timeout_s: Instead of ``close_timeout_s``.

        Returns:
            The counts of each sink.
        """
        if os.getpid() != self._process:
            return self.stats()
        if self._is_here:
            self._pool.wind_down()
            return self.stats()
        with self._lock:
            is_first, self._is_closed = not self._is_closed, True
        if is_first:
            forget_at_exit(self)
            limit_s = close_timeout_s_of(self.config) if timeout_s is None else timeout_s
            end_s = time.monotonic() + min(limit_s, FOREVER_S)
            try:
                self._end(end_s)
            except BaseException:  # Ctrl-C, or what a callback raised: nothing is waited for any more
                self._end(time.monotonic())
                raise
            self._reporter.raise_first()
        return self.stats()

    def stats(self) -> dict[str, LoggerStats]:
        """Returns what became of the predictions, by sink; ``rate_limited`` are those inside of the interval."""
        return {delivery.sink.name: delivery.tally.stats() for delivery in self._deliveries}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<PredictionLogger {self._device!r} to {', '.join(self.stats())}>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("A PredictionLogger has threads and connections of this process; make one in the other.")

    @property
    def _is_here(self) -> bool:
        """Whether the caller runs on a thread of its own, in a callback: what it waits for could never come."""
        return self._pool.is_here or any(delivery.is_here for delivery in self._deliveries)

    def _copied(self, image: object, bgr: bool, allocate: Allocate) -> Picture | None:
        if image is None:
            return None
        copied = snapshot(image, bgr=bgr, allocate=allocate)
        check_encodable(copied, self._codec)
        return copied

    def _refuse(self, error: LogValueError) -> "Future[Logged]":
        for delivery in self._deliveries:
            delivery.tally.accept(1)
            delivery.tally.fail("value")
        if self.config.on_error == "raise":
            raise error
        self._tell_refused(error)
        return failed(error)

    def _refuse_in_child(self) -> "Future[Logged]":
        for delivery in self._deliveries:
            delivery.tally.refuse("closed", 1)
        problem = f"A prediction was not kept: {self!r} belongs to the process {self._process}. Make one in this one."
        self._reporter.notice("predictions", problem)
        return failed(ClosedError(problem))

    def _submit(self, draft: Draft, directory: Path | None, is_shown: bool) -> "Future[Logged]":
        receipt = Receipt(draft.record_id, "", (delivery.sink.name for delivery in self._deliveries))
        order = _Order(draft, directory, receipt, is_shown)
        for delivery in self._deliveries:
            delivery.tally.accept(1)
        size_bytes = _DRAFT_BYTES + sum(each.nbytes for each in (draft.image, draft.prediction) if each is not None)
        if self.config.on_full == "drop_oldest":
            dropped = self._pool.submit(order, size_bytes=size_bytes)
        else:
            timeout_s = None if self.config.on_full == "wait" and not self._is_here else 0.0
            is_taken = self._pool.submit_in_room(order, size_bytes=size_bytes, timeout_s=timeout_s)
            dropped = [] if is_taken else [order]
        self._drop(dropped, "queue_full" if self._pool.is_alive else "closed")
        return receipt.future

    def _end(self, end_s: float) -> None:
        """Writes what is left until a moment of the monotonic clock; may be called again if it was interrupted."""
        self._left += self._pool.stop(max(0.0, end_s - time.monotonic()))
        self._drop(self._left, "deadline")
        for delivery in self._deliveries:  # all at once: one that blocks takes no time from the others
            delivery.wind_down(max(0.0, end_s - time.monotonic()))
        for delivery in self._deliveries:
            delivery.close(max(0.0, end_s - time.monotonic()))
        self._tell_the_end()
        self._reporter.close(max(0.0, end_s - time.monotonic()))

    def _drop(self, orders: list[_Order], reason: Dropped) -> None:
        """Gives up predictions that are in no sink's queue, and empties the list."""
        if not orders:
            return
        for delivery in self._deliveries:
            delivery.tally.drop(reason, len(orders))
        receipts = [order.receipt for order in orders]
        orders.clear()
        if reason == "closed":
            problem = f"A prediction was not kept: {self!r} is closed, or belongs to the process {self._process}."
        else:
            problem = (
                f"Predictions are dropped ({reason}): they come faster than they can be compressed and written, or one "
                "has more bytes than max_queue_bytes."
            )
        self._reporter.notice("predictions", problem)
        give_up_all(receipts, reason)

    # the pool's threads

    def _encode(self, order: _Order) -> Record:
        draft = order.draft
        order.receipt.key = key_of(
            draft.model_type.name,
            draft.model_name,
            draft.model_version,
            draft.device_group,
            draft.device_name,
            draft.timestamp_ms,
            draft.record_id,
        )
        record = replace(encode_record(draft, order.receipt.key), directory=order.directory)
        if not order.is_shown:
            for picture in (draft.image, draft.prediction):
                if picture is not None:
                    self._buffers.take_back(picture)
        return record

    def _deliver(self, order: _Order, result: Record | Exception) -> None:
        if isinstance(result, Exception):
            for delivery in self._deliveries:
                delivery.tally.fail("value" if isinstance(result, MLError) else "write")
            self._tell_refused(result)
            order.receipt.refuse(result)
            return
        for delivery in self._deliveries:
            delivery.put(Parcel(result, order.receipt))

    def _tell_refused(self, error: Exception) -> None:
        # Every kind of mistake has a remedy of its own, and is told once, whatever the values were.
        about = error.fix if isinstance(error, LogValueError) else ""
        self._reporter.report("predictions", f"A prediction was not logged: {text_of(error)}", error, about=about)

    def _tell_the_end(self) -> None:
        lost = [
            f"{name}: {sum(stats.dropped.values())} dropped, {sum(stats.failed.values())} failed"
            for name, stats in self.stats().items()
            if stats.dropped or stats.failed
        ]
        if lost:
            self._reporter.notice("predictions", f"Not all predictions were kept. {'; '.join(lost)}.")


def _unreadable(error: Exception) -> LogValueError:
    problem = LogValueError(
        f"an argument cannot be read: {type(error).__name__}: {text_of(error)}", "Pass plain values."
    )
    problem.__cause__ = error
    return problem

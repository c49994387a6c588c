"""Logs what ``accelerator.log`` is given: ``Accelerator(log_with=AccelerateTracker(run))``.

::

    accelerator = Accelerator(log_with=AccelerateTracker(partial(ml.start_run, "runs/demo")))
    accelerator.init_trackers("demo", config={"learning_rate": 0.1})
    accelerator.log({"loss": loss}, step=step)
    accelerator.end_training()

Keys, steps and values are those of the calls. Accelerate calls its trackers on the main process alone. Several
processes: give the tracker what starts the run, as above; ``init_trackers`` starts it, when the ranks are known.
"""

from collections.abc import Mapping
from typing import Any

from ml.core.errors import missing
from ml.integrations.feeding import Feed, RunSource
from ml.session import Run

try:
    from accelerate.tracking import GeneralTracker  # type: ignore[import-untyped]
except ImportError as error:
    raise missing("AccelerateTracker", "the package accelerate", "accelerate", error) from error


class AccelerateTracker(GeneralTracker):  # type: ignore[misc]  # accelerate says nothing of its types
    """Feeds a run with what ``accelerator.log`` is given: every value is written.

    A step ends when something of another step is logged, and with ``end_training``.

    Args:
        run: The run, which stays open; or what starts one, which ``end_training`` closes: see ``Feed``.

    Raises:
        ConfigError: It is neither.
    """

    name = "ml"
    requires_logging_directory = False
    main_process_only = True

    def __init__(self, run: RunSource) -> None:
        super().__init__()
        self._feed = Feed(run)

    @property
    def tracker(self) -> Run:
        """The run; it is started if it was not yet. ``accelerator.get_tracker("ml", unwrap=True)`` gives it."""
        return self._feed.run

    def start(self) -> None:
        """Starts the run, if what starts it was given."""
        _ = self._feed.run

    def store_init_configuration(self, values: Mapping[str, object]) -> None:
        """Adds to the run's configuration."""
        self._feed.run.log_config(values)

    def log(self, values: Mapping[str, object], step: int | None = None, **kwargs: Any) -> None:
        """Logs numbers and texts; of a mapping ``{"loss": {"train": 1.0}}`` the key is ``loss/train``.

        Args:
            values: See ``ml.integrations.metrics.log_metrics``.
            step: ``None`` is the step after the last one, so nothing is overwritten.
            **kwargs: Of other trackers; not used.
        """
        self._feed.log(step, values)

    def log_images(self, values: Mapping[str, object], step: int | None = None, **kwargs: Any) -> None:
        """Logs batches of pictures, each as one picture.

        Args:
            values: By key: shape (B, H, W), (B, C, H, W) or (B, H, W, C), or a sequence of arrays or PIL images.
            step: ``None`` is the last step.
            **kwargs: Of other trackers; not used.
        """
        with self._feed.media(step) as logger:
            for key, images in values.items():
                logger.log_images(key, images)

    def finish(self) -> None:
        """Ends the last step and waits until all is durable; a run that was started here is closed."""
        self._feed.end()
        self._feed.close()

"""The loggers that are compared, each behind the same few calls, each with its default settings.

A contender is used as its documentation shows it. Values are Python floats, pictures are uint8 arrays of
shape (H, W, 3), histograms float32 arrays. What a contender does not take is missing from its ``kinds``.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from benchmarking import reading

Kind = Literal["scalars", "images", "histograms"]
Row = tuple[int, str]
"""A scalar that was found in a file: its step and its key."""


class Contender(ABC):
    """One logger.

    Attributes:
        distributions: The packages it consists of, whose versions the page names.
        kinds: What it can log.
        flushes: Whether it has a public call that hands to the operating system what was logged.
        remark: What a reader of the figures should know of it.
    """

    distributions: ClassVar[Sequence[str]]
    kinds: ClassVar[frozenset[Kind]] = frozenset({"scalars", "images", "histograms"})
    flushes: ClassVar[bool] = True
    remark: ClassVar[str] = ""

    @classmethod
    def versions(cls) -> str:
        return ", ".join(f"{name} {version(name)}" for name in cls.distributions)

    @abstractmethod
    def open(self, directory: Path) -> None:
        """Starts a run that keeps everything below ``directory``."""

    @abstractmethod
    def log(self, values: Mapping[str, float], step: int) -> None:
        """Logs numbers."""

    def log_image(self, key: str, pixels: np.ndarray, step: int) -> None:
        """Logs a picture: shape (H, W, 3), uint8."""
        raise NotImplementedError

    def log_histogram(self, key: str, numbers: np.ndarray, step: int) -> None:
        """Logs the distribution of numbers: shape (N,), float32."""
        raise NotImplementedError

    def end_step(self) -> None:  # noqa: B027  most loggers know no steps
        """Ends a step, where the logger wants to be told."""

    def flush(self) -> None:
        """Makes what was logged safe, as far as the logger has a call for it."""
        raise NotImplementedError

    @abstractmethod
    def close(self) -> None:
        """Ends the run in the documented way."""

    @staticmethod
    @abstractmethod
    def rows(directory: Path) -> set[Row]:
        """Reads the numbers back from the files of a run that may have been killed."""


class Ours(Contender):
    """``ml.start_run``. Its settings are the defaults, but that every picture and histogram is written."""

    distributions = ("ml-logbook",)
    backends: ClassVar[Sequence[str]]
    settings: ClassVar[Mapping[str, object]] = {"write_media_every_n_seconds": 0}

    def open(self, directory: Path) -> None:
        import ml

        self.run = ml.start_run(directory / "run", loggers=[{"name": name, **self.settings} for name in self.backends])

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.run.log(values)

    def log_image(self, key: str, pixels: np.ndarray, step: int) -> None:
        self.run.logger.log_image(key, pixels)

    def log_histogram(self, key: str, numbers: np.ndarray, step: int) -> None:
        self.run.logger.log_histogram(key, numbers)

    def end_step(self) -> None:
        self.run.step()

    def flush(self) -> None:
        assert self.run.flush(), "what was written is not durable"

    def close(self) -> None:
        self.run.close()

    @classmethod
    def rows(cls, directory: Path) -> set[Row]:
        readers: dict[str, Callable[[Path], set[Row]]] = {"json": reading.json_lines, "tensorboard": reading.events}
        return set.intersection(*(readers[name](directory) for name in cls.backends if name in readers))


class OursJson(Ours):
    backends = ("json",)


class OursTensorBoard(Ours):
    backends = ("tensorboard",)


class OursAll(Ours):
    backends = ("stdout", "json", "tensorboard")
    remark = "The three default backends. A row counts as surviving when both files hold it."


class OursAllRates(OursAll):
    settings: ClassVar[Mapping[str, object]] = {"write_train_every_n_seconds": 1}
    remark = "The same at the rates of a run past its first 1,000 steps: scalars every second, media every 10 s."


class TorchTensorBoard(Contender):
    distributions = ("torch", "tensorboard")

    def open(self, directory: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(directory))

    def log(self, values: Mapping[str, float], step: int) -> None:
        for key, value in values.items():
            self.writer.add_scalar(key, value, step)

    def log_image(self, key: str, pixels: np.ndarray, step: int) -> None:
        self.writer.add_image(key, pixels, step, dataformats="HWC")

    def log_histogram(self, key: str, numbers: np.ndarray, step: int) -> None:
        self.writer.add_histogram(key, numbers, step)

    def flush(self) -> None:
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()

    rows = staticmethod(reading.events)


class TensorBoardX(TorchTensorBoard):
    distributions = ("tensorboardX",)

    def open(self, directory: Path) -> None:
        from tensorboardX import SummaryWriter

        self.writer = SummaryWriter(str(directory))


class WandbOffline(Contender):
    distributions = ("wandb",)
    flushes = False
    remark = "Writes in a service process of its own, whose CPU is counted."

    def open(self, directory: Path) -> None:
        import wandb

        self.wandb = wandb
        self.run = wandb.init(mode="offline", project="bench", dir=str(directory))

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.run.log(dict(values), step=step)

    def log_image(self, key: str, pixels: np.ndarray, step: int) -> None:
        self.run.log({key: self.wandb.Image(pixels)}, step=step)

    def log_histogram(self, key: str, numbers: np.ndarray, step: int) -> None:
        self.run.log({key: self.wandb.Histogram(numbers)}, step=step)

    def close(self) -> None:
        self.run.finish()

    rows = staticmethod(reading.wandb_records)


class Trackio(Contender):
    distributions = ("trackio",)
    flushes = False
    remark = "Writes SQLite every 0.5 s from a thread."

    def open(self, directory: Path) -> None:
        os.environ["TRACKIO_DIR"] = str(directory)  # it is read when the package is imported
        import trackio

        self.trackio = trackio
        trackio.init(project="bench")

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.trackio.log(dict(values), step=step)

    def log_image(self, key: str, pixels: np.ndarray, step: int) -> None:
        self.trackio.log({key: self.trackio.Image(pixels)}, step=step)

    def log_histogram(self, key: str, numbers: np.ndarray, step: int) -> None:
        self.trackio.log({key: self.trackio.Histogram(numbers)}, step=step)

    def close(self) -> None:
        self.trackio.finish()

    rows = staticmethod(reading.trackio_database)


class SwanLabOffline(Contender):
    distributions = ("swanlab",)
    kinds = frozenset({"scalars", "images"})
    flushes = False
    remark = "Has no histograms."

    def open(self, directory: Path) -> None:
        import swanlab

        self.swanlab = swanlab
        swanlab.init(mode="offline", project="bench", log_dir=str(directory))

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.swanlab.log(dict(values), step=step)

    def log_image(self, key: str, pixels: np.ndarray, step: int) -> None:
        self.swanlab.log({key: self.swanlab.Image(pixels)}, step=step)

    def close(self) -> None:
        self.swanlab.finish()

    rows = staticmethod(reading.swanlab_records)


class LightningCsv(Contender):
    distributions = ("lightning",)
    kinds = frozenset({"scalars"})
    remark = "Has no images and no histograms."

    def open(self, directory: Path) -> None:
        from lightning.fabric.loggers import CSVLogger

        self.logger = CSVLogger(str(directory))

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.logger.log_metrics(dict(values), step)

    def flush(self) -> None:
        self.logger.save()

    def close(self) -> None:
        self.logger.finalize("success")

    rows = staticmethod(reading.csv_rows)


CONTENDERS: Mapping[str, type[Contender]] = {
    "ml: json": OursJson,
    "ml: tensorboard": OursTensorBoard,
    "ml: stdout, json, tensorboard": OursAll,
    "SummaryWriter": TorchTensorBoard,
    "tensorboardX": TensorBoardX,
    "W&B offline": WandbOffline,
    "trackio": Trackio,
    "SwanLab offline": SwanLabOffline,
    "Lightning CSVLogger": LightningCsv,
}

RATES: Mapping[str, type[Contender]] = {"ml: the same, at default rates": OursAllRates}
"""Further contenders for the training loop, which do not write every step."""

"""Every kind takes what users have in their hands: tensors, arrays, numbers, pictures, figures, sequences of them."""

from decimal import Decimal
from fractions import Fraction

import matplotlib.figure
import numpy as np
import pytest
import torch
from PIL import Image

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import BaseLogger, BaseLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.kinds import KINDS
from ml.loggers.memory import MemoryLogger
from ml.loggers.multi import MultiLogger
from ml.loggers.stored import StoredMedia

TENSORS = {
    **{
        str(dtype).removeprefix("torch."): lambda dtype=dtype: torch.tensor([[0, 1], [1, 0]]).to(dtype)
        for dtype in (torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2)
    },
    **{
        str(dtype).removeprefix("torch."): lambda dtype=dtype: torch.tensor([[0, 1], [1, 0]]).to(dtype)
        for dtype in (torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int64, torch.bool)
    },
    "with a graph": lambda: torch.eye(2, requires_grad=True) * 1,
    "parameter": lambda: torch.nn.Parameter(torch.eye(2)),
    "sparse": lambda: torch.eye(2).to_sparse(),
    "compressed": lambda: torch.eye(2).to_sparse_csr(),
    "strided view": lambda: torch.eye(4)[::2, ::2],
    "transposed": lambda: torch.eye(2).T,
    "expanded": lambda: torch.ones(1).expand(2, 2),
    "negative view": lambda: torch.view_as_complex(-torch.ones(2, 2, 2)).conj().imag,
}
REFUSED = {
    "complex": lambda: torch.eye(2, dtype=torch.complex64),
    "meta": lambda: torch.eye(2, device="meta"),
}


class KeptFile(MemoryLogger):
    """A backend that keeps values as it is given them."""

    kept = ()

    def log_scalar(self, key, value, state, namespace):
        self.kept = (*self.kept, value)

    log_image = log_audio = log_video = log_histogram = log_point_cloud = log_table = log_scalar


def written(log, value, **options):
    """What a memory backend has of one value, and how it failed."""
    memory, component = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("model")
    with LoggerGroup([memory], RunContext("nowhere")) as group:
        getattr(component, log)("key", value, **options)
        group.write([component], State(num_steps=1))
    return [entry.value for entry in memory.entries], group.stats()["memory"].failed


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("log", ["log_image", "log_histogram"])
@pytest.mark.parametrize("lazy", [True, False], ids=["lazy", "held"])
def test_every_kind_of_tensor_is_logged(name, log, lazy):
    made = TENSORS[name]()
    values, failed = written(log, (lambda: made) if lazy else made)

    assert failed == {}
    assert len(values) == 1


@pytest.mark.parametrize("name", TENSORS)
def test_every_kind_of_tensor_with_one_element_is_a_scalar(name):
    made = TENSORS[name]()
    if made.layout == torch.strided:
        made = made[1:, :1]
    else:
        made = made.to_dense()[1:, :1].to_sparse(layout=made.layout)
    values, failed = written("log_scalar", made)

    assert failed == {}
    assert values[0] in (0, 1)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize(
    "log", ["log_scalar", "log_image", "log_histogram", "log_audio", "log_video", "log_point_cloud"]
)
def test_a_tensor_without_real_numbers_is_refused(name, log):
    assert written(log, REFUSED[name]) == ([], {"value": 1})


def test_a_tensor_of_inference_mode_is_logged_under_it():
    with torch.inference_mode():
        for log in ("log_scalar", "log_image", "log_histogram"):
            values, failed = written(log, torch.ones(() if log == "log_scalar" else (4, 4)))
            assert (len(values), failed) == (1, {})


@pytest.mark.parametrize(
    "number", [1, 0.5, True, Decimal("0.5"), Fraction(1, 2), np.float32(0.5), np.array(0.5)], ids=repr
)
def test_every_kind_of_number_is_a_scalar(number):
    values, failed = written("log_scalar", number)

    assert (values, failed) == ([float(number)], {})


def figure():
    made = matplotlib.figure.Figure(figsize=(1, 1), dpi=64)
    made.subplots().plot([1, 2])
    return made


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((8, 8)),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((3, 8, 8), np.float32),
        np.zeros((8, 8), bool),
        Image.new("RGB", (8, 8)),
        Image.new("RGBA", (8, 8)),
        Image.new("1", (8, 8)),
        figure,
        figure(),
        [[0.0, 1.0], [1.0, 0.0]],
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'mode', getattr(value, 'shape', ''))}",
)
def test_every_kind_of_picture_is_an_image(value):
    values, failed = written("log_image", value)

    assert failed == {}
    assert values[0].dtype == np.uint8
    assert values[0].ndim == 3


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(5, 3, 8, 8),
        np.zeros((5, 8, 8, 3)),
        [torch.zeros(3, 8, 8) for _ in range(5)],
        [np.zeros((8, 8)) for _ in range(5)],
        [Image.new("RGB", (8, 8)) for _ in range(5)],
        tuple(torch.zeros(8, 8) for _ in range(5)),
        lambda: [figure() for _ in range(5)],
    ],
    ids=["tensor", "array", "tensors", "arrays", "pictures", "tuple", "figures"],
)
def test_every_kind_of_batch_is_tiled(value):
    values, failed = written("log_images", value)

    assert failed == {}
    assert values[0].dtype == np.uint8


def test_a_sequence_of_tensors_that_is_changed_in_length_is_refused():
    memory, component = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("model")
    with LoggerGroup([memory], RunContext("nowhere")) as group:
        pictures = [torch.zeros(4, 4)]
        component.log_images("key", pictures)
        pictures.append(torch.zeros(4, 4))
        group.write([component], State(num_steps=1))

    assert group.stats()["memory"].failed == {"mutated": 1}


def test_boxes_may_be_a_tensor_and_are_drawn():
    plain, _ = written("log_image", torch.zeros(3, 64, 64))
    boxed, failed = written("log_image", torch.zeros(3, 64, 64), boxes=torch.tensor([[8.0, 8, 40, 40]]), labels=["cat"])

    assert failed == {}
    assert (boxed[0] != plain[0]).any()


@pytest.mark.parametrize("log", ["log_audio", "log_video", "log_histogram", "log_point_cloud"])
@pytest.mark.parametrize(
    "make", [torch.zeros, np.zeros, lambda shape: np.zeros(shape).tolist()], ids=["tensor", "array", "list"]
)
def test_other_media_may_be_tensors_arrays_or_lists(log, make):
    shape = {"log_audio": (100,), "log_video": (3, 8, 8), "log_histogram": (10,), "log_point_cloud": (5, 3)}[log]
    values, failed = written(log, make(shape))

    assert (len(values), failed) == (1, {})


# the table


def test_a_kind_is_one_row_with_a_method_of_every_component_and_backend():
    for kind in KINDS:
        assert callable(getattr(MultiLogger, kind.method))
        assert callable(getattr(BaseLogger, kind.method))
    for field in ("name", "method", "section"):
        assert len({getattr(kind, field) for kind in KINDS}) == len(KINDS)


def test_a_backend_takes_the_kinds_whose_method_it_overrides():
    class Some(BaseLogger[BaseLoggerConfig]):
        def log_scalar(self, key, value, state, namespace):
            pass

        def log_video(self, key, value, state, namespace):
            pass

        def write(self, state):
            pass

    class More(Some):
        def log_string(self, key, value, state, namespace):
            pass

    assert {kind.name for kind in Some(BaseLoggerConfig("some")).kinds} == {"scalar", "video"}
    assert {kind.name for kind in More(BaseLoggerConfig("more")).kinds} == {"scalar", "video", "string"}
    assert MemoryLogger(BaseLoggerConfig("memory")).kinds == frozenset(KINDS)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.encoders], ids=str)
def test_what_a_kind_is_kept_as_is_read_back(kind):
    component, memory = MultiLogger("model"), KeptFile(BaseLoggerConfig("kept"))
    with LoggerGroup([memory], RunContext("nowhere"), on_error="raise") as group:
        getattr(component, kind.method)("key", kind.example)
        group.write([component], State(num_steps=1))
    (value,) = memory.kept
    form = next(iter(kind.encoders))
    again = StoredMedia(kind, form, value.encoded(form), value.about(), path="model/key", origin="")

    assert again.about() == value.about()
    assert kind.encoders[form](kind.decode(again.encoded(form), again.about())) == value.encoded(form)

"""Tensors of every make, on devices, in compiled functions, hooks and several ranks: logging neither waits nor raises.

There is no accelerator where these tests run, so most of what is said of one is
said of a device that is not there, see ``programs/accelerator.py``. The tests that
are skipped here hold it against a real one.
"""

import json
import os
import sys
import threading
import weakref

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers import LoggerGroup, MultiLogger
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.tensorboard import TensorBoardLogger, TensorBoardLoggerConfig
from tests.faults.reading_back import PROGRAMS, lines_of, points_of, run_program, run_together, scalars_of

EVERY_STEP = {"write_every_n_seconds": 0, "write_media_every_n_seconds": 0}
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


def started(directory, **settings):
    backends = [
        JsonLogger(JsonLoggerConfig("json", **EVERY_STEP)),
        TensorBoardLogger(TensorBoardLoggerConfig("tensorboard", **EVERY_STEP)),
    ]
    return LoggerGroup(backends, RunContext(directory), **settings)


# row 48: a device


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What a program that logs values of a device found out."""
    directory = tmp_path_factory.mktemp("accelerator")
    result = run_program("accelerator.py", directory)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


WAITING = {"_local_scalar_dense", "_to_copy to host", "copy_ to host", "_to_copy to device", "nonzero", "equal", "item"}
"""What makes the host wait for a device."""


@pytest.mark.parametrize("what", ["scalars", "media", "reductions"])
def test_a_value_of_a_device_that_is_due_never_makes_the_training_thread_wait(found, what):
    assert not WAITING & set(found[what]["due"] + found[what]["at_close"])
    assert not any(found[what]["waits"]), "an event was waited for on the training thread"
    assert found[what]["failed"] == {}


def test_a_device_is_asked_for_nothing_when_nothing_is_due(found):
    assert found["scalars"]["not_due"] == []


def test_all_scalars_of_a_step_leave_a_device_in_one_copy(found):
    assert found["scalars"]["due"].count("copy_ to host later") == 1
    expected = {f"model/held{index}": float(index) for index in range(5)}
    expected |= {f"model/lazy{index}": 5.0 + index for index in range(5)}
    assert found["scalars"]["lines"] == [expected], "as they were, though they were changed before the copy was made"


def test_a_clone_is_not_used_again_before_its_copy_is_made(found):
    for what in ("scalars", "media"):
        operators = found[what]["due"]
        copies = [index for index, operator in enumerate(operators) if operator == "copy_ to host later"]
        assert copies
        for index in copies:
            assert operators[index - 3 : index + 2] == [
                "clone",
                "wait_stream",
                "pinned",
                operators[index],
                "record_stream",
            ]


def test_media_of_a_device_are_those_of_the_host(found):
    shapes = {key: value for _, key, value in found["media"]["entries"]}

    assert shapes["images"][0] == [1, 140, 140], "4 of 100 pictures"
    assert shapes["video"][0] == [3, 1, 64, 64], "3 of 300 frames"
    assert shapes["points"][0] == [1, 10, 3], "10 of 2,000 points"
    assert shapes["histogram"] == [100, 0.0, 99.0, 100]
    assert shapes["image"][1] == pytest.approx(127.5, abs=0.1)


def test_numbers_of_a_device_are_reduced_there(found):
    assert found["reductions"]["lines"] == [
        {"model/mean": 1.0, "model/least": 1.0},
        {"model/mean": pytest.approx((2 * 2 + 3 * 3) / 5), "model/least": 2.0},
    ]


def test_while_a_graph_is_captured_nothing_runs_and_what_needs_it_is_counted(found):
    assert found["capture"]["due"] == []
    assert found["capture"]["called"] == []
    assert found["capture"]["failed"] == {"value": 5}
    assert found["capture"]["lines"] == [{"model/number": 0.5}]
    assert "a graph is being captured" in found["capture"]["told"][0]


@pytest.mark.parametrize("what", ["lost", "late"])
def test_a_device_that_is_lost_costs_its_values_and_not_training(found, what):
    assert found[what]["failed"] == {"value": 4}
    assert found[what]["lines"] == [{"model/number": 0.5}]
    told = "\n".join(found[what]["told"])
    assert all(f"Cannot log 'model/{key}'" in told for key in ("held", "image", "histogram"))
    assert "CUDA error" in told


def test_an_audit_names_the_key_and_the_line_of_every_callable_that_waits(found):
    told = found["audited"]["told"]
    source = (PROGRAMS / "accelerator.py").read_text().splitlines()
    expected = {
        "item": "_local_scalar_dense",
        "bool": "_local_scalar_dense",
        "cpu": "_to_copy",
        "mask": "index",
        "mean": "_local_scalar_dense",
        "boxes": "_to_copy",
    }

    assert [message.split("'")[1] for message in told] == [f"model/{key}" for key in expected], "once each"
    for message, (key, operator) in zip(told, expected.items(), strict=True):
        number = next(index for index, line in enumerate(source, start=1) if f'"{key}", ' in line and "log.log" in line)
        assert f"{operator} at accelerator.py:{number}." in message
        assert "Return the tensor itself" in message


def test_without_an_audit_nothing_is_watched(found):
    assert found["unaudited"]["told"] == []
    assert found["unaudited"]["entries"] == found["audited"]["entries"], "an audit changes no value"


@needs_cuda
def test_a_step_on_cuda_never_synchronizes(tmp_path):
    component, weights = MultiLogger("model"), torch.randn(1000, 1000, device="cuda")
    with started(tmp_path) as group:
        for step in (1, 2, 3):
            component.log_scalar("held", weights.mean())
            component.log_scalar("lazy", lambda: weights.std())
            component.log_scalar("reduced", weights.max(), reduce="mean")
            component.log_histogram("histogram", weights)
            component.log_images("images", weights.reshape(1000, 1, 25, 40), max_images=4)
            component.log_point_cloud("points", weights[:, :3], max_points=10)
            torch.cuda.set_sync_debug_mode("error")
            try:
                group.write([component], State(num_steps=step))
            finally:
                torch.cuda.set_sync_debug_mode("default")
    assert group.stats()["json"].failed == {}
    assert scalars_of(tmp_path)[2]["model/held"] == pytest.approx(weights.mean().item(), rel=1e-6)


@needs_cuda
def test_a_cuda_graph_that_is_captured_is_left_alone(tmp_path):
    component, weights, graph = MultiLogger("model"), torch.ones(8, device="cuda"), torch.cuda.CUDAGraph()
    with started(tmp_path) as group:
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            weights * 2
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(graph):
            doubled = weights * 2
            component.log_scalar("held", doubled[0])
            component.log_scalar("lazy", lambda: doubled.sum().item())
            group.write([component], State(num_steps=1))
        graph.replay()
        assert doubled.sum().item() == 16
    assert group.stats()["json"].failed == {"value": 2}


# row 62: compiled functions, modes, hooks and threads


@pytest.fixture
def compiler():
    """What dynamo counts; its caches are empty."""
    from torch._dynamo import reset, utils

    reset()
    utils.counters.clear()
    yield utils.counters
    reset()


def compiled_frames(counters):
    return {name: dict(counts) for name, counts in counters.items() if name in ("frames", "stats", "graph_break")}


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_log_call_in_a_compiled_function_is_one_break_of_its_graph_and_never_compiled_anew(
    tmp_path, compiler, backend
):
    component = MultiLogger("model")

    @torch.compile(backend=backend)
    def loss_of(inputs):
        loss = (inputs * 2).sum()
        component.log_scalar("loss", loss)
        component.log_scalars({"twice": loss * 2, "lazy": lambda: loss + 1})
        component.log_histogram("inputs", inputs)
        return loss * 3

    with started(tmp_path) as group:
        for step in range(1, 13):
            for _ in range(step % 3 + 1):  # calls of an earlier one still wait
                loss_of(torch.full((3,), float(step), requires_grad=True)).backward()
            group.write([component], State(num_steps=step))
            if step == 3:
                before = compiled_frames(compiler)

    assert compiled_frames(compiler) == before
    assert len(compiler["graph_break"]) == 3
    assert compiler["frames"]["total"] == 4, "the function and its rests; nothing of ours"
    assert scalars_of(tmp_path)[11] == {"model/loss": 72.0, "model/twice": 144.0, "model/lazy": 73.0}


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_with_fullgraph_a_reorderable_function_logs_and_a_returned_value_can_be_logged(tmp_path, compiler, backend):
    component = MultiLogger("model")

    def log_loss(loss):
        component.log_scalar("loss", loss)

    @torch.compile(backend=backend, fullgraph=True)
    def loss_of(inputs):
        loss = (inputs * 2).sum()
        log_loss(loss)
        return loss * 3

    torch._dynamo.config.reorderable_logging_functions.add(log_loss)
    try:
        with started(tmp_path) as group:
            for step in range(1, 13):
                returned = loss_of(torch.full((3,), float(step), requires_grad=True))
                component.log_scalar("returned", returned)
                returned.backward()
                group.write([component], State(num_steps=step))
                if step == 2:
                    before = compiled_frames(compiler)
    finally:
        torch._dynamo.config.reorderable_logging_functions.remove(log_loss)

    assert compiled_frames(compiler) == before
    assert compiler["stats"]["unique_graphs"] == 1
    assert scalars_of(tmp_path)[11] == {"model/loss": 72.0, "model/returned": 216.0}
    assert points_of(tmp_path, "model/loss")[-1] == (12, 72.0)


def test_with_fullgraph_a_plain_log_call_is_refused_with_the_cure(compiler):
    component = MultiLogger("model")

    @torch.compile(backend="eager", fullgraph=True)
    def loss_of(inputs):
        component.log_scalar("loss", inputs.sum())
        return inputs * 2

    with pytest.raises(Exception, match="return the value and log it outside"):
        loss_of(torch.ones(3))
    assert len(component) == 0


def test_values_are_computed_in_a_compiled_callable_of_a_guarded_group(tmp_path, compiler):
    component = MultiLogger("model")
    doubled = torch.compile(lambda inputs: inputs.sum() * 2, backend="eager")
    with LoggerGroup([JsonLogger(JsonLoggerConfig("json"))], RunContext(tmp_path, world_size=2)) as group:
        for step in (1, 2, 3):
            component.log_scalar("loss", lambda: doubled(torch.ones(4)))
            group.write([component], State(num_steps=step))

    assert scalars_of(tmp_path) == [{"model/loss": 8.0}] * 3


@pytest.mark.filterwarnings("ignore:`torch.jit", "ignore:Python 3.14:DeprecationWarning")
def test_a_function_logs_while_it_is_traced_and_from_a_script_through_one_that_is_ignored(tmp_path):
    component = MultiLogger("model")

    def doubled(inputs):
        component.log_scalar("traced", inputs.sum())
        return inputs * 2

    @torch.jit.ignore
    def note(total: torch.Tensor) -> None:
        component.log_scalar("scripted", total)

    @torch.jit.script
    def scripted(inputs):
        note(inputs.sum())
        return inputs * 2

    with started(tmp_path) as group:
        traced = torch.jit.trace(doubled, torch.ones(3), check_trace=False)
        assert traced(torch.ones(3)).tolist() == scripted(torch.ones(3)).tolist() == [2, 2, 2]
        group.write([component], State(num_steps=1))

    assert scalars_of(tmp_path) == [{"model/traced": 3.0, "model/scripted": 3.0}]
    assert "log" not in str(traced.graph)


MODES = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference": torch.inference_mode,
    "no_grad": torch.no_grad,
}


@pytest.mark.parametrize("mode", MODES)
def test_a_value_may_be_logged_and_computed_in_every_mode(tmp_path, mode):
    component, weight = MultiLogger("model"), torch.ones(2, 2)
    with started(tmp_path) as group, MODES[mode]():
        component.log_scalar("held", (weight @ weight).sum())
        component.log_scalar("lazy", lambda: (weight @ weight).mean())
        component.log_histogram("histogram", weight @ weight)
        group.write([component], State(num_steps=1))

    assert scalars_of(tmp_path) == [{"model/held": 8.0, "model/lazy": 2.0}]
    assert group.stats()["json"].failed == {}


def test_hooks_of_a_backward_pass_log_from_the_thread_that_runs_them(tmp_path):
    component = MultiLogger("model")
    inputs = torch.ones(3, requires_grad=True)
    inputs.register_hook(lambda gradient: component.log_scalar("gradient", gradient.norm() ** 2))
    loss = (inputs * 2).sum()
    with started(tmp_path) as group:
        thread = threading.Thread(target=loss.backward)
        thread.start()
        thread.join(30)
        group.write([component], State(num_steps=1))

    assert scalars_of(tmp_path) == [{"model/gradient": pytest.approx(12.0)}]
    assert points_of(tmp_path, "model/gradient") == [(1, pytest.approx(12.0))]


def test_ranks_log_shards_and_in_communication_hooks_without_a_collective(tmp_path):
    environment = {**os.environ, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(PROGRAMS / "two_ranks.py"), str(tmp_path / "run")]
    told = run_together(command, command, environments=[{**environment, "RANK": rank} for rank in ("0", "1")])

    last = lines_of(tmp_path / "run")[2]
    assert last["scalars"] == {"model/whole": 3.0, "model/part": 2.0, "model/bucket": pytest.approx(12.0)}
    assert last["histograms"]["model/rows"]["count"] == 4, "the shard of this rank"
    assert {"model/pictures", "model/labelled"} == set(last["images"])
    assert "Cannot log 'model/shape': a scalar holds 1 number, got shape (8, 1)" in told[0][1]


# rows 46 and 49: tensors of every make


def test_nothing_of_a_graph_outlives_the_step(tmp_path):
    component, weight = MultiLogger("model"), torch.ones(3, requires_grad=True)
    graphs = []

    class Kept(torch.autograd.Function):
        @staticmethod
        def forward(context, value):
            context.kept = marker = type("Marker", (), {})()
            graphs.append(weakref.ref(marker))
            return value * 2

        @staticmethod
        def backward(context, gradient):
            return gradient * 2

    with started(tmp_path) as group:
        for step in (1, 2):
            held, lazy = Kept.apply(weight).sum(), Kept.apply(weight)
            component.log_scalar("held", held)
            component.log_scalar("lazy", lambda lazy=lazy: lazy.sum())
            component.log_scalar("reduced", held, reduce="mean")
            component.log_histogram("histogram", lazy)
            component.log_image("image", lazy.reshape(1, 3))
            group.write([component], State(num_steps=step), force=step == 1)
            del held, lazy
            assert [graph() for graph in graphs] == [None] * (2 * step), "before anything was written"
    assert group.stats()["json"].failed == {}


class Plain(torch.Tensor):
    """A subclass that does nothing."""


class Raising(torch.Tensor):
    """A subclass that no function may be called with."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        raise TypeError("this tensor takes part in nothing")


def fake():
    with FakeTensorMode() as mode:
        return mode.from_tensor(torch.ones(3, 4))


def vmapped():
    kept = []
    torch.func.vmap(lambda row: kept.append(row) or row)(torch.ones(3, 4))
    return kept[0]


def wrapped_by_grad():
    kept = []
    torch.func.grad(lambda value: kept.append(value) or value.sum())(torch.ones(3, 4))
    return kept[0]


ODD = {
    "meta": lambda: torch.ones(3, 4, device="meta"),
    "fake": fake,
    "vmap": vmapped,
    "grad": wrapped_by_grad,
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "jagged": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged),
    "complex": lambda: torch.ones(3, 4, dtype=torch.complex64),
    "huge sparse": lambda: torch.sparse_coo_tensor([[0], [0]], [1.0], (10**6, 10**6)),
    "raising": lambda: torch.ones(3, 4).as_subclass(Raising),
    "freed": lambda: _freed(torch.ones(3, 4)),
}
LOGS = ["log_scalar", "log_image", "log_images", "log_audio", "log_video", "log_histogram", "log_point_cloud"]


def _freed(tensor):
    tensor.untyped_storage().resize_(0)  # as FSDP does with the parameters of a layer that is not running
    return tensor


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("name", [*ODD])
@pytest.mark.parametrize("lazy", [False, True], ids=["held", "lazy"])
def test_a_tensor_that_holds_no_numbers_costs_itself_alone(tmp_path, name, lazy):
    component = MultiLogger("model")
    with started(tmp_path) as group:
        odd = ODD[name]()
        for log in LOGS:
            getattr(component, log)(log, (lambda: odd) if lazy else odd)
        component.log_scalar("good", 1.0)
        group.write([component], State(num_steps=1))

    stats = group.stats()["json"]
    assert stats.written + stats.failed["value"] == stats.accepted == len(LOGS) + 1
    assert stats.failed["value"] >= len(LOGS) - 1, (
        "one channel of a sparse clip, or of one that was differentiated, may do"
    )
    assert scalars_of(tmp_path) == [{"model/good": 1.0}]
    assert points_of(tmp_path, "model/good") == [(1, 1.0)]


USUAL = {
    "subclass": lambda: torch.ones(3, 4).as_subclass(Plain),
    "parameter": lambda: torch.nn.Parameter(torch.ones(3, 4)),
    "buffer": lambda: torch.nn.Buffer(torch.ones(3, 4)),
    "sparse": lambda: torch.ones(3, 4).to_sparse(),
    "conjugate": lambda: torch.ones(3, 4, dtype=torch.complex64).conj().real,
    "functional": lambda: torch.func.functionalize(lambda value: value + 1)(torch.zeros(3, 4)),
}


@pytest.mark.parametrize("name", [*USUAL])
def test_a_tensor_of_another_make_is_logged_as_its_numbers(tmp_path, name):
    component = MultiLogger("model")
    with started(tmp_path) as group:
        value = USUAL[name]()
        component.log_histogram("histogram", value)
        component.log_image("image", lambda: value)
        component.log_scalar("sum", value.sum())
        group.write([component], State(num_steps=1))

    (line,) = lines_of(tmp_path)
    assert (line["scalars"], line["histograms"]["model/histogram"]["count"]) == ({"model/sum": 12.0}, 12)
    assert "model/image" in line["images"]


# row 64: training is not disturbed; at length in tests/loggers/test_untouched.py


def test_training_is_bit_identical_with_and_without_logging(tmp_path):
    def train(group):
        torch.manual_seed(0)
        network, component = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout()), MultiLogger("model")
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        for step in range(1, 31):
            loss = network(torch.randn(8, 4)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if group is not None:
                component.log_scalar("loss", loss)
                component.log_histogram("weights", network[0].weight)
                component.log_images("images", lambda: torch.ones(70, 4, 4), max_images=3)
                component.log_point_cloud("points", torch.ones(2000, 3))
                group.write([component], State(num_steps=step))
        return [value.numpy().tobytes() for value in network.state_dict().values()], torch.get_rng_state().tolist()

    with started(tmp_path) as group:
        logged = train(group)

    assert logged == train(None)
    assert np.isfinite([value for _, value in points_of(tmp_path, "model/loss")]).all()
    assert len(points_of(tmp_path, "model/loss")) == 30

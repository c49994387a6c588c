"""Models that are compiled, or wrapped for parallel training, are watched as they are."""

import threading

import pytest
import torch
from torch import nn
from torch.distributed import destroy_process_group, init_process_group
from torch.nn.parallel import DataParallel, DistributedDataParallel

from tests.tracing.tiny import TinyAdapter, TinyDetector, detector, images, logger_of, traced, tracer_of


class Raw(TinyDetector):
    """Returns what its head says, with no code that cannot be compiled as a whole."""

    def forward(self, images):
        return self.head(self.backbone(images)).flatten(2).transpose(1, 2)


class RawAdapter(TinyAdapter):
    name = "raw tiny"

    @staticmethod
    def detect(model):
        return isinstance(model, Raw)

    def reported(self, model_output, image_sizes, config):
        return super().reported([TinyDetector().shown(rows) for rows in model_output], image_sizes, config)


def raw():
    model = detector()
    model.__class__ = Raw
    return model


def scores_of(rows):
    return rows[:, 4:].sigmoid().amax(1).sort(descending=True).values.tolist()


def graphs():
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


@pytest.fixture(autouse=True)
def _nothing_compiled():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize(
    ("backend", "is_whole"), [("eager", True), ("aot_eager", False)], ids=["one graph", "breaks allowed"]
)
def test_a_compiled_model_is_watched_and_compiled_once(tmp_path, backend, is_whole):
    model = raw()
    expected = model(images()).detach()
    compiled = torch.compile(model, backend=backend, fullgraph=is_whole)
    with logger_of(compiled, tmp_path, target_layers={"features": "backbone"}) as logger:
        outputs = [logger(images(), input_ids=["a", "b"])]
        before = graphs()
        outputs += [logger(images(), input_ids=["a", "b"]) for _ in range(3)]
        assert graphs() == before
        features = logger.get_hooked_features("features")
        stats = logger.stats()

    assert all(torch.equal(output, expected) for output in outputs)
    assert torch.equal(features, model.backbone(images()))
    assert not features.requires_grad
    assert stats.failed == {}
    kept = traced(tmp_path)
    assert [inference.input_id for inference in kept] == ["a", "b"]
    assert [scores_of(rows) for rows in expected] == [inference.output.scores.tolist() for inference in kept]


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_gradients_of_a_compiled_model_are_the_same(tmp_path, backend):
    def gradients(watched):
        torch.compiler.reset()
        model = raw()
        call = compiled = torch.compile(model, backend=backend)
        if watched:
            call = logger_of(compiled, tmp_path, target_layers={"features": "backbone"})
        call(images()).square().sum().backward()
        if watched:
            call.close()
        return [parameter.grad for parameter in model.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(gradients(False), gradients(True), strict=True))


def test_threads_of_a_compiled_model_do_not_mix(tmp_path):
    model = raw()
    with logger_of(torch.compile(model, backend="eager"), tmp_path) as logger:
        logger(images(1), input_ids=["first"])

        def call(number):
            for turn in range(5):
                logger(images(1, seed=10 * number + turn), input_ids=[f"{number}-{turn}"])

        threads = [threading.Thread(target=call, args=(number,)) for number in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert logger.stats().failed == {}

    kept = {inference.input_id: inference.output for inference in traced(tmp_path)}
    for number in (1, 2):
        for turn in range(5):
            raw_output = model(images(1, seed=10 * number + turn))[0].detach()
            assert kept[f"{number}-{turn}"].scores.tolist() == scores_of(raw_output)


def test_a_model_that_was_compiled_and_called_before_is_told_of(tmp_path, caplog):
    model = raw()
    compiled = torch.compile(model, backend="eager")
    expected = compiled(images()).detach()
    with logger_of(compiled, tmp_path) as logger:
        assert torch.equal(logger(images()), expected)
        assert logger.stats().failed == {"hook": 1, "parse": 2}
        assert "call torch.compiler.reset() first" in caplog.text

        torch.compiler.reset()
        assert torch.equal(logger(images()), expected)
        logger.wait_for_save()
        assert logger.stats().saved == 2


def test_a_model_whose_part_is_compiled_has_its_layers_under_their_plain_names(tmp_path):
    model = detector()
    model.backbone = torch.compile(model.backbone, backend="eager")
    with logger_of(model, tmp_path, target_layers={"conv": "backbone.0", "all": "backbone"}) as logger:
        logger(images())
        assert logger.get_hooked_features("conv").shape == (2, 8, 4, 4)
        assert logger.stats().failed == {}


def test_a_model_in_ddp_is_watched_and_learns_the_same(tmp_path):
    init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:

        def gradients(watched):
            model = detector().train()
            wrapped = call = DistributedDataParallel(model)
            if watched:
                call = tracer_of(wrapped, tmp_path)
            output = call(images(), *([[None, None]] if watched else []))
            sum(shown["scores"].sum() + shown["boxes"].sum() for shown in output).backward()
            if watched:
                call.close()
                assert call.stats().failed == {}
            return [parameter.grad for parameter in model.parameters()]

        assert all(torch.equal(a, b) for a, b in zip(gradients(False), gradients(True), strict=True))
    finally:
        destroy_process_group()
    assert len(traced(tmp_path)) == 2


def test_wrappers_around_wrappers_are_looked_through(tmp_path):
    model = detector()
    wrapped = DataParallel(DataParallel(model))
    with logger_of(wrapped, tmp_path) as logger:
        logger(images())
        assert logger.stats().failed == {}
    assert isinstance(wrapped.module, nn.Module)
    assert len(traced(tmp_path)) == 2

"""A model that is watched does what it does unwatched, and leaves nothing behind."""

import copy
import gc
import io
import os
import random
import threading
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.checkpoint import checkpoint

from ml.core.errors import ClosedError
from ml.testing import Gate
from tests.tracing.tiny import (
    TinyDetector,
    detector,
    images,
    logger_of,
    traced,
    tracer_of,
)


class Handing(TinyDetector):
    """Returns the very object that it was told to return."""

    def forward(self, images):
        self.returned = super().forward(images)
        return self.returned


def memory_of(tensor):
    return StorageWeakRef(tensor.untyped_storage())


def same(a, b):
    return all(
        torch.equal(x[name], y[name]) for x, y in zip(a, b, strict=True) for name in ("boxes", "scores", "labels")
    )


def handing(**settings):
    model = detector(**settings)
    model.__class__ = Handing
    return model


def num_hooks(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_what_the_model_returned_is_what_the_caller_gets(tmp_path):
    model = handing()
    expected = model(images())

    with logger_of(model, tmp_path, target_layers={"features": "backbone"}) as logger:
        output = logger(images())

    assert output is model.returned
    assert same(output, expected)


def test_weights_losses_and_random_numbers_of_a_training_are_the_same(tmp_path):
    def trained(watched):
        torch.manual_seed(1), random.seed(1), np.random.seed(1)
        model = detector().train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        call = model
        if watched:
            call = tracer_of(model, tmp_path, target_layers={"features": "backbone"}, thumbnail_px=8)
        for step in range(3):
            arguments = () if not watched else ([None, None],)
            output = call(images(seed=step) + torch.rand(()), *arguments)
            loss = sum(shown["scores"].sum() + shown["boxes"].sum() for shown in output)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if watched:
            call.close()
        chance = random.random(), np.random.rand(), torch.rand(())
        return {name: value.clone() for name, value in model.state_dict().items()}, loss, chance, model

    bare, bare_loss, bare_chance, _ = trained(False)
    watched, loss, chance, model = trained(True)

    assert torch.equal(bare_loss, loss)
    assert bare_chance == chance
    assert all(torch.equal(bare[name], watched[name]) for name in bare)  # buffers of the batch norm, too
    assert all(module.training for module in model.modules())
    assert len(traced(tmp_path)) == 6


def test_what_the_caller_does_to_the_output_does_not_reach_the_records(tmp_path):
    with logger_of(detector(), tmp_path, target_layers={"features": "backbone"}) as logger:
        with torch.no_grad():
            output = logger(images())
            expected = copy.deepcopy(output)
            logger.get_hooked_features("features").zero_()
            for shown in output:
                shown["boxes"].zero_(), shown["scores"].zero_()
        logger.wait_for_save()

    for kept, shown in zip(traced(tmp_path), expected, strict=True):
        assert np.array_equal(kept.output.shown().boxes, shown["boxes"].numpy())
        assert kept.features["features"].any()


@pytest.mark.parametrize(
    "error", [ValueError("of the model"), StopIteration(), KeyboardInterrupt(), SystemExit(2)], ids=repr
)
def test_what_the_model_raises_passes_and_its_setting_is_restored(tmp_path, error):
    model = detector(score_thresh=0.5)
    logger = logger_of(model, tmp_path, score_thresh=0.55)

    def fail(*_):
        seen.append(model.score_thresh)
        raise error

    seen = []
    handle = model.head.register_forward_pre_hook(fail)
    with pytest.raises(type(error)) as raised:
        logger(images())
    handle.remove()

    assert raised.value is error
    assert seen == [0.55]
    assert model.score_thresh == 0.5
    logger(images())  # and it goes on
    logger.close()
    assert logger.stats().calls == 2
    assert logger.stats().saved == 2


def test_hooks_and_tensors_are_gone_after_close(tmp_path):
    model = handing()
    logger = logger_of(model, tmp_path, target_layers={"features": "backbone"})
    logger(images())
    kept = [memory_of(logger.get_hooked_features("features"))]
    kept += [memory_of(shown["boxes"]) for shown in model.returned]
    assert num_hooks(model) == 2

    logger.close()
    logger.close()
    del model.returned
    gc.collect()

    assert num_hooks(model) == 0
    assert [memory.expired() for memory in kept] == [True] * 3
    with pytest.raises(ClosedError, match="Call the model itself"):
        logger(images())
    with pytest.raises(ClosedError):
        logger.get_hooked_features("features")


def test_a_call_leaves_no_tensor_alive_but_the_last_of_a_target_layer(tmp_path):
    alive = []

    class Noting(TinyDetector):
        def forward(self, images):
            raw = self.backbone(images)
            alive.append(memory_of(raw))
            raw = self.head(raw)
            alive.append(memory_of(raw))
            return [self.shown(rows) for rows in raw.flatten(2).transpose(1, 2)]

    model = detector()
    model.__class__ = Noting
    with logger_of(model, tmp_path, target_layers={"features": "backbone"}) as logger:
        logger(images())
        gc.collect()

        assert [memory.expired() for memory in alive] == [False, True]
        assert logger.get_hooked_features("features").grad_fn is None


def test_the_model_dies_with_the_users_last_reference_after_close(tmp_path):
    model = detector()
    gone = weakref.ref(model)
    logger = logger_of(model, tmp_path)
    logger(images())
    logger.close()

    del model
    gc.collect()

    assert gone() is None


def test_a_copy_of_the_model_is_not_watched(tmp_path):
    model = detector()
    with logger_of(model, tmp_path) as logger:
        logger(images())
        copied = copy.deepcopy(model)
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=False)
        expected = model(images())

        assert same(copied(images()), expected)
        assert same(loaded(images()), expected)
        assert logger.stats().calls == 1
    assert same(copied(images()), expected)


def test_the_model_may_be_called_beside_its_tracer(tmp_path):
    model, raw = detector(), []
    with logger_of(model, tmp_path) as logger:
        logger(images(seed=1))
        handle = model.head.register_forward_hook(lambda module, inputs, output: raw.append(memory_of(output)))
        model(images(seed=2))
        handle.remove()
        gc.collect()
        assert raw[0].expired()
        logger(images(seed=3))

    assert [kept.step for kept in traced(tmp_path)] == [1, 1, 2, 2]


def test_two_tracers_of_one_model_do_not_disturb_each_other(tmp_path):
    model = detector()
    first = logger_of(model, tmp_path)
    second = logger_of(model, tmp_path, score_thresh=0.6)
    first(images())
    second(images())
    first.close()
    second(images(seed=1))
    second.close()

    assert (first.stats().saved, second.stats().saved) == (2, 4)
    assert not first.stats().failed
    assert not second.stats().failed


class Twice(TinyDetector):
    """Uses its head twice; the second time is what counts."""

    def forward(self, images):
        features = self.backbone(images)
        self.head(features * 0)
        return [self.shown(rows) for rows in self.head(features).flatten(2).transpose(1, 2)]


class Checkpointed(TinyDetector):
    """Computes its backbone and head again in the backward pass."""

    def forward(self, images):
        raw = checkpoint(lambda x: self.head(self.backbone(x)), images, use_reentrant=False)
        return [self.shown(rows) for rows in raw.flatten(2).transpose(1, 2)]


@pytest.mark.parametrize("kind", [Twice, Checkpointed])
def test_a_module_counts_once_a_forward(tmp_path, kind):
    model = detector()
    expected = [{name: value.detach() for name, value in shown.items()} for shown in model(images())]
    model.__class__ = kind
    with logger_of(model, tmp_path) as logger:
        output = logger(images())
        sum(shown["scores"].sum() for shown in output).backward()
        stats = logger.stats()

    assert same(output, expected)
    assert stats.failed == {}
    assert stats.disagreements == 0
    assert len(traced(tmp_path)) == 2


def test_a_failing_hook_costs_the_record_and_is_told_once(tmp_path, caplog):
    class Odd(dict):
        def items(self):
            raise RuntimeError("no items")

    class OddModule(nn.Module):
        def forward(self, x):
            return Odd()

    model = detector()
    model.odd = OddModule()
    plain = model.forward
    model.forward = lambda x: (model.odd(x), plain(x))[1]
    with logger_of(model, tmp_path, target_layers={"odd": "odd"}) as logger:
        expected = model(images())
        assert same(logger(images()), expected)
        assert same(logger(images()), expected)
        stats = logger.stats()

    assert stats.failed == {"hook": 2}
    assert caplog.text.count("in spite of a failure (hook): RuntimeError: no items.") == 1
    assert len(traced(tmp_path)) == 2  # one input each of two ids, the second call replaced the first


@pytest.mark.parametrize(
    "output",
    [{}, (), [], None, 3, [{"boxes": torch.full((1, 4), float("nan"))}], {"loss": torch.tensor(1.0)}],
    ids=["dict", "tuple", "list", "none", "number", "nan", "losses"],
)
def test_an_output_of_any_form_is_handed_on(tmp_path, output):
    model = detector()
    model.forward = lambda x: output
    with logger_of(model, tmp_path) as logger:
        assert logger(images()) is output
        stats = logger.stats()

    assert stats.failed["parse"] == 2
    assert stats.saved == 0


def test_boxes_that_are_no_numbers_are_kept_as_they_are(tmp_path):
    model = detector()
    with torch.no_grad():
        model.head.bias[0] = float("nan")
    with logger_of(model, tmp_path) as logger:
        logger(images())

    assert np.isnan(traced(tmp_path)[0].output.boxes).any()


def test_a_layer_changed_in_place_is_told_and_copied_from_then_on(tmp_path, caplog):
    model = detector()
    model.backbone[2] = nn.ReLU(inplace=True)
    before = model.backbone[:2](images()).detach()
    with logger_of(model, tmp_path, target_layers={"norm": "backbone.1"}) as logger:
        logger(images())
        with pytest.raises(KeyError):
            logger.get_hooked_features("norm")
        logger(images())
        assert torch.equal(logger.get_hooked_features("norm"), before)
        with torch.inference_mode():
            logger(images())
        assert torch.equal(logger.get_hooked_features("norm"), before)

    assert "changed in place" in caplog.text


def test_calls_of_two_threads_do_not_mix(tmp_path):
    gates = {1: Gate(), 2: Gate()}

    class Waiting(TinyDetector):
        def forward(self, images):
            raw = self.head(self.backbone(images))
            gates[len(images)].wait()
            return [self.shown(rows) for rows in raw.flatten(2).transpose(1, 2)]

    model = detector()
    model.__class__ = Waiting
    outputs = {}
    with logger_of(model, tmp_path, score_thresh=0.55, target_layers={"features": "backbone"}) as logger:

        def call(count):
            outputs[count] = logger(images(count, seed=count), input_ids=[f"{count}-{n}" for n in range(count)])

        threads = [threading.Thread(target=call, args=(count,)) for count in gates]
        for thread in threads:
            thread.start()
        for gate in gates.values():
            gate.wait_for_arrival()  # both are inside of the model
        gates[2].open()
        threads[1].join()
        assert model.score_thresh == 0.55  # one is still inside
        gates[1].open()
        threads[0].join()
        stats = logger.stats()

    assert model.score_thresh == 0.5
    assert (stats.failed, stats.disagreements, stats.calls) == ({}, 0, 2)
    kept = {inference.input_id: inference.output for inference in traced(tmp_path)}
    for count, output in outputs.items():
        for number, shown in enumerate(output):
            assert np.array_equal(kept[f"{count}-{number}"].shown().boxes, shown["boxes"].detach().numpy())


def test_a_forked_childs_copy_calls_the_model_and_keeps_nothing(tmp_path):
    model = detector()
    with logger_of(model, tmp_path) as logger:
        logger(images())
        logger.wait_for_save()
        expected = model(images(seed=1))
        pid = os.fork()
        if not pid:
            is_right = same(logger(images(seed=1)), expected)
            logger.close()
            os._exit(0 if is_right else 1)
        assert os.waitpid(pid, 0)[1] == 0
        logger(images(seed=2))

    assert len(traced(tmp_path)) == 4


def test_boxes_that_the_adapter_takes_for_visible_are_held_against_the_models_own(tmp_path, caplog):
    class Fewer(TinyDetector):
        def shown(self, rows):
            return {name: value[1:] for name, value in super().shown(rows).items()}

    model = detector()
    model.__class__ = Fewer
    with logger_of(model, tmp_path) as logger:
        logger(images())
        logger(images())
        assert logger.stats().disagreements == 4

    assert caplog.text.count("disagreement") == 1

"""What a component logs with: keys, namespaces, threads, copies."""

import asyncio
import copy
import gc
import pickle
import signal
import threading

import numpy as np
import pytest

from ml.core.errors import ConfigError
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import BaseLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.memory import MemoryLogger
from ml.loggers.multi import MAX_WAITING, MultiLogger, namespace_context


def written(components, *, state=None, **settings):
    """What a memory backend has of one step: ``(namespace, key, value)``."""
    memory = MemoryLogger(BaseLoggerConfig("memory", **settings))
    with LoggerGroup([memory], RunContext("nowhere"), on_error="raise") as group:
        group.write(components, state or State(num_steps=1))
    return [entry[2:] for entry in memory.entries]


@pytest.fixture
def model():
    return MultiLogger("model")


# names


def test_keys_go_to_the_components_namespace_unless_another_is_named(model):
    model.log_scalar("loss", 1.0)
    model.log_scalar("loss", 2.0, namespace="other")
    model.log_scalars({"a": 3.0, "b/c": 4.0})

    assert written([model]) == [
        ("model", "loss", 1.0),
        ("other", "loss", 2.0),
        ("model", "a", 3.0),
        ("model", "b/c", 4.0),
    ]


def test_in_the_empty_namespace_the_first_part_of_a_key_is_its_namespace():
    component = MultiLogger("")
    component.log_scalars({"loss": 1.0, "a/b": 2.0, "a/b/c": 3.0})

    assert written([component]) == [("", "loss", 1.0), ("a", "b", 2.0), ("a", "b/c", 3.0)]


def test_a_namespace_holds_no_slash():
    with pytest.raises(ConfigError, match="holds no '/'"):
        MultiLogger("a/b")


def test_a_context_adds_a_suffix_to_every_namespace_inside(model):
    empty = MultiLogger("")
    with namespace_context("gen"):
        model.log_scalar("loss", 1.0)
        model.log_scalar("loss", 2.0, namespace="other")
        empty.log_scalar("loss", 3.0)
        with namespace_context("deep"):
            model.log_scalar("loss", 4.0)
        model.log_scalar("after", 5.0)
    model.log_scalar("loss", 6.0)

    assert written([model, empty]) == [
        ("model_gen", "loss", 1.0),
        ("other_gen", "loss", 2.0),
        ("model_gen_deep", "loss", 4.0),
        ("model_gen", "after", 5.0),
        ("model", "loss", 6.0),
        ("gen", "loss", 3.0),
    ]


def test_a_context_ends_with_an_exception_too(model):
    with pytest.raises(KeyError), namespace_context("gen"):
        raise KeyError
    model.log_scalar("loss", 1.0)

    assert written([model]) == [("model", "loss", 1.0)]


def test_a_context_is_not_seen_by_other_threads_and_tasks(model):
    async def log(name, own, other):
        with namespace_context(name):
            own.set()
            await other.wait()
            model.log_scalar(name, 1.0)

    async def both():
        first, second = asyncio.Event(), asyncio.Event()
        await asyncio.gather(log("a", first, second), log("b", second, first))

    asyncio.run(both())
    with namespace_context("gen"):
        thread = threading.Thread(target=lambda: model.log_scalar("thread", 1.0))
        thread.start()
        thread.join()

    assert sorted(written([model])) == [("model", "thread", 1.0), ("model_a", "a", 1.0), ("model_b", "b", 1.0)]


@pytest.mark.parametrize("name", ["", "a/b"])
def test_a_context_has_a_name_without_a_slash(name):
    with pytest.raises(ConfigError), namespace_context(name):
        pass


# one key twice


def test_the_last_value_of_a_key_in_a_step_wins_and_the_others_are_counted(model):
    for value in (1.0, 2.0, 3.0):
        model.log_scalar("loss", value)
        model.log_image("image", np.full((64, 64), int(value), np.uint8))
    (_, loss, value), (_, image, pixels) = sorted(written([model]), key=lambda entry: entry[1], reverse=True)

    assert (loss, value, image, pixels.max()) == ("loss", 3.0, "image", 3)
    assert model.overwritten == 4


def test_an_overwritten_value_is_never_computed(model):
    model.log_scalar("loss", lambda: pytest.fail("computed"))
    model.log_scalar("loss", 2.0)

    assert written([model]) == [("model", "loss", 2.0)]


def test_one_key_of_several_kinds_is_several_series(model):
    model.log_scalar("key", 1.0)
    model.log_string("key", "text")
    model.log_histogram("key", np.ones(2))

    assert len(written([model])) == 3
    assert model.overwritten == 0


def test_texts_of_one_key_are_all_kept(model):
    for text in "abc":
        model.log_string("note", text)

    assert written([model]) == [("model", "note", text) for text in "abc"]


def test_two_names_that_look_alike_are_two_series():
    first, second = MultiLogger("a"), MultiLogger("a_b")
    first.log_scalar("b/c", 1.0)
    second.log_scalar("c", 2.0)
    first.log_scalar("\u00e9", 3.0)
    first.log_scalar("e\u0301", 4.0)

    assert len({entry[:2] for entry in written([first, second])}) == 4


# texts


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "text"),
        (b"bytes \xff", "bytes \ufffd"),
        ("", ""),
        (7, "7"),
        ("\ud800", "?"),
        pytest.param(lambda: "lazy", "lazy", id="lazy"),
    ],
    ids=repr,
)
def test_a_text_is_what_its_value_says(model, value, text):
    model.log_string("note", value)

    assert written([model]) == [("model", "note", text)]


# who may log when


def test_threads_may_log_at_once_and_lose_nothing(model):
    def log(number):
        for index in range(2000):
            model.log_string(f"{number}", str(index))

    threads = [threading.Thread(target=log, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    taken = []
    while any(thread.is_alive() for thread in threads):
        taken += model.take()
    for thread in threads:
        thread.join()
    taken += model.take()

    for number in range(4):
        assert [entry[1] for entry in taken if entry[0][2] == str(number)] == [str(index) for index in range(2000)]


def test_a_signal_handler_may_log_while_a_value_is_computed(model):
    previous = signal.signal(signal.SIGUSR1, lambda *_: model.log_scalar("handler", 2.0))
    try:
        model.log_scalar("loss", lambda: signal.raise_signal(signal.SIGUSR1) or 1.0)
        assert written([model]) == [("model", "loss", 1.0), ("model", "handler", 2.0)]
    finally:
        signal.signal(signal.SIGUSR1, previous)


def test_a_finalizer_may_log(model):
    class Logging:
        def __del__(self):
            model.log_scalar("finalized", 1.0)

    thing = Logging()
    thing.itself = thing
    del thing
    model.log_scalar("loss", lambda: gc.collect() * 0.0)

    assert sorted(written([model])) == [("model", "finalized", 1.0), ("model", "loss", 0.0)]


def test_a_component_that_is_never_written_is_bounded_and_says_so(model, caplog):
    for index in range(3 * MAX_WAITING):
        model.log_scalar("loss", float(index))

    assert len(model) <= MAX_WAITING + 1
    assert model.overwritten + len(model) == 3 * MAX_WAITING
    assert "Is run.step() called?" in caplog.text
    assert written([model]) == [("model", "loss", 3.0 * MAX_WAITING - 1)]


@pytest.mark.parametrize(("namespace", "name"), [("model", "The logger of 'model'"), ("", "run.log")])
def test_who_is_never_written_is_named(caplog, namespace, name):
    component = MultiLogger(namespace)
    for _ in range(MAX_WAITING + 1):
        component.log_scalar("loss", 0.5)

    assert f"{name} holds {MAX_WAITING + 1} values of one step" in caplog.text


@pytest.mark.parametrize("values", [None, [1], 0.5], ids=repr)
def test_scalars_that_are_no_mapping_cost_themselves(model, caplog, values):
    model.log_scalars(values)
    model.log_scalar("loss", 0.5)
    with LoggerGroup([MemoryLogger(BaseLoggerConfig("memory"))], RunContext("nowhere")) as group:
        group.write([model], State(num_steps=1))

    assert (group.stats()["memory"].written, sum(group.stats()["memory"].failed.values())) == (1, 1)
    assert f"Cannot log 'model/log_scalars': it takes {{key: value}}, got {values!r}" in caplog.text


def test_many_keys_of_one_step_are_all_kept(model, caplog):
    for index in range(2 * MAX_WAITING):
        model.log_scalar(f"key{index}", float(index))

    assert len(written([model])) == 2 * MAX_WAITING
    assert caplog.text == ""


# copies


@pytest.mark.parametrize(
    "make_copy",
    [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=["copy", "deep", "pickle"],
)
def test_a_copy_discards_and_says_so_once(model, make_copy, caplog):
    model.log_scalar("loss", 1.0)
    twin = make_copy(model)
    twin.log_scalar("loss", lambda: pytest.fail("computed"))
    twin.log_scalar("other", 2.0)

    assert written([model, twin]) == [("model", "loss", 1.0)]
    assert twin.default_namespace == "model"
    assert caplog.text.count("which discards. Log from the original.") == 1


def test_an_empty_component_is_true(model):
    assert len(model) == 0
    assert model


# the seed's operation


def test_a_component_writes_to_plain_loggers_in_place_on_this_thread(tmp_path, model):
    threads, json = [], JsonLogger(JsonLoggerConfig("json"))

    class Here(MemoryLogger):
        def write(self, state):
            threads.append(threading.current_thread())
            super().write(state)

    memory = Here(BaseLoggerConfig("memory", write_every_n_steps=2))
    for backend in (memory, json):
        backend.initialize(RunContext(tmp_path))
    for step in (1, 2, 3):
        model.log_scalar("loss", float(step))
        model.write([memory, json], State(num_steps=step))

    assert [entry.step for entry in memory.entries] == [1, 3]
    assert threads == [threading.current_thread()] * 2
    assert len((tmp_path / "json" / "log.jsonl").read_text().splitlines()) == 3


def test_a_component_writes_to_a_group(tmp_path, model):
    memory = MemoryLogger(BaseLoggerConfig("memory"))
    with LoggerGroup([memory], RunContext(tmp_path)) as group:
        model.log_scalar("loss", 1.0)
        model.write(group, State(num_steps=1))

    assert len(memory.entries) == 1


def test_a_logger_that_was_not_initialized_is_refused(model):
    with pytest.raises(ConfigError, match="was not initialized"):
        model.write([MemoryLogger(BaseLoggerConfig("memory"))], State())

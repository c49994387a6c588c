"""The contract: one suite of tests that every backend passes, this package's and a third party's.

A test class inherits it, and gives a fixture that says how to make a backend
that takes scalars, and how to read back what it wrote::

    def read_tsv(logger, directory):
        with open(directory / logger.id / "log.tsv", newline="") as file:
            rows = list(csv.reader(file, "excel-tab"))
        return [(phase, int(step), namespace, key, float(value)) for phase, step, namespace, key, value in rows]


    class TestTsvLogger(LoggerContract):
        @pytest.fixture
        def backend(self):
            return Backend("tsv", make=lambda: TsvLogger(BaseLoggerConfig("tsv")), read=read_tsv)

What the interface leaves open is not tested: which of the kinds a backend takes,
how often it writes by default, and where its files lie.
"""

import math
import sys
from itertools import count
from pathlib import Path

import pytest

from ml.core.state import State
from ml.loggers.base import AnyLogger
from ml.loggers.group import LoggerGroup
from ml.loggers.kinds import KINDS, STRING
from ml.loggers.multi import MultiLogger
from ml.testing.disk import FaultyDisk
from ml.testing.fakes import FakeClock
from ml.testing.hostile import ALIKE, HALF_SURROGATE, NAMES, NUMBERS, SCALARS, TEXTS
from ml.testing.runs import (
    Backend,
    Written,
    assert_all_written,
    context_of,
    files_in,
    group_of,
    logged_every_kind,
    make,
    process_state,
    write_in_place,
)

__all__ = ["Backend", "LoggerContract", "Written"]


class LoggerContract:
    """What every backend keeps. A subclass gives the fixture ``backend``."""

    @pytest.fixture
    def backend(self) -> Backend:
        """The backend under test."""
        raise NotImplementedError("A subclass of LoggerContract gives the fixture 'backend', see Backend.")

    @pytest.fixture
    def logger(self, backend: Backend) -> AnyLogger:
        """A backend that writes every step, not yet initialized."""
        return make(backend)

    # the life of a backend

    def test_a_run_without_values_leaves_none(self, backend: Backend, logger: AnyLogger, tmp_path: Path) -> None:
        with group_of(tmp_path, logger) as logs:
            logs.write([MultiLogger("model")], State(num_steps=1))

        assert backend.read(logger, tmp_path) == []

    def test_what_was_flushed_can_be_read(self, backend: Backend, logger: AnyLogger, tmp_path: Path) -> None:
        component = MultiLogger("model")
        with group_of(tmp_path, logger) as logs:
            component.log_scalar("loss", 0.25)
            logs.write([component], State(num_steps=1))

            assert logs.flush(30.0)
            assert backend.read(logger, tmp_path) == [("train", 1, "model", "loss", 0.25)]

    def test_closing_twice_is_closing_once(self, backend: Backend, logger: AnyLogger, tmp_path: Path) -> None:
        component = MultiLogger("model")
        logs = group_of(tmp_path, logger)
        component.log_scalar("loss", 0.25)
        logs.write([component], State(num_steps=1))

        assert logs.close() == logs.close()
        assert backend.read(logger, tmp_path) == [("train", 1, "model", "loss", 0.25)]

    def test_a_resumed_run_goes_on_and_loses_nothing(self, backend: Backend, tmp_path: Path) -> None:
        component = MultiLogger("model")
        loggers = [make(backend) for _ in range(3)]
        for attempt, logger in enumerate(loggers, start=1):
            with group_of(tmp_path, logger, attempt=attempt) as logs:
                component.log_scalar("loss", attempt / 8)
                logs.write([component], State(num_steps=attempt))

        # All together, since what a backend keeps in memory alone is that of its own attempt.
        written = {value for logger in loggers for value in backend.read(logger, tmp_path)}
        assert sorted(written) == [("train", step, "model", "loss", step / 8) for step in (1, 2, 3)]

    def test_opening_changes_no_file_of_an_earlier_attempt(self, backend: Backend, tmp_path: Path) -> None:
        logger = make(backend)
        with group_of(tmp_path, logger) as logs:
            logs.write([logged_every_kind(logger)], State(num_steps=5))
        before = {path: path.read_bytes() for path in files_in(tmp_path)}

        with group_of(tmp_path, make(backend), attempt=2) as logs:
            logs.write([MultiLogger("model")], State(num_steps=5))

        assert {path: path.read_bytes() for path in before if path.exists()} == before

    def test_two_of_one_type_do_not_mix(self, backend: Backend, tmp_path: Path) -> None:
        first, second = make(backend), make(backend)
        first.config.id, second.config.id = "first", "second"
        second.config.exclude = ["model/loss"]
        component = MultiLogger("model")
        with group_of(tmp_path, first, second) as logs:
            component.log_scalar("loss", 0.25)
            component.log_scalar("accuracy", 0.5)
            logs.write([component], State(num_steps=1))

        assert {key for *_, key, _ in backend.read(first, tmp_path)} == {"loss", "accuracy"}
        assert {key for *_, key, _ in backend.read(second, tmp_path)} == {"accuracy"}

    def test_asking_whether_it_wants_to_write_changes_nothing(self, backend: Backend, tmp_path: Path) -> None:
        logger, clock = backend.make(), FakeClock()
        logger.initialize(context_of(tmp_path, clock=clock))
        for step in (1, 2, 3):
            state = State(num_steps=step, elapsed_time_s=clock())
            answers = {logger.should_write(state) for _ in range(3)}
            clock.advance(0.5)

            assert len(answers) == 1
        logger.close()

    def test_the_configuration_is_taken_and_is_no_value(
        self, backend: Backend, logger: AnyLogger, tmp_path: Path
    ) -> None:
        component = MultiLogger("model")
        with group_of(tmp_path, logger) as logs:
            logs.log_config({"lr": 0.1, "data": {"path": "Grüße", "none": None, "list": [1, "a"]}, "api_key": "canary"})
            component.log_scalar("loss", 0.25)
            logs.write([component], State(num_steps=1))

        assert backend.read(logger, tmp_path) == [("train", 1, "model", "loss", 0.25)]
        assert not any(b"canary" in path.read_bytes() for path in files_in(tmp_path))

    # which values, and of which step

    def test_a_value_keeps_the_step_it_was_logged_at(self, backend: Backend, logger: AnyLogger, tmp_path: Path) -> None:
        component = MultiLogger("model")
        with group_of(tmp_path, logger) as logs:
            component.log_scalar("loss", 0.25)
            logs.write([component], State(num_steps=3))
            logs.write([component], State(num_steps=9), force=True)

        assert backend.read(logger, tmp_path) == [("train", 3, "model", "loss", 0.25)]

    def test_a_window_keeps_every_key_at_its_own_step(self, backend: Backend, tmp_path: Path) -> None:
        logger, clock, component = backend.make(), FakeClock(), MultiLogger("model")
        logger.config.write_every_n_seconds = 60.0
        with group_of(tmp_path, logger, clock=clock) as logs:
            for step in range(1, 5):
                component.log_scalar("loss", step / 8)
                if step == 2:
                    component.log_scalar("rare", 0.75)
                clock.advance(20.0)
                logs.write([component], State(num_steps=step))

        written = backend.read(logger, tmp_path)
        assert [(step, value) for _, step, _, key, value in written if key == "loss"] == [(1, 0.125), (4, 0.5)]
        shown_at = 2 if backend.exact else 4
        assert [(step, value) for _, step, _, key, value in written if key == "rare"] == [(shown_at, 0.75)]

    def test_a_pass_is_one_mean_at_the_training_step(self, backend: Backend, logger: AnyLogger, tmp_path: Path) -> None:
        component = MultiLogger("model")
        with group_of(tmp_path, logger) as logs:
            component.log_scalar("loss", 0.5)
            logs.write([component], State(num_steps=7))
            for number, (loss, weight) in enumerate([(1.0, 3), (2.0, 1)], start=1):
                component.log_scalar("loss", loss, weight=weight)
                logs.write([component], State(phase="valid", num_steps=7, num_valid_steps=number))

        assert sorted(backend.read(logger, tmp_path)) == [
            ("train", 7, "model", "loss", 0.5),
            ("valid", 7, "model", "loss", 1.25),
        ]

    def test_every_kind_that_it_takes_is_written(self, backend: Backend, logger: AnyLogger, tmp_path: Path) -> None:
        with group_of(tmp_path, logger) as logs:
            for step in (1, 2):
                logs.write([logged_every_kind(logger)], State(num_steps=step), force=True)

        assert_all_written(logs.close()[logger.id], 2 * len(logger.kinds))
        places = {place[:4] for place in backend.read(logger, tmp_path)}
        assert places == {("train", step, "model", f"a_{kind}") for step in (1, 2) for kind in logger.kinds}

    def test_a_kind_that_it_does_not_take_is_never_computed(self, logger: AnyLogger, tmp_path: Path) -> None:
        others = [kind for kind in KINDS if kind not in logger.kinds]
        component = MultiLogger("model")
        computed = []
        with group_of(tmp_path, logger) as logs:
            for kind in others:
                getattr(component, kind.method)("key", lambda: computed.append(1))
            logs.write([component], State(num_steps=1))
            stats = logs.stats()[logger.id]

        assert not computed
        assert stats.skipped.get("unsupported", 0) == len(others)
        assert stats.accepted == 0

    def test_only_what_is_included_is_written(self, backend: Backend, logger: AnyLogger, tmp_path: Path) -> None:
        logger.config.include, logger.config.exclude = ["model/*", "*/kept"], ["*/grad_*"]
        model, task = MultiLogger("model"), MultiLogger("task")
        computed = []
        with group_of(tmp_path, logger) as logs:
            for component in (model, task):
                component.log_scalar("kept", 0.5)
                component.log_scalar("grad_norm", lambda: computed.append(1))
            task.log_scalar("left_out", lambda: computed.append(1))
            logs.write([model, task], State(num_steps=1))
            stats = logs.stats()[logger.id]

        assert sorted(backend.read(logger, tmp_path)) == [
            ("train", 1, "model", "kept", 0.5),
            ("train", 1, "task", "kept", 0.5),
        ]
        assert not computed
        assert stats.skipped == {"excluded": 3}

    # any value, any name

    @pytest.mark.parametrize("number", NUMBERS)
    def test_a_number_is_kept(self, backend: Backend, logger: AnyLogger, tmp_path: Path, number: float) -> None:
        component = MultiLogger("model")
        with group_of(tmp_path, logger) as logs:
            component.log_scalar("number", number)
            component.log_scalar("neighbour", 0.5)
            logs.write([component], State(num_steps=1))

        assert_all_written(logs.close()[logger.id], 2)
        kept = {key: value for *_, key, value in backend.read(logger, tmp_path)}
        assert kept["neighbour"] == 0.5
        shown = kept["number"]
        assert isinstance(shown, int | float)
        if backend.exact or not math.isfinite(number):
            assert shown == number or (math.isnan(shown) and math.isnan(number))
        else:
            assert shown == pytest.approx(number, rel=0.01)

    @pytest.mark.parametrize("name", SCALARS)
    def test_a_number_of_another_type_is_kept_as_a_plain_one(
        self, backend: Backend, logger: AnyLogger, tmp_path: Path, name: str
    ) -> None:
        number, plain = SCALARS[name]
        component = MultiLogger("model")
        with group_of(tmp_path, logger) as logs:
            component.log_scalar("number", number)
            component.log_scalar("computed", lambda: number)
            logs.write([component], State(num_steps=1))

        assert_all_written(logs.close()[logger.id], 2)
        kept = sorted(backend.read(logger, tmp_path))
        assert kept == [("train", 1, "model", "computed", plain), ("train", 1, "model", "number", plain)]
        assert {type(value) for *_, value in kept} <= {int, float}

    @pytest.mark.parametrize("step", [2**70, -(2**70)])
    def test_a_state_that_no_file_can_hold_costs_no_value(
        self, backend: Backend, logger: AnyLogger, tmp_path: Path, step: int
    ) -> None:
        odd = State(num_steps=step, num_epochs=step, num_samples=step, elapsed_time_s=math.inf, time_s=math.nan)
        component = MultiLogger("model")
        with LoggerGroup([logger], context_of(tmp_path), close_timeout_s=60.0) as logs:
            for state in (odd, State(num_steps=3)):
                component.log_scalar("loss", 0.25)
                logs.write([component], state, force=True)

        assert_all_written(logs.close()[logger.id], 2)
        kept = backend.read(logger, tmp_path)
        largest = 2**63 - 1 if step > 0 else 1 - 2**63
        assert sorted(kept) == sorted(("train", number, "model", "loss", 0.25) for number in (largest, 3))

    def test_an_integer_beyond_every_float_costs_its_neighbours_nothing(
        self, backend: Backend, logger: AnyLogger, tmp_path: Path
    ) -> None:
        component = MultiLogger("model")
        with group_of(tmp_path, logger) as logs:
            component.log_scalar("huge", 10**300)
            component.log_scalar("neighbour", 0.5)
            logs.write([component], State(num_steps=1))

        assert_all_written(logs.close()[logger.id], 2)
        assert ("train", 1, "model", "neighbour", 0.5) in backend.read(logger, tmp_path)

    @pytest.mark.parametrize("name", TEXTS)
    def test_a_text_is_kept(self, backend: Backend, logger: AnyLogger, tmp_path: Path, name: str) -> None:
        assert self._texts_of(backend, logger, tmp_path, [TEXTS[name]]) == [TEXTS[name]]

    def test_half_a_surrogate_pair_costs_no_text(self, backend: Backend, logger: AnyLogger, tmp_path: Path) -> None:
        kept = self._texts_of(backend, logger, tmp_path, [HALF_SURROGATE, "neighbour"])

        assert len(kept) == 2
        assert kept[0][:5] == HALF_SURROGATE[:5]
        assert kept[1] == "neighbour"

    def test_every_text_of_a_step_is_kept_in_order(self, backend: Backend, logger: AnyLogger, tmp_path: Path) -> None:
        assert self._texts_of(backend, logger, tmp_path, ["b", "a", "b"]) == ["b", "a", "b"]

    def _texts_of(self, backend: Backend, logger: AnyLogger, tmp_path: Path, texts: list[str]) -> list[str]:
        if STRING not in logger.kinds:
            pytest.skip(f"{backend.name} takes no texts")
        component = MultiLogger("model")
        with group_of(tmp_path, logger) as logs:
            for text in texts:
                component.log_string("text", text)
            logs.write([component], State(num_steps=1))

        assert_all_written(logs.close()[logger.id], len(texts))
        return [str(value) for *_, value in backend.read(logger, tmp_path)]

    @pytest.mark.parametrize("name", NAMES)
    def test_a_hostile_name_costs_nothing_and_stays_in_its_place(
        self, backend: Backend, logger: AnyLogger, tmp_path: Path, name: str
    ) -> None:
        run = tmp_path / "deep" / "in" / "here" / "run"
        hostile = NAMES[name]
        with group_of(run, logger) as logs:
            for step, namespace in enumerate([hostile.replace("/", "."), "model"], start=1):
                component = MultiLogger(namespace)
                for kind in logger.kinds:
                    getattr(component, kind.method)(hostile, kind.example)
                logs.write([component], State(num_steps=step), force=True)
            neighbour = MultiLogger("model")
            neighbour.log_scalar("loss", 0.25)
            logs.write([neighbour], State(num_steps=3))

        assert_all_written(logs.close()[logger.id], 2 * len(logger.kinds) + 1)
        assert ("train", 3, "model", "loss", 0.25) in backend.read(logger, run)
        assert all(path.is_relative_to(run) for path in files_in(tmp_path))

    @pytest.mark.parametrize("name", [name for name in NAMES if name != "half a surrogate pair"])
    def test_a_hostile_name_is_kept(self, backend: Backend, logger: AnyLogger, tmp_path: Path, name: str) -> None:
        if not backend.exact:
            pytest.skip(f"{backend.name} may show names differently")
        hostile = NAMES[name]
        namespace = hostile.replace("/", ".")
        component = MultiLogger(namespace)
        with group_of(tmp_path, logger) as logs:
            component.log_scalar(hostile, 0.25)
            component.log_scalar("loss", 0.5)
            logs.write([component], State(num_steps=1))

        assert sorted(backend.read(logger, tmp_path)) == sorted(
            [("train", 1, namespace, hostile, 0.25), ("train", 1, namespace, "loss", 0.5)]
        )

    @pytest.mark.parametrize("names", ALIKE, ids=lambda names: names[0][:10])
    def test_names_that_are_alike_are_two_series(
        self, backend: Backend, logger: AnyLogger, tmp_path: Path, names: tuple[str, str]
    ) -> None:
        if not backend.exact:
            pytest.skip(f"{backend.name} may show names differently")
        component = MultiLogger("model")
        with group_of(tmp_path, logger) as logs:
            for number, key in enumerate(names):
                component.log_scalar(key, number)
            logs.write([component], State(num_steps=1))

        assert sorted(backend.read(logger, tmp_path)) == sorted(
            ("train", 1, "model", key, number) for number, key in enumerate(names)
        )

    # failures

    def test_what_a_full_disk_refused_is_written_once_when_there_is_room(
        self, backend: Backend, logger: AnyLogger, tmp_path: Path
    ) -> None:
        self._assert_each_once(backend, logger, tmp_path, FaultyDisk(range(1, 10**9)))

    def test_a_write_that_fails_at_any_point_is_repeated_and_nothing_is_doubled(
        self, backend: Backend, tmp_path: Path
    ) -> None:
        for call in count(1):
            # The first failure leaves several states, of two phases, to the write in which the other one comes.
            failing = {1, call}
            disk = FaultyDisk(failing, calls=("open", "write", "rename", "make_directory"))  # where a full one refuses
            self._assert_each_once(backend, make(backend), tmp_path / str(call), disk)
            if disk.failures < len(failing):
                break

    def _assert_each_once(self, backend: Backend, logger: AnyLogger, directory: Path, disk: FaultyDisk) -> None:
        states = [State(num_steps=1), State("valid", num_steps=1), State(num_steps=2), State(num_steps=3)]
        logger.initialize(context_of(directory))
        logs = LoggerGroup.in_place([logger])
        with disk:
            for state in states[:-1]:
                logs.write([logged_every_kind(logger)], state, force=True)
        logs.write([logged_every_kind(logger)], states[-1], force=True)

        assert_all_written(logs.close()[logger.id], len(states) * len(logger.kinds))
        written = [(phase, step, key) for phase, step, _, key, _ in backend.read(logger, directory)]
        if backend.exact:
            expected = [(state.phase, state.num_steps, f"a_{kind}") for state in states for kind in logger.kinds]
            assert sorted(written) == sorted(expected)
        for kind in logger.kinds:  # of several steps, a terminal shows the last number, and every text
            times = [key for *_, key in written].count(f"a_{kind}")
            assert (1 if kind.limited else len(states)) <= times <= len(states)

    # the process that it runs in

    def test_it_starts_no_thread(self, logger: AnyLogger, tmp_path: Path) -> None:
        before = set(sys._current_frames())
        write_in_place(logger, tmp_path)

        assert set(sys._current_frames()) <= before

    def test_it_draws_no_random_number_and_leaves_torch_as_it_was(self, logger: AnyLogger, tmp_path: Path) -> None:
        before = process_state()
        write_in_place(logger, tmp_path)

        assert process_state() == before

    def test_it_needs_no_torch_for_plain_values(
        self, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "torch", None)  # importing it raises
        logger = make(backend)
        component = MultiLogger("model")
        with group_of(tmp_path, logger) as logs:
            for kind in logger.kinds:
                if not kind.droppable:
                    getattr(component, kind.method)(f"a_{kind}", kind.example)
            logs.write([component], State(num_steps=1))

        assert_all_written(logs.close()[logger.id], sum(not kind.droppable for kind in logger.kinds))

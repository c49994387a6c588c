"""The contract can fail: a backend that breaks a promise does not pass."""

import ast
import random
import threading
from contextlib import suppress

import pytest
import torch

from ml.io.files import AppendFile
from ml.loggers.base import BaseLogger, BaseLoggerConfig
from ml.testing.contract import Backend, LoggerContract
from ml.testing.runs import make


class LinesLogger(BaseLogger[BaseLoggerConfig]):
    """Appends scalars and strings to ``log``, a line each. Keeps the contract."""

    def initialize(self, context):
        super().initialize(context)
        self.path = self.log_directory / "log"
        self.file, self.rows = AppendFile(self.path), []

    def log_scalar(self, key, value, state, namespace):
        number = value()
        number = str(number) if number != number or number in (float("inf"), -float("inf")) else number
        self.rows.append((state.phase, state.num_steps, namespace, key, "number", number))

    def log_string(self, key, value, state, namespace):
        self.rows.append((state.phase, state.num_steps, namespace, key, "text", value()))

    def write(self, state):
        rows, self.rows = self.rows, []
        self.file.append("".join(f"{row!a}\n" for row in rows).encode())

    def flush(self):
        self.file.sync()

    def close(self):
        self.file.close()


def read_lines(logger, directory):
    rows = [ast.literal_eval(line) for line in (directory / logger.id / "log").read_text().splitlines()]
    return [(*place, float(value) if kind == "number" else value) for *place, kind, value in rows]


class Deleting(LinesLogger):
    def initialize(self, context):
        (context.directory / self.id / "log").unlink(missing_ok=True)
        super().initialize(context)


class Doubling(LinesLogger):
    def write(self, state):
        rows, self.rows = self.rows, []
        for row in rows:
            self.file.append(f"{row!a}\n".encode())


class Losing(LinesLogger):
    def write(self, state):
        with suppress(Exception):
            super().write(state)


class Mislabelling(LinesLogger):
    def write(self, state):
        self.rows = [(row[0], state.num_steps, *row[2:]) for row in self.rows]
        super().write(state)


class Merging(LinesLogger):
    def log_scalar(self, key, value, state, namespace):
        super().log_scalar(key.lower(), value, state, namespace)


class OneText(LinesLogger):
    def write(self, state):
        self.rows = list({row[:4]: row for row in self.rows}.values())
        super().write(state)


class KeyAsPath(LinesLogger):
    def log_scalar(self, key, value, state, namespace):
        super().log_scalar(key, value, state, namespace)
        with suppress(OSError, ValueError):
            (self.log_directory / key).write_text(str(value()))


class Drawing(LinesLogger):
    def write(self, state):
        random.random()
        super().write(state)


class Setting(LinesLogger):
    def initialize(self, context):
        torch.set_num_threads(torch.get_num_threads() + 1)
        super().initialize(context)


class Threaded(LinesLogger):
    def initialize(self, context):
        super().initialize(context)
        self.stopped = threading.Event()
        threading.Thread(target=self.stopped.wait, daemon=True).start()

    def __del__(self):
        self.stopped.set()


class NeedsTorch(LinesLogger):
    def initialize(self, context):
        import torch  # noqa: F401

        super().initialize(context)


class Asking(LinesLogger):
    def should_write(self, state):
        self.asked = getattr(self, "asked", 0) + 1
        return self.asked % 2 == 0


class SharedFile(LinesLogger):
    def initialize(self, context):
        super().initialize(context)
        (context.directory / "log").touch()
        self.file = AppendFile(context.directory / "log")


def read_shared(logger, directory):
    rows = [ast.literal_eval(line) for line in (directory / "log").read_text().splitlines()]
    return [(*place, value) for *place, _, value in rows]


PROMISES = [
    (Deleting, "test_a_resumed_run_goes_on_and_loses_nothing"),
    (Deleting, "test_opening_changes_no_file_of_an_earlier_attempt"),
    (Doubling, "test_a_write_that_fails_at_any_point_is_repeated_and_nothing_is_doubled"),
    (Losing, "test_what_a_full_disk_refused_is_written_once_when_there_is_room"),
    (Mislabelling, "test_a_window_keeps_every_key_at_its_own_step"),
    (Merging, "test_names_that_are_alike_are_two_series"),
    (OneText, "test_every_text_of_a_step_is_kept_in_order"),
    (KeyAsPath, "test_a_hostile_name_costs_nothing_and_stays_in_its_place"),
    (Drawing, "test_it_draws_no_random_number_and_leaves_torch_as_it_was"),
    (Setting, "test_it_draws_no_random_number_and_leaves_torch_as_it_was"),
    (Threaded, "test_it_starts_no_thread"),
    (NeedsTorch, "test_it_needs_no_torch_for_plain_values"),
    (Asking, "test_asking_whether_it_wants_to_write_changes_nothing"),
    (SharedFile, "test_two_of_one_type_do_not_mix"),
]


@pytest.fixture(autouse=True)
def _the_same_number_of_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class TestLinesLogger(LoggerContract):
    """What the broken ones are made of is not broken."""

    @pytest.fixture
    def backend(self):
        return Backend("lines", lambda: LinesLogger(BaseLoggerConfig("lines")), read_lines)


@pytest.mark.parametrize(("broken", "promise"), PROMISES, ids=lambda part: getattr(part, "__name__", part))
def test_a_broken_promise_is_found(broken, promise, tmp_path, monkeypatch):
    read = read_shared if broken is SharedFile else read_lines
    backend = Backend("broken", lambda: broken(BaseLoggerConfig("broken")), read)
    offered = {
        "backend": backend,
        "logger": make(backend),
        "tmp_path": tmp_path,
        "monkeypatch": monkeypatch,
        "name": "parent",
        "names": ("loss", "Loss"),
    }
    test = getattr(LoggerContract, promise)
    wanted = test.__code__.co_varnames[1 : test.__code__.co_argcount]

    with pytest.raises((AssertionError, ImportError)):
        test(LoggerContract(), *(offered[name] for name in wanted))

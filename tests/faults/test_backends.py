"""Backends that fail, block or find no room: training goes on, the others are complete, the count is exact."""

import errno
import json
import shutil
import subprocess

import pytest

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers import BaseLoggerConfig, LoggerGroup, MultiLogger
from ml.loggers.memory import MemoryLogger
from ml.testing import BlockingLogger, FailingLogger, FakeClock, RaisingLogger

LIMIT_S = 20.0


def every_step(name: str, **settings) -> BaseLoggerConfig:
    return BaseLoggerConfig(name, write_every_n_seconds=0, **settings)


def adds_up(stats) -> bool:
    return stats.accepted == stats.written + sum(stats.dropped.values()) + sum(stats.failed.values()) + stats.pending


def _mounter() -> tuple[str, ...] | None:
    """Returns the command before which ``mount`` works: none as root, a user namespace elsewhere."""
    if shutil.which("unshare") is None:
        return None
    for flags in ("-m", "-Urm"):
        command = ("unshare", flags)
        tried = subprocess.run(
            [*command, "mount", "-t", "tmpfs", "-o", "size=1m", "none", "/mnt"], capture_output=True, check=False
        )
        if tried.returncode == 0:
            return command
    return None


@pytest.fixture(scope="module")
def mounter() -> tuple[str, ...]:
    found = _mounter()
    if found is None:
        pytest.skip("a small file system cannot be mounted here")
    return found


def test_beside_a_backend_that_raises_one_that_blocks_and_one_on_a_full_disk_training_finishes(
    run_script, read_json, mounter
):
    done = run_script(
        """
        import dataclasses, subprocess
        from ml.testing import RaisingLogger

        (directory / "small").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(directory / "small")], check=True)
        (directory / "small" / "ballast").write_bytes(bytes(900 * 1024))

        blocking = Blocking(threading.Event().wait)
        small = JsonLogger(JsonLoggerConfig("small", write_every_n_seconds=0))
        raising = RaisingLogger(BaseLoggerConfig("raising", write_every_n_seconds=0))
        logs = LoggerGroup([raising, blocking, small, json_logger()], RunContext(directory), close_timeout_s=10)
        model = MultiLogger("model")
        logs.log_config({"steps": 200})
        for step in range(1, 201):
            model.log_scalar("loss", step / 8)
            model.log_string("text", str(step) + "x" * 2000)
            logs.write([model], State(num_steps=step), force=True)

        full = logs.flush(0.5)
        while not logs.stats()["json"].written == 400:
            assert not logs.flush(0.1)
        written_while_full = logs.stats()["small"].written
        (directory / "small" / "ballast").unlink()
        blocking.wait = lambda: None
        again = logs.flush(0.5)
        while (caught_up := logs.stats()["small"].written) < 400:
            assert not logs.flush(0.5)
        stats = {name: dataclasses.asdict(counted) for name, counted in logs.close(1.0).items()}
        (directory / "saved").write_bytes((directory / "small" / "log.jsonl").read_bytes())
        print(json.dumps([full, written_while_full, again, caught_up, stats]))
        """,
        command=mounter,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    full, written_while_full, again, caught_up, stats = json.loads(done.stdout)
    assert [full, again] == [False, False], "one backend blocks"
    assert 0 < written_while_full < 400
    assert caught_up == 400
    expected = [(step, {"model/loss": step / 8}, {"model/text": [f"{step}{'x' * 2000}"]}) for step in range(1, 201)]
    assert [(line["step"], line["scalars"], line["strings"]) for line in read_json()] == expected
    saved = [json.loads(line) for line in (read_json.directory / "saved").read_text().splitlines()]
    assert [(line["step"], line["scalars"], line["strings"]) for line in saved] == expected
    assert stats["raising"]["failed"] == {"write": 200}
    assert stats["raising"]["skipped"] == {"unsupported": 200}
    assert stats["blocking"]["dropped"] == {"deadline": 400}
    for name, counted in stats.items():
        total = counted["written"] + sum(counted["dropped"].values()) + sum(counted["failed"].values())
        assert counted["accepted"] == total, name
        assert counted["pending"] == 0
    assert "No space left" in done.stderr


def test_a_pipe_that_nobody_reads_holds_up_neither_training_nor_the_exit(run_script, read_json):
    done = run_script(
        """
        class Pipe(MemoryLogger):
            def write(self, state):
                for entry in self._rows:
                    os.write(writer, entry.value.encode())
                self._rows = []
        reader, writer = os.pipe()
        pipe = Pipe(BaseLoggerConfig("pipe", write_every_n_seconds=0))
        logs = LoggerGroup([pipe, json_logger()], RunContext(directory), close_timeout_s=0.3)
        model = MultiLogger("model")
        for step in range(1, 101):
            model.log_string("text", "x" * 10_000)
            logs.write([model], State(num_steps=step))
        stats = logs.close()["pipe"]
        assert stats.accepted == 100 == stats.written + stats.dropped["deadline"], stats
        """
    )

    assert done.returncode == 0, done.stderr
    assert [line["step"] for line in read_json()] == list(range(1, 101))


def test_a_backend_that_raises_in_every_method_costs_its_own_values_only(tmp_path):
    memory, model = MemoryLogger(every_step("memory")), MultiLogger("model")
    with LoggerGroup([RaisingLogger(every_step("raising")), memory], RunContext(tmp_path)) as logs:
        logs.log_config({"rate": 1.0})
        for step in (1, 2):
            model.log_scalar("loss", step)
            logs.write([model], State(num_steps=step), force=True)
        assert logs.flush(LIMIT_S) is False

    assert [entry.value for entry in memory.entries] == [1, 2]
    assert logs.stats()["raising"].failed == {"write": 2}
    assert adds_up(logs.stats()["raising"])


def test_a_backend_that_blocks_for_ever_holds_no_more_than_its_queue(tmp_path):
    blocking = BlockingLogger(every_step("blocking", max_queue_bytes=10_000))
    memory, model = MemoryLogger(every_step("memory")), MultiLogger("model")
    logs = LoggerGroup([blocking, memory], RunContext(tmp_path))
    for step in range(1, 501):
        model.log_scalar("loss", step)
        model.log_string("text", "x" * 100)
        logs.write([model], State(num_steps=step))
        assert logs._deliveries[0]._queue.queued_bytes <= 10_000
    blocking.gate.wait_for_arrival()
    stuck = logs.stats()["blocking"]
    blocking.gate.open()
    stats = logs.close(LIMIT_S)

    assert adds_up(stuck)
    assert stuck.dropped["queue_full"] > 900
    assert stats["blocking"].dropped == stuck.dropped
    assert stats["blocking"].written == 1000 - stuck.dropped["queue_full"]
    assert blocking.entries[-1].step == 500, "the oldest go first"
    assert [entry.value for entry in memory.entries if entry.key == "loss"] == list(range(1, 501))


def test_media_go_before_scalars_when_a_queue_is_full(tmp_path):
    np = pytest.importorskip("numpy")
    blocking, model = BlockingLogger(every_step("blocking", max_queue_bytes=10_000)), MultiLogger("model")
    logs = LoggerGroup([blocking], RunContext(tmp_path))
    model.log_scalar("loss", 0)
    logs.write([model], State(num_steps=0))
    blocking.gate.wait_for_arrival()
    for step in range(1, 11):
        model.log_scalar("loss", step)
        model.log_image("image", np.zeros((3, 30, 30), np.uint8))
        logs.write([model], State(num_steps=step), force=True)
    blocking.gate.open()
    stats = logs.close(LIMIT_S)["blocking"]

    assert adds_up(stats)
    assert [entry.step for entry in blocking.entries if entry.key == "loss"] == list(range(11))
    kept = [entry.step for entry in blocking.entries if entry.key == "image"]
    assert kept == list(range(11 - len(kept), 11)), "the youngest"
    assert stats.dropped == {"queue_full": 10 - len(kept)}
    assert 0 < len(kept) < 10


def test_a_disk_that_was_full_gets_everything_once_when_it_has_room_again(tmp_path):
    failing, model = FailingLogger(every_step("failing")), MultiLogger("model")
    with LoggerGroup([failing], RunContext(tmp_path, clock=FakeClock())) as logs:
        for step in (1, 2, 3):
            model.log_scalar("loss", step)
            logs.write([model], State(num_steps=step))
        assert logs.flush(0.1) is False
        assert failing.entries == []
        assert logs.stats()["failing"].pending == 3
        failing.error = None
        assert logs.flush(LIMIT_S) is True

        assert [entry.value for entry in failing.entries] == [1, 2, 3]
        assert logs.stats()["failing"].written == 3


def test_a_disk_that_stays_full_costs_its_values_at_the_close_deadline(tmp_path, caplog):
    failing, model = FailingLogger(every_step("failing"), OSError(errno.EIO, "gone")), MultiLogger("model")
    logs = LoggerGroup([failing], RunContext(tmp_path))
    model.log_scalar("loss", 1.0)
    logs.write([model], State(num_steps=1))
    stats = logs.close(0.1)["failing"]

    assert stats.dropped == {"deadline": 1}
    assert adds_up(stats)
    assert "'failing' did not write 1 values" in caplog.text


@pytest.mark.parametrize("error", [None, ValueError("broken"), OSError("not now")], ids=repr)
def test_a_late_answer_after_the_deadline_changes_no_count(tmp_path, error):
    class Late(BlockingLogger):
        def write(self, state: State) -> None:
            super().write(state)
            if error is not None:
                raise error

    blocking, model = Late(every_step("blocking")), MultiLogger("model")
    logs = LoggerGroup([blocking], RunContext(tmp_path))
    model.log_scalar("loss", 1.0)
    logs.write([model], State(num_steps=1))
    blocking.gate.wait_for_arrival()
    stats = logs.close(0.0)
    blocking.gate.open()
    logs._deliveries[0]._queue._thread.join(LIMIT_S)

    assert blocking.entries != []
    assert logs.close() == logs.stats() == stats
    assert stats["blocking"].dropped == {"deadline": 1}

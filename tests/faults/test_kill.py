"""The process is gone from one moment to the next: what ``flush`` acknowledged is on the disk, once."""

import random
import signal

import pytest

from tests.faults.killing import READERS, kill_trainers


@pytest.mark.parametrize("backend", READERS)
def test_a_kill_at_any_moment_loses_and_doubles_nothing_that_flush_acknowledged(tmp_path, backend):
    """Nor anything that was counted as written; and every file opens."""
    figures = kill_trainers(tmp_path, backend, 40, seed=1, longest_s=0.25)

    assert figures.kills == 40
    assert figures.acknowledged > 40


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("backend", READERS)
def test_of_2000_kills_none_loses_more_than_windows_hold_and_the_last_200_ms(tmp_path, backend):
    figures = kill_trainers(tmp_path, backend, 2000 // len(READERS) + 1, seed=7, longest_s=0.6)

    print(f"{backend}: {figures}")
    assert figures.late == 0


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("ctypes.string_at(0)", -signal.SIGSEGV),
        ("os.abort()", -signal.SIGABRT),
        ("os._exit(0)", 0),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    ],
)
def test_however_a_process_ends_at_once_what_flush_acknowledged_is_there(run_script, read_json, end, status):
    done = run_script(
        f"""
        import ctypes
        logs, model = LoggerGroup([json_logger()], RunContext(directory)), MultiLogger("model")
        for step in range(1, 101):
            model.log_scalar("loss", step)
            logs.write([model], State(num_steps=step))
        assert logs.flush()
        {end}
        """
    )

    assert done.returncode == status
    assert [line["step"] for line in read_json()] == list(range(1, 101))


def test_a_run_that_was_killed_goes_on_behind_what_it_wrote(run_script, read_json, tmp_path):
    log = tmp_path / "json" / "log.jsonl"
    script = """
        model = MultiLogger("model")
        logs = LoggerGroup([json_logger()], RunContext(directory, attempt=int(sys.argv[2])))
        for step in range(int(sys.argv[3]), int(sys.argv[4])):
            model.log_scalar("loss", step)
            logs.write([model], State(num_steps=step))
        assert logs.flush()
        os.kill(os.getpid(), signal.SIGKILL)
        """
    assert run_script(script, 1, 1, 11).returncode == -9
    before = log.read_bytes()
    torn = before[: -random.Random(1).randrange(2, 60)]
    log.write_bytes(torn)
    assert run_script(script, 2, 10, 15).returncode == -9

    assert log.read_bytes().startswith(before[: before[:-1].rindex(b"\n") + 1])
    assert [line["step"] for line in read_json()] == [*range(1, 10), *range(10, 15)]
    assert (tmp_path / "json" / "log.jsonl.torn-1").read_bytes() == torn[torn.rindex(b"\n") + 1 :]

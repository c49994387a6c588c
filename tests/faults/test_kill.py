"""SIGKILL at any moment: what ``flush`` acknowledged is on the disk, once."""

import json
import random
import re

KILLS = 20


def test_what_flush_acknowledged_before_a_kill_is_on_disk_once(run_script, tmp_path):
    done = run_script(
        """
        import random, struct
        def train(place, pipe):
            logs = LoggerGroup([json_logger()], RunContext(place))
            model, task = MultiLogger("model"), MultiLogger("task")
            step = 0
            while True:
                step += 1
                model.log_scalar("loss", step)
                task.log_string("note", "x" * (step * 37 % 5000))
                logs.write([model, task], State(num_steps=step))
                if step % 3 == 0 and logs.flush():
                    os.write(pipe, struct.pack("q", step))
        chance = random.Random(int(sys.argv[2]))
        for kill in range(int(sys.argv[3])):
            reader, writer = os.pipe()
            place = directory / str(kill)
            child = os.fork()
            if child == 0:
                train(place, writer)
            os.close(writer)
            acknowledged = 0
            for _ in range(chance.randrange(1, 12)):
                acknowledged, = struct.unpack("q", os.read(reader, 8))
            for _ in range(chance.randrange(20_000)):
                pass
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            while data := os.read(reader, 8):
                acknowledged, = struct.unpack("q", data)
            (place / "acknowledged").write_text(str(acknowledged))
        """,
        1,  # seed
        KILLS,
    )
    assert done.returncode == 0, done.stderr

    for kill in range(KILLS):
        acknowledged = int((tmp_path / str(kill) / "acknowledged").read_text())
        *lines, torn = (tmp_path / str(kill) / "json" / "log.jsonl").read_bytes().split(b"\n")
        steps = [json.loads(line)["step"] for line in lines]
        assert acknowledged >= 3
        assert steps == list(range(1, len(steps) + 1)), "each step once, in order"
        assert len(steps) >= acknowledged
        assert not torn or not re.fullmatch(rb"\{.*\}", torn)


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

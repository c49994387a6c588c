"""Processes that carry a copy of a logger away: after fork, spawn, pickle and deepcopy the copy is inert."""

import copy
import json
import pickle
import re

import pytest

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers import BaseLoggerConfig, LoggerGroup, MultiLogger
from ml.loggers.memory import MemoryLogger

DISCARDS = "forked, pickled or copied"


@pytest.mark.parametrize(
    "forks", [100, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])], ids="{} forks".format
)
def test_forks_under_4_logging_threads_neither_hang_nor_write_nor_lose(run_script, read_json, forks):
    done = run_script(
        """
        logs, model = LoggerGroup([json_logger()], RunContext(directory)), MultiLogger("model")
        room, stop, logged = threading.Event(), threading.Event(), [0] * 4
        sys.setswitchinterval(1e-4)

        def keep_logging(thread):
            while not stop.is_set():
                model.log_string("parent", f"{thread} {logged[thread]}")
                logged[thread] += 1
                if len(model) > 100:
                    room.clear()
                    room.wait(30)


        def child(number):
            signal.alarm(20)
            model.log_string("child", "never")
            model.log_scalar("child", lambda: 1 / 0)
            logs.write([model], State(num_steps=10**6), force=True)
            logs.flush(0.1)
            logs.stats()
            if number % 10:
                logs.close()
                os._exit(0)
            print("the child ends as a program does", file=sys.stderr)
            sys.exit(0)

        threads = [threading.Thread(target=keep_logging, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        statuses = []
        for number in range(int(sys.argv[2])):
            pid = os.fork()
            if pid == 0:
                child(number)
            logs.write([model], State(num_steps=number + 1))
            room.set()
            statuses.append(os.waitpid(pid, 0)[1])
        stop.set()
        room.set()
        for thread in threads:
            thread.join()
        logs.write([model], State(num_steps=1000))
        stats = logs.close()["json"]
        print(json.dumps([statuses, logged, stats.accepted, stats.written, stats.pending]))
        """,
        forks,
        limit_s=500,
    )

    assert done.returncode == 0, done.stderr[-2000:]
    statuses, logged, accepted, written, pending = json.loads(done.stdout)
    assert statuses == [0] * forks
    texts = [text for line in read_json() for text in line["strings"]["model/parent"]]
    assert len(texts) == len(set(texts)) == sum(logged) == accepted == written
    assert pending == 0
    assert all(set(line) >= {"strings"} and "scalars" not in line for line in read_json())
    assert done.stderr.count(DISCARDS) == forks, "one warning a child"


def test_a_fork_while_a_failure_is_being_reported_does_not_hang_the_child(run_script):
    """A backend's thread reports a failure to a handler that stands still; then the process forks."""
    done = run_script(
        """
        reporting, go_on = threading.Event(), threading.Event()

        class Slow(logging.Handler):
            def emit(self, record):
                reporting.set()
                go_on.wait(30)

        logging.getLogger("ml").addHandler(Slow())

        def fail():
            raise ValueError("broken")

        logs, model = LoggerGroup([Blocking(fail)], RunContext(directory)), MultiLogger("model")
        model.log_scalar("loss", 1.0)
        logs.write([model], State(num_steps=1))
        assert reporting.wait(30)
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            logs.write([model], State(num_steps=2))
            logs.flush(0.1)
            logs.close()
            os._exit(7)
        status = os.waitpid(pid, 0)[1]
        go_on.set()
        sys.exit(os.waitstatus_to_exitcode(status))
        """
    )

    assert done.returncode == 7, done.stderr


def test_a_failure_that_is_being_reported_does_not_hold_up_training(run_script):
    done = run_script(
        """
        reporting, go_on = threading.Event(), threading.Event()

        class Slow(logging.Handler):
            def emit(self, record):
                if threading.current_thread() is not threading.main_thread():
                    reporting.set()
                    assert go_on.wait(30)

        logging.getLogger("ml").addHandler(Slow())

        def fail():
            raise ValueError("broken")

        logs, model = LoggerGroup([Blocking(fail), json_logger()], RunContext(directory)), MultiLogger("model")
        signal.alarm(20)
        for step in range(1, 11):
            model.log_scalar("loss", step)
            logs.write([model], State(num_steps=step))
            assert reporting.wait(30)
        go_on.set()
        logs.close()
        """
    )

    assert done.returncode == 0, done.stderr


def test_a_worker_of_a_data_loader_that_logs_is_warned_once_and_training_goes_on(run_script, read_json):
    done = run_script(
        """
        import torch
        from torch.utils.data import DataLoader, Dataset

        class Numbers(Dataset):
            def __init__(self):
                self.logger = MultiLogger("data")
            def __len__(self):
                return 32
            def __getitem__(self, index):
                self.logger.log_scalar("index", index)
                return torch.tensor(index)

        data = Numbers()
        logs = LoggerGroup([json_logger()], RunContext(directory))
        step = 0
        for epoch in range(2):
            for batch in DataLoader(data, batch_size=8, num_workers=1, multiprocessing_context="fork"):
                step += 1
                data.logger.log_scalar("sum", batch.sum())
                logs.write([data.logger], State(num_steps=step))
        logs.close()
        """
    )

    assert done.returncode == 0, done.stderr
    assert [line["scalars"] for line in read_json()] == [
        {"data/sum": total} for total in 2 * [sum(range(start, start + 8)) for start in (0, 8, 16, 24)]
    ]
    assert done.stderr.count(DISCARDS) == 2, "one warning a worker"


def test_a_component_sent_to_a_spawned_process_discards_there(run_script):
    done = run_script(
        """
        import multiprocessing

        class Component:
            def __init__(self):
                self.logger = MultiLogger("component")

        def in_child(component):
            component.logger.log_scalar("loss", 1.0)
            component.logger.log_scalar("loss", 2.0)
            sys.exit(len(component.logger))

        if __name__ == "__main__":
            child = multiprocessing.get_context("spawn").Process(target=in_child, args=(Component(),))
            child.start()
            child.join()
            sys.exit(child.exitcode)
        """
    )

    assert done.returncode == 0, done.stderr
    assert len(re.findall(DISCARDS, done.stderr)) == 1


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda logger: pickle.loads(pickle.dumps(logger))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_copy_discards_with_one_warning_and_the_original_goes_on(tmp_path, caplog, copied):
    class Component:
        def __init__(self) -> None:
            self.logger = MultiLogger("model")

    memory, model = MemoryLogger(BaseLoggerConfig("memory")), Component()
    with LoggerGroup([memory], RunContext(tmp_path)) as logs:
        model.logger.log_scalar("loss", 1.0)
        twin = copied(model.logger)
        twin.log_scalar("loss", 2.0)
        twin.log_scalar("loss", 3.0)
        logs.write([model.logger, twin], State(num_steps=1))

    assert [entry.value for entry in memory.entries] == [1.0]
    assert caplog.text.count(DISCARDS) == 1
    assert twin.default_namespace == "model"

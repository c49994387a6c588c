"""Marks that dynamo reads; what it makes of them is in ``tests/faults/test_torch.py``."""

import inspect
import subprocess
import sys

from ml.loggers.graphs import outside_of_graphs, skip_frames
from ml.loggers.kinds import KINDS
from ml.loggers.multi import MultiLogger


def test_every_log_call_is_left_out_of_graphs():
    for name, method in inspect.getmembers(MultiLogger, inspect.isfunction):
        if name.startswith("log_"):
            assert method._torchdynamo_disable, name
    assert {kind.method for kind in KINDS} <= set(dir(MultiLogger))


def test_a_marked_function_is_the_same_function():
    def function():
        return 1

    assert outside_of_graphs(function) is function
    assert "return the value" in function._torchdynamo_disable_msg


def test_frames_may_be_skipped_again_and_without_marks():
    skip_frames(MultiLogger)
    skip_frames(MultiLogger)
    skip_frames(int)


def test_marks_load_no_torch():
    code = "import sys; from ml.loggers import MultiLogger; MultiLogger('model').log_scalar('loss', 1.0)"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True, timeout=60)

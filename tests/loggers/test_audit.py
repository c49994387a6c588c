"""Which operators make the host wait for an accelerator, and that it is said once a key."""

from types import SimpleNamespace

import pytest
import torch

from ml.loggers.audit import SyncAudit, waits


def on(device, dtype="torch.float32"):
    return SimpleNamespace(device=torch.device(device), dtype=dtype)


GPU, HOST = on("cuda:0"), on("cpu")
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("operator", "arguments", "options", "expected"),
    [
        ("_local_scalar_dense", (GPU,), {}, True),
        ("_local_scalar_dense", (HOST,), {}, False),
        ("equal", (GPU, GPU), {}, True),
        ("nonzero", (GPU,), {}, True),
        ("nonzero", (on("meta"),), {}, False),
        ("add", (GPU, GPU), {}, False),
        ("_to_copy", (GPU,), {"device": CPU}, True),
        ("_to_copy", (GPU,), {"device": CPU, "non_blocking": True}, False),
        ("_to_copy", (GPU,), {"dtype": torch.float64}, False),
        ("_to_copy", (GPU,), {"device": torch.device("cuda:1")}, False),
        ("_to_copy", (HOST,), {"device": torch.device("cuda:0")}, True),
        ("_to_copy", (HOST,), {"dtype": torch.float64}, False),
        ("copy_", (HOST, GPU), {}, True),
        ("copy_", (HOST, GPU, True), {}, False),
        ("copy_", (GPU, GPU), {}, False),
        ("index", (GPU, [on("cuda:0", "torch.bool")]), {}, True),
        ("index", (GPU, [None, on("cuda:0", "torch.int64")]), {}, False),
        ("scalar_tensor", (1.0,), {"device": torch.device("cuda:0")}, False),
    ],
    ids=str,
)
def test_an_operator_waits_when_the_host_needs_what_is_on_the_device(operator, arguments, options, expected):
    assert waits(operator, arguments, options) is expected


def test_what_a_callable_returns_and_raises_passes():
    audit = SyncAudit(lambda path, message: pytest.fail(message))

    def fail():
        raise KeyError("a bug")

    assert audit.watched(lambda: torch.ones(2).sum().item())() == 2.0
    with pytest.raises(KeyError):
        audit.watched(fail)()
    audit.conclude("model/loss", "model.py:7")


def test_a_group_with_an_audit_writes_what_one_without_does(tmp_path):
    from ml import start_run

    values = []
    for audit_syncs in (False, True):
        with start_run(tmp_path / str(audit_syncs), loggers="memory", audit_syncs=audit_syncs) as run:
            run.log({"loss": lambda: torch.ones(3).sum().item()})
            run.step()
            memory = run.group._deliveries[0].backend
        values.append(memory.entries)

    assert values[0] == values[1]

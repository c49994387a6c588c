"""What was read back of a run, as the contract of backends compares it."""

from ml.loggers.sources import Entry
from ml.testing.runs import Written


def written_of(entry: Entry) -> Written:
    """Returns an entry as ``(phase, step, namespace, key, value)``; media have no value."""
    value = None if entry.kind.droppable else entry.value
    return (entry.state.phase, entry.state.num_steps, entry.namespace, entry.key, value)

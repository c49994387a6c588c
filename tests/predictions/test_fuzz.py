"""The law of damaged records: ``FormatError``, or a record; nothing else, at once, and in little memory.

``scripts/soak_fuzz.py`` is the same for as many as there is time for.
"""

import sys

import pytest

from ml.core.errors import FormatError
from tests.predictions.fuzzing import corpus, mutant, read_all


def read_mutants(seeds: range) -> int:
    """Reads the inputs of these seeds; returns how many are records."""
    records, accepted = corpus(), 0
    for seed in seeds:
        try:
            read_all(mutant(records, seed))
            accepted += 1
        except FormatError:
            pass
        except Exception as error:
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error}")
    return accepted


def test_records_that_are_not_damaged_are_read():
    for record in corpus():
        read_all(record)


def test_a_damaged_record_is_a_record_or_a_format_error():
    accepted = read_mutants(range(4000))
    assert 200 < accepted < 2000  # damage is done, and much of it lies deep


def test_a_seed_always_gives_the_same_input():
    records = corpus()
    assert [mutant(records, seed) for seed in range(50)] == [mutant(records, seed) for seed in range(50)]


@pytest.mark.slow
def test_many_damaged_records_are_records_or_format_errors():
    import resource

    read_mutants(range(10_000, 110_000))
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    assert peak_bytes < 2**30  # of a process that tests much else; scripts/soak_fuzz.py looks closer

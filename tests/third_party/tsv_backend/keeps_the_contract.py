"""What the author of a backend writes to test it: run with pytest where the package is installed."""

import csv

import pytest

from ml.core.registry import LOGGERS
from ml.testing.contract import Backend, LoggerContract


def read_tsv(logger, directory):
    with open(directory / logger.id / "log.tsv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, "excel-tab"))
    return [(phase, int(step), namespace, key, float(value)) for phase, step, namespace, key, value in rows]


class TestTsvLogger(LoggerContract):
    @pytest.fixture
    def backend(self):
        return Backend("tsv", make=lambda: LOGGERS.build({"name": "tsv"}), read=read_tsv)

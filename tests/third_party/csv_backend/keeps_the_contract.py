"""What the author of a backend writes to test it: run with pytest where the package is installed."""

import csv

import pytest

from ml.core.registry import LOGGERS
from ml.testing.contract import Backend, LoggerContract


def read_csv(logger, directory):
    with open(directory / logger.id / "log.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    return [(phase, int(step), namespace, key, float(value)) for phase, step, namespace, key, value in rows]


class TestCsvLogger(LoggerContract):
    @pytest.fixture
    def backend(self):
        return Backend("csv", make=lambda: LOGGERS.build({"name": "csv"}), read=read_csv)

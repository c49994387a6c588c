"""What the tests of integrations share."""

import os

import pytest

from tests.postgres import Postgres, server

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # before MLflow is imported: no test calls anybody


@pytest.fixture(scope="session")
def postgres() -> Postgres:
    """A real PostgreSQL server."""
    return server()

"""Databases for traces: a file, and a real PostgreSQL."""

import pytest

from tests.postgres import server


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, tmp_path):
    """An empty database."""
    return tmp_path / "deep" / "traces.db" if request.param == "sqlite" else server().new_database()


@pytest.fixture
def file(tmp_path):
    """Where an SQLite database is to be."""
    return tmp_path / "traces.db"

"""Processes that publish at once: every version has a number of its own, and is what its publisher put there."""

import pytest

from ml.io.store import StoreConfig
from tests.evaluation.racing import race


def test_versions_that_processes_publish_at_once_to_a_directory_have_dense_numbers_and_their_content(tmp_path):
    outcome = race(StoreConfig(str(tmp_path)), processes=3, count=10)

    assert outcome.broken(30) == []


def test_versions_that_processes_publish_at_once_to_a_bucket_have_dense_numbers_and_their_content(s3):
    outcome = race(s3.config("race"), processes=2, count=4, environ=s3.server.environ)

    assert outcome.broken(8) == []


@pytest.mark.slow
def test_two_hundred_versions_of_two_processes_in_a_directory(tmp_path):
    assert race(StoreConfig(str(tmp_path)), processes=2, count=100).broken(200) == []

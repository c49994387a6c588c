"""Credentials that are renewed while a store is open, by somebody who is not always done."""

import pytest

from ml.io.object_store import ObjectStore
from ml.io.store import Refused, StoreConfig


def test_credentials_that_are_renewed_by_halves_are_no_wrong_configuration_in_the_middle_of_a_training(s3):
    environ = {"AWS_ACCESS_KEY_ID": s3.server.access_key_id, "AWS_SECRET_ACCESS_KEY": "an old one"}
    config = StoreConfig(f"s3://{s3.name}", endpoint_url=s3.server.endpoint_url, region=s3.server.region)
    store = ObjectStore(config, attempts=1, environ=environ)
    with pytest.raises(Refused, match="read 'a'"):
        store.get("a", max_bytes=1)
    del environ["AWS_SECRET_ACCESS_KEY"]
    with pytest.raises(Refused, match="cannot be read anew: The environment has an access key ID"):
        store.get("a", max_bytes=1)
    environ["AWS_SECRET_ACCESS_KEY"] = s3.server.secret_access_key

    assert store.create("a", b"1")

import os

import pytest

from ml.core.errors import WriteError
from ml.io.files import AppendFile
from ml.io.numbered import first_free


def test_the_first_number_that_is_free_is_taken(tmp_path):
    for taken in ("2", "3"):
        (tmp_path / taken).touch()

    made = [first_free(lambda n: AppendFile(tmp_path / str(n), exclusive=True), start) for start in (2, 1)]
    descriptor = first_free(lambda n: os.open(tmp_path / str(n), os.O_WRONLY | os.O_CREAT | os.O_EXCL))

    assert [file.path.name for file in made] == ["4", "1"]
    os.close(descriptor)
    assert sorted(os.listdir(tmp_path)) == ["1", "2", "3", "4", "5"]
    for file in made:
        file.close()


def test_another_failure_is_no_reason_to_try_the_next_number(tmp_path):
    tried = []

    def create(number):
        tried.append(number)
        return AppendFile(tmp_path / "absent" / str(number), exclusive=True)

    with pytest.raises(WriteError):
        first_free(create)
    assert tried == [1]

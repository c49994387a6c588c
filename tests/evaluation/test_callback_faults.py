"""A callback whose store fails at any call that it makes of it: training goes on, and nothing is lost for good."""

import random

import numpy as np
import pytest

from ml.core.errors import LogValueError, WriteError
from ml.evaluation.artifacts import Artifacts
from ml.evaluation.callback import EvalCallback
from ml.evaluation.checking import fsck
from ml.evaluation.values import Image
from ml.io.fileops import FileOps
from ml.io.local_store import LocalStore
from tests.evaluation.opaque import Hooked

ERRORS = [WriteError("not now"), FileNotFoundError("gone"), LogValueError("a link")]


class Shades(EvalCallback):
    def __init__(self, artifacts, **settings):
        columns = ["epoch", "row", "image", "mean"]
        super().__init__(["image"], columns, artifacts=artifacts, best=("loss", "min"), **settings)

    def add_ground_truth(self, logs=None):
        self.data_table.add_data(Image(np.full((2, 2, 3), 9, np.uint8)))

    def add_model_predictions(self, epoch, logs=None):
        for row in self.data_table_ref.get_index():
            image = self.data_table_ref.data[row]["image"]
            self.pred_table.add_data(epoch, row, image, image.array().mean())


class Unsynced(FileOps):
    """Waits for no disk: nothing loses its power here."""

    def sync(self, descriptor):
        pass

    def sync_directory(self, path):
        pass


class Failing:
    """Makes one call of a store fail, and all that follow until it is mended."""

    def __init__(self, error, number):
        self.error, self.number, self.calls, self.is_mended = error, number, 0, False

    def __call__(self, call, key):
        self.calls += 1
        if self.calls >= self.number and not self.is_mended:
            raise self.error


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whichever_call_of_its_store_fails_training_goes_on_and_the_next_evaluation_is_whole(tmp_path, error):
    number, is_reached = 0, True
    while is_reached:
        number += 1
        store = LocalStore(tmp_path / str(number), ops=Unsynced())
        failing = Failing(error, number)
        shades = Shades(Artifacts(Hooked(store, failing), run_id="r"))
        first = shades.evaluate(0, {"loss": 2.0})
        is_reached = failing.calls >= number
        failing.is_mended = True
        last = shades.evaluate(1, {"loss": 1.0}) or shades.evaluate(2, {"loss": 1.0})
        shades.close()

        assert (first is None) == (shades.failures.total() > 0)
        assert Artifacts(store).get("run_r_pred:best") == last
        assert [problem for problem in fsck(Artifacts(store), deep=True) if problem.severity == "problem"] == []
    assert number > 20, "it makes so many calls"


def test_a_sink_that_draws_changes_nothing_that_training_draws(tmp_path):
    class Drawing:
        def keep(self, kept):
            random.random(), np.random.random()

    shades = Shades(Artifacts(tmp_path / "store"), sinks=[Drawing()])
    before = random.getstate(), np.random.get_state()[1].tolist()

    shades.evaluate(0)
    shades.on_train_begin()
    shades.close()

    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_an_error_of_a_library_below_the_store_costs_the_version_and_not_the_training(tmp_path):
    def refuse(call, key):
        if call == "create":
            raise RuntimeError("can't start new thread")

    shades = Shades(Artifacts(Hooked(LocalStore(tmp_path), refuse), run_id="r"))

    assert shades.evaluate(0) is None
    assert shades.failures == {"data": 1, "predictions": 1}
    shades.close()

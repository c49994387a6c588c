"""The documented example of the callback that ours is modelled on, in a real, short training by Keras on torch."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import pytest

from ml.evaluation import Artifacts, EvalCallback, Image

ROWS, CLASSES, SIDE_PX = 24, 3, 12


class ClfEvalCallback(EvalCallback):
    """The example, with ``EvalCallback``, ``Image`` and ``keras.ops`` in their places, and a place for the tables."""

    def __init__(self, validation_data, data_table_columns, pred_table_columns, **settings):
        super().__init__(data_table_columns, pred_table_columns, **settings)

        self.x = validation_data[0]
        self.y = validation_data[1]

    def add_ground_truth(self):
        for idx, (image, label) in enumerate(zip(self.x, self.y)):  # noqa: B905  # as documented
            self.data_table.add_data(idx, Image(image), label)

    def add_model_predictions(self, epoch):
        preds = self.model.predict(self.x, verbose=0)
        preds = keras.ops.argmax(preds, axis=-1)

        data_table_ref = self.data_table_ref
        table_idxs = data_table_ref.get_index()

        for idx in table_idxs:
            pred = preds[idx]
            self.pred_table.add_data(
                epoch,
                data_table_ref.data[idx][0],
                data_table_ref.data[idx][1],
                data_table_ref.data[idx][2],
                pred,
            )


@pytest.fixture
def data():
    draw = np.random.default_rng(0)
    labels = draw.integers(CLASSES, size=ROWS)
    images = draw.random((ROWS, SIDE_PX, SIDE_PX, 1)) * 0.2 + labels[:, None, None, None] / CLASSES
    return images.astype("float32"), labels


def model_of(dropout=0.0):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.Dropout(dropout), keras.layers.Dense(CLASSES)]
    model = keras.Sequential([keras.layers.Input((SIDE_PX, SIDE_PX, 1)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05), loss=loss, metrics=["accuracy"])
    return model


def callback_of(data, directory, **settings):
    return ClfEvalCallback(
        validation_data=data,
        data_table_columns=["idx", "image", "label"],
        pred_table_columns=["epoch", "idx", "image", "label", "pred"],
        **{"artifacts": directory, "run_id": "demo"} | settings,
    )


def fit(model, data, callbacks, **options):
    options = {"epochs": 2, "batch_size": 8, "verbose": 0, "shuffle": False, **options}
    return model.fit(*data, validation_data=data, callbacks=callbacks, **options).history


def png_files(directory):
    return {path.name: path.stat().st_size for path in (directory / "blobs").rglob("*.png")}


def test_the_documented_example_gives_a_version_an_epoch_with_what_the_model_predicted(data, tmp_path):
    model = model_of()
    history = fit(model, data, [callback_of(data, tmp_path, best=("val_accuracy", "max"))])

    artifacts = Artifacts(tmp_path)
    val, (first, last) = artifacts.get("val"), artifacts.versions("run_demo_pred")
    assert (val.type, val.tables, len(artifacts.versions("val"))) == ("dataset", ["val_data"], 1)
    assert (last.type, last.tables, last.used) == ("evaluation", ["eval_data"], (val.ref,))
    assert artifacts.get("run_demo_pred:latest") == last == artifacts.get("run_demo_pred:epoch_1")
    assert artifacts.get("run_demo_pred:epoch_0") == first
    best = max((first, last), key=lambda version: version.metrics["val_accuracy"])
    assert artifacts.get("run_demo_pred:best").metrics["val_accuracy"] == best.metrics["val_accuracy"]
    assert {key: [version.metrics[key] for version in (first, last)] for key in history} == history
    assert artifacts.used_by(val) == artifacts.logged_by(last) == ["demo"]

    rows = last.table().data
    assert [row["pred"] for row in rows] == model.predict(data[0], verbose=0).argmax(1).tolist()
    assert [row["label"] for row in rows] == data[1].tolist()
    assert [(row["epoch"], row["idx"]) for row in rows] == [(1, idx) for idx in range(ROWS)]
    assert [row["image"] for row in rows] == [Image(image) for image in data[0]]


def test_media_are_stored_once_over_all_epochs(data, tmp_path):
    fit(model_of(), data, [callback_of(data, tmp_path / "one")], epochs=1)
    fit(model_of(), data, [callback_of(data, tmp_path / "five")], epochs=5)

    assert len(Artifacts(tmp_path / "five").versions("run_demo_pred")) == 5
    assert len(png_files(tmp_path / "one")) == ROWS
    assert png_files(tmp_path / "five") == png_files(tmp_path / "one")


def test_training_is_the_same_with_it_and_without(data, tmp_path):
    def weights(*callbacks):
        model = model_of(dropout=0.5)
        history = fit(model, data, list(callbacks), shuffle=True)
        return history, [weight.tolist() for weight in model.get_weights()]

    assert weights(callback_of(data, tmp_path, every_n_batches=1)) == weights()


def test_a_class_behind_it_gets_its_arguments_and_every_hook(data, tmp_path):
    class Both(ClfEvalCallback, keras.callbacks.ModelCheckpoint):
        pass

    path = tmp_path / "model.weights.h5"
    callback = Both(
        data,
        ["idx", "image", "label"],
        ["epoch", "idx", "image", "label", "pred"],
        artifacts=tmp_path / "tables",
        filepath=str(path),
        save_weights_only=True,
    )
    fit(model_of(), data, [callback])

    assert path.exists()
    assert len(Artifacts(tmp_path / "tables").versions(f"run_{callback.run_id}_pred")) == 2


def test_evaluate_outside_of_a_training_has_the_alias_test(data, tmp_path):
    callback, model = callback_of(data, tmp_path), model_of()
    model.evaluate(*data, verbose=0, callbacks=[callback])
    artifacts = Artifacts(tmp_path)
    first = artifacts.get("run_demo_pred:test")
    fit(model, data, [callback])
    model.evaluate(*data, verbose=0, callbacks=[callback])

    assert set(first.metrics) == {"loss", "accuracy"}
    # Nothing has changed since the last epoch: the content is the same, and so is the version.
    assert artifacts.get("run_demo_pred:test") == artifacts.get("run_demo_pred:epoch_1") != first
    assert len(artifacts.versions("val")) == 1


def test_keras_waits_for_no_batch_unless_batches_are_evaluated(data, tmp_path):
    quiet, waiting = callback_of(data, tmp_path), callback_of(data, tmp_path, every_n_batches=2)

    assert keras.src.utils.is_default(quiet.on_train_batch_end)
    assert not keras.src.utils.is_default(waiting.on_train_batch_end)
    fit(model_of(), data, [waiting])
    aliases = Artifacts(tmp_path).aliases("run_demo_pred")
    assert [alias for alias in aliases if alias.startswith("batch_")] == ["batch_2", "batch_4", "batch_6"]

"""What a model predicted, sample by sample: tables in versions that refer to the ground truth, kept once.

::

    class Digits(EvalCallback):                      # see ml.evaluation.callback
        def add_ground_truth(self, logs=None): ...
        def add_model_predictions(self, epoch, logs=None): ...

    model.fit(..., callbacks=[Digits(["image", "label"], ["epoch", "image", "label", "prediction"])])

    artifacts = Artifacts("evaluation")
    artifacts.get(f"run_{run_id}_pred:epoch_4").table().to_pandas()
"""

from typing import TYPE_CHECKING

from ml.core.lazy import loaded_on_use

if TYPE_CHECKING:
    from ml.evaluation.artifacts import Artifacts, Version
    from ml.evaluation.callback import EvalCallback
    from ml.evaluation.checking import fsck
    from ml.evaluation.collection import gc
    from ml.evaluation.columns import Column
    from ml.evaluation.comparison import Comparison, compare
    from ml.evaluation.references import Reference, RowIndex
    from ml.evaluation.samples import Roles, Samples
    from ml.evaluation.sampling import choose
    from ml.evaluation.sinks import KeptTable, TableSink
    from ml.evaluation.stored import StoredTable
    from ml.evaluation.table import Table
    from ml.evaluation.values import Audio, Boxes, Image, Masks
    from ml.io.store import StoreConfig

_HOMES = {
    "ml.evaluation.artifacts": ("Artifacts", "Version"),
    "ml.evaluation.callback": ("EvalCallback",),
    "ml.evaluation.checking": ("fsck",),
    "ml.evaluation.collection": ("gc",),
    "ml.evaluation.columns": ("Column",),
    "ml.evaluation.comparison": ("Comparison", "compare"),
    "ml.evaluation.references": ("Reference", "RowIndex"),
    "ml.evaluation.samples": ("Roles", "Samples"),
    "ml.evaluation.sampling": ("choose",),
    "ml.evaluation.sinks": ("KeptTable", "TableSink"),
    "ml.evaluation.stored": ("StoredTable",),
    "ml.evaluation.table": ("Table",),
    "ml.evaluation.values": ("Audio", "Boxes", "Image", "Masks"),
    "ml.io.store": ("StoreConfig",),
}

__all__ = [
    "Artifacts",
    "Audio",
    "Boxes",
    "Column",
    "Comparison",
    "EvalCallback",
    "Image",
    "KeptTable",
    "Masks",
    "Reference",
    "Roles",
    "RowIndex",
    "Samples",
    "StoreConfig",
    "StoredTable",
    "Table",
    "TableSink",
    "Version",
    "choose",
    "compare",
    "fsck",
    "gc",
]

__getattr__ = loaded_on_use(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)

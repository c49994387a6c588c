"""Traced inferences as tables in memory, in any order of rows and in groups of any size."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

START = datetime(2026, 1, 2, tzinfo=UTC)
SCHEMAS = {
    "models": {"name": pa.string(), "architecture": pa.string(), "task": pa.string(), "n_class": pa.int64()},
    "inferences": {
        "id": pa.string(),
        "run": pa.string(),
        "input_id": pa.string(),
        "dataset_type": pa.string(),
        "epoch": pa.int64(),
        "step": pa.int64(),
        "time": pa.timestamp("us", "UTC"),
        "latency_s": pa.float64(),
        "camera": pa.string(),
    },
    "detections": {
        "inference_id": pa.string(),
        "number": pa.int64(),
        "x1": pa.float32(),
        "score": pa.float32(),
        "label": pa.int64(),
    },
    "features": {
        "inference_id": pa.string(),
        "alias": pa.string(),
        "dtype": pa.string(),
        "shape": pa.string(),
        "data": pa.binary(),
    },
}


class TablesInMemory:
    """``TraceTables`` of rows in lists, which are sorted when they are asked for.

    Attributes:
        rows: Of each table.
        batch_rows: How many come at a time.
    """

    def __init__(self, count=0, *, start=0, detections=3, feature_bytes=64, batch_rows=1000):
        self.rows = {name: [] for name in SCHEMAS}
        self.rows["models"] = [{"name": "fcos", "architecture": "ab" * 16, "task": "detection", "n_class": 3}]
        self.batch_rows = batch_rows
        self._detections, self._feature_bytes = detections, feature_bytes
        for number in range(start, start + count):
            self.add(number)

    def add(self, number, *, latency_s=0.5):
        """Traces an input, maybe anew."""
        inference_id = f"{number:032x}"
        for name, key in (("inferences", "id"), ("detections", "inference_id"), ("features", "inference_id")):
            self.rows[name] = [row for row in self.rows[name] if row[key] != inference_id]
        self.rows["inferences"].append(
            {
                "id": inference_id,
                "run": "ab" * 8,
                "input_id": f"image-{number}",
                "dataset_type": "deploying",
                "epoch": 0,
                "step": number,
                "time": START + timedelta(seconds=number),
                "latency_s": latency_s,
                "camera": None if number % 2 else "left",
            }
        )
        chance = np.random.default_rng(number)
        for each in range(self._detections):
            score, x1 = np.float32(chance.random(2)).tolist()
            self.rows["detections"].append(
                {"inference_id": inference_id, "number": each, "x1": x1, "score": score, "label": each % 3}
            )
        self.rows["features"].append(
            {
                "inference_id": inference_id,
                "alias": "head",
                "dtype": "float16",
                "shape": f"{self._feature_bytes // 2}",
                "data": chance.bytes(self._feature_bytes),
            }
        )

    def table_batches(self, name, selection, *, ids=None):
        if name not in self.rows:
            return
        rows = self.rows[name]
        if ids is not None and name != "models":
            rows = [row for row in rows if row.get("inference_id", row.get("id")) in set(ids)]
        rows = sorted(rows, key=lambda row: (row.get("inference_id", row.get("id", "")), row.get("number", 0)))
        schema = pa.schema(SCHEMAS[name])
        for start in range(0, len(rows), self.batch_rows):
            yield pa.RecordBatch.from_pylist(rows[start : start + self.batch_rows], schema)

"""Tables on their way: what is kept of them, the file that they are, and what people see of it."""

import io
import json
import math
import re
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tensorboard.plugin_util import markdown_to_safe_html

from ml.core.errors import FormatError
from ml.core.run import RunContext
from ml.core.state import State
from ml.evaluation.table import Table
from ml.evaluation.values import Boxes
from ml.evaluation.values import Image as EvaluationImage
from ml.loggers.base import BaseLoggerConfig
from ml.loggers.csv import CsvLogger, CsvLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.memory import MemoryLogger
from ml.loggers.multi import MultiLogger
from ml.loggers.table_file import decode_table, encode_table, read_table
from ml.loggers.table_text import markdown
from ml.loggers.tensorboard import TensorBoardLogger, TensorBoardLoggerConfig
from ml.media.boxes import draw_boxes
from ml.media.table import standardize_table
from ml.reading import open_run
from tests.loggers.tensorboard_reader import accumulated

GOLDEN = Path(__file__).parents[1] / "golden" / "media"
NOON = datetime(2026, 1, 2, 12, 30, 15, 250_000, UTC)
CHECKERS = np.kron(np.indices((4, 4)).sum(0) % 2, np.ones((2, 2), int)).astype(bool)
COLUMNS = {
    "label": [3, 5, None],
    "score": [0.987654321, math.nan, -math.inf],
    "is right": [True, False, None],
    "note": ["größer | <b>", None, "*a*\n\x1b[31m"],
    "when": [NOON, None, NOON],
    "boxes": [[[1, 2, 3, 4]], [], [[math.nan, 0.5, 1, 2]]],
    "input": [CHECKERS, None, np.stack([CHECKERS, CHECKERS, ~CHECKERS])],
}


def golden_table():
    return standardize_table(COLUMNS, total_rows=12_000)


class Batches:
    """A table that is read in parts, as the evaluation tables are."""

    column_names = ("a", "b")

    def __init__(self, count, size=10):
        self.count, self.size, self.read = count, size, 0

    def iter_batches(self):
        for start in range(0, self.count, self.size):
            self.read += 1
            rows = range(start, min(start + self.size, self.count))
            yield {"b": [str(row) for row in rows], "a": rows}


class CountedBatches(Batches):
    def __len__(self):
        return self.count


def logged(value, **options):
    """The table that a memory backend has of one value, what was warned, and how it failed."""
    memory, component = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("model")
    with LoggerGroup([memory], RunContext("nowhere")) as group:
        component.log_table("key", value, **options)
        group.write([component], State(num_steps=1))
    assert group.stats()["memory"].failed == {}
    (entry,) = memory.entries
    return entry.value


def cells(table):
    return {column.name: list(column.cells) for column in table.columns}


# what is kept


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2], "b": ["x", "y"]},
        {"a": torch.tensor([1, 2]), "b": ("x", "y")},
        {"a": np.array([1, 2]), "b": np.array(["x", "y"])},
        {"a": [torch.tensor(1), 2], "b": np.array(["x", "y"], object)},
        {"a": range(1, 3), "b": {"x": 0, "y": 1}.keys()},
        lambda: {"a": [1, 2], "b": ["x", "y"]},
        pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
        pd.DataFrame({"a": pd.array([1, 2], "Int64"), "b": pd.Categorical(["x", "y"])}),
    ],
    ids=["lists", "tensor", "arrays", "tensors", "ranges", "callable", "frame", "frame with extension types"],
)
def test_a_table_is_a_mapping_of_columns_or_a_frame(value):
    assert cells(logged(value)) == {"a": [1, 2], "b": ["x", "y"]}


def test_a_table_may_be_what_it_was_read_as():
    table = logged(golden_table())

    assert encode_table(table) == encode_table(standardize_table(COLUMNS, total_rows=3))


def test_pictures_may_be_tensors():
    table = logged({"input": torch.ones(3, 1, 28, 28), "each": [torch.zeros(3, 4, 5), None, Image.new("L", (4, 4))]})

    assert [cell.shape for cell in table.columns[0].cells] == [(1, 28, 28)] * 3
    assert [None if cell is None else cell.shape for cell in table.columns[1].cells] == [(3, 4, 5), None, (1, 4, 4)]


@pytest.mark.parametrize("make", [Batches, CountedBatches])
def test_the_first_rows_of_batches_are_kept_and_all_are_counted(make, caplog):
    given = make(95)
    table = logged(given, max_rows=25)

    assert cells(table) == {"a": list(range(25)), "b": [str(row) for row in range(25)]}
    assert (len(table), table.total_rows) == (25, 95)
    assert given.read == (3 if make is CountedBatches else 10)  # what knows its length is not read to its end
    assert "'model/key': the first 25 of 95 rows are kept" in caplog.text


def test_the_first_rows_of_a_mapping_are_kept():
    table = logged({"a": range(10**6), "b": np.arange(10**6)}, max_rows=3)

    assert cells(table) == {"a": [0, 1, 2], "b": [0, 1, 2]}
    assert table.total_rows == 10**6


def test_a_table_without_rows_is_a_table():
    table = logged({"a": [], "b": np.zeros(0)})

    assert (len(table), table.column_names) == (0, ["a", "b"])
    assert len(decode_table(encode_table(table))) == 0


def test_what_is_logged_is_a_copy():
    array, row, text = np.zeros((2, 3)), [1, 2], []
    memory, component = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("model")
    with LoggerGroup([memory], RunContext("nowhere")) as group:
        component.log_table("key", lambda: {"array": array, "row": [row, row], "odd": [{"a": text}, 1]})
        group.write([component], State(num_steps=1))
        array += 1
        row.append(3)
        text.append("changed")

    assert cells(memory.entries[0].value) == {
        "array": [[0.0] * 3] * 2,
        "row": [[1, 2]] * 2,
        "odd": ["{'a': []}", "1"],
    }


@pytest.mark.parametrize(
    ("value", "options", "problem"),
    [
        ([{"a": 1}], {}, "a table is a mapping of columns, or has column_names and iter_batches(), got list"),
        ({"a": [1, 2], "b": [1]}, {}, "the columns of a table are of one length, got a: 2, b: 1"),
        ({"a": "text"}, {}, "column 'a' is no sequence of cells, got str"),
        ({}, {}, "a table has 1 to 1000 columns, got 0"),
        ({1: [1], "1": [2]}, {}, "two columns of a table are called '1'"),
        ({"a": [1]}, {"max_rows": 0}, "keeps at least 1 row, got max_rows=0"),
        ({"a": np.broadcast_to(np.uint8(0), (100, 1000, 1000))}, {}, "more than 64 MiB up to column 'a'"),
    ],
)
def test_what_is_no_table_is_refused_with_the_cure(value, options, problem, caplog, tmp_path):
    memory, component = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("model")
    with LoggerGroup([memory], RunContext(tmp_path)) as group:
        component.log_table("key", value, **options)
        component.log_scalar("neighbour", 1)
        group.write([component], State(num_steps=1))

    assert problem in caplog.text
    assert "model/key" in caplog.text
    assert [entry.key for entry in memory.entries] == ["neighbour"]


def test_a_table_is_never_computed_where_no_backend_takes_it(tmp_path):
    csv, component, calls = CsvLogger(CsvLoggerConfig("csv")), MultiLogger("model"), []
    with LoggerGroup([csv], RunContext(tmp_path)) as group:
        component.log_table("key", lambda: calls.append(1))
        group.write([component], State(num_steps=1))

    assert not calls
    assert group.stats()["csv"].skipped == {"unsupported": 1}


# its file


def pixels_apart(file):
    """A file without its pictures, and their pixels: compressed they differ from one zlib to the next."""
    pictures = re.findall(rb'"data:image/png;base64,([^"]+)"', file)
    pixels = [np.asarray(Image.open(io.BytesIO(b64decode(data)))).tolist() for data in pictures]
    return re.sub(rb'"data:[^"]+"', b'"picture"', file), pixels


def test_the_file_of_a_table_stays_as_it_is():
    assert pixels_apart(encode_table(golden_table())) == pixels_apart((GOLDEN / "table.json").read_bytes())


def test_a_file_gives_back_what_was_kept():
    table = golden_table()
    again = read_table(GOLDEN / "table.json")

    assert encode_table(again) == encode_table(table)
    assert again.total_rows == 12_000
    for column, expected in zip(again.columns, table.columns, strict=True):
        assert column.kind == expected.kind
    assert again.columns[4].cells == table.columns[4].cells
    np.testing.assert_array_equal(again.columns[6].cells[2], table.columns[6].cells[2])


def test_pandas_reads_the_file_of_a_table():
    frame = pd.read_json(GOLDEN / "table.json", orient="table")

    assert frame["label"].tolist() == [3, 5, pd.NA]
    assert math.isnan(frame["score"][1])
    assert frame["score"][2] == -math.inf
    assert frame["is right"].tolist() == [True, False, pd.NA]
    assert frame["note"][0] == "größer | <b>"
    assert frame["when"][0] == pd.Timestamp(NOON)
    assert frame["boxes"][0] == [[1, 2, 3, 4]]
    assert frame["input"][0].startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("schema"),
        lambda document: document.update(data=5),
        lambda document: document.update(total_rows=1),
        lambda document: document.update(total_rows="many"),
        lambda document: document["schema"].update(fields=[]),
        lambda document: document["schema"]["fields"][0].update(kind="pickle"),
        lambda document: document["schema"]["fields"].append(document["schema"]["fields"][0]),
        lambda document: document["data"][0].update(label="three"),
        lambda document: document["data"][0].pop("label"),
        lambda document: document["data"][0].update(input="data:image/png;base64,AAAA"),
        lambda document: document["data"][0].update(input="file:///etc/passwd"),
        lambda document: document["data"][0].update({"when": "yesterday"}),
    ],
)
def test_what_is_no_table_is_not_read(change, tmp_path):
    document = json.loads((GOLDEN / "table.json").read_bytes())
    change(document)
    path = tmp_path / "table.json"
    path.write_text(json.dumps(document))

    with pytest.raises(FormatError):
        read_table(path)


def test_a_picture_that_says_it_is_huge_is_refused_before_it_is_decoded(tmp_path):
    document = json.loads((GOLDEN / "table.json").read_bytes())
    huge = io.BytesIO()
    Image.new("L", (16_384, 8_193)).save(huge, "PNG", compress_level=1)
    document["data"][0]["input"] = f"data:image/png;base64,{b64encode(huge.getvalue()).decode()}"
    path = tmp_path / "table.json"
    path.write_text(json.dumps(document))

    with pytest.raises(FormatError, match="elements"):
        read_table(path)


# what people see


def test_the_preview_of_a_table_stays_as_it_is():
    assert markdown(golden_table()) + "\n" == (GOLDEN / "table.md").read_text()


def test_nothing_in_a_cell_is_taken_for_markup():
    hostile = [
        "<img src=x onerror=alert(1)>",
        "[a](javascript:alert(1))",
        "| a | b |",
        "```\n# head",
        "&lt;b&gt;",
        "*b*",
    ]
    page = markdown_to_safe_html(markdown(standardize_table({"<i>": hostile}, total_rows=6)))

    assert page.count("<td>") == page.count("<tr>") - 1 == len(hostile)
    assert not any(tag in page for tag in ("<img", "<a", "<em", "<code", "<i>", "<h1"))


def test_a_preview_says_what_it_leaves_out():
    wide = standardize_table({f"c{number}": range(60) for number in range(40)}, total_rows=60)
    text = markdown(wide)

    assert text.endswith("\n\n50 of 60 rows, 30 of 40 columns")
    assert len(text.splitlines()) == 2 + 50 + 2
    assert "x…" in markdown(standardize_table({"a": ["x" * 1000]}, total_rows=1))


def test_tensorboard_shows_the_first_rows_and_a_grid_of_pictures(tmp_path):
    board = TensorBoardLogger(TensorBoardLoggerConfig("tensorboard"))
    component = MultiLogger("task")
    with LoggerGroup([board], RunContext(tmp_path), on_error="raise") as group:
        component.log_table("wrong", {"label": [3, 5], "input": np.ones((2, 28, 28))})
        component.log_table("plain", {"label": [3]})
        group.write([component], State(num_steps=7))

    events = accumulated(tmp_path / "tensorboard/train")
    assert set(events.Tags()["tensors"]) == {"task/wrong", "task/plain"}
    assert events.Tags()["images"] == ["task/wrong.images"]
    (event,) = events.Tensors("task/plain")
    assert event.step == 7
    assert event.tensor_proto.string_val[0].decode() == "| label |\n|---:|\n| 3 |"
    (image,) = events.Images("task/wrong.images")
    assert Image.open(io.BytesIO(image.encoded_image_string)).size == (168, 84)


def test_tensorboard_draws_the_boxes_of_an_evaluation_table(tmp_path):
    table = Table(["image", "found"])
    black = np.zeros((100, 100), np.uint8)
    true, found = Boxes([[10, 20, 60, 70]]), Boxes([[5, 20, 50, 80]], labels=["cat"], scores=[0.5])
    table.add_data(EvaluationImage(black, boxes=true), found)
    board = TensorBoardLogger(TensorBoardLoggerConfig("tensorboard"))
    component = MultiLogger("task")
    with LoggerGroup([board], RunContext(tmp_path), on_error="raise") as group:
        component.log_table("wrong", table)
        group.write([component], State(num_steps=1))

    (image,) = accumulated(tmp_path / "tensorboard/train").Images("task/wrong.images")
    wanted = draw_boxes(black[None], true.xyxy, source_size_px=(100, 100))
    wanted = draw_boxes(wanted, found.xyxy, source_size_px=(100, 100), labels=found.labels, scores=found.scores)
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(image.encoded_image_string))), np.moveaxis(wanted, 0, 2)
    )


def test_a_run_gives_its_tables_back(tmp_path):
    component = MultiLogger("task")
    with LoggerGroup([JsonLogger(JsonLoggerConfig("json"))], RunContext(tmp_path), on_error="raise") as group:
        component.log_table("wrong", COLUMNS)
        component.log_table("other", {"a": [1]})
        group.write([component], State("valid", num_steps=7))

    (found,) = open_run(tmp_path).tables("task/wrong")
    assert (found.phase, found.step, found.path.suffix) == ("valid", 7, ".json")
    assert (len(found.open()), found.open().total_rows) == (3, 3)
    frame = found.to_pandas()
    assert frame["label"].tolist() == [3, 5, pd.NA]
    assert str(frame["when"].dtype) == "datetime64[us, UTC]"
    assert (frame["input"][0].size, frame["input"][2].mode, frame["input"][1]) == ((8, 8), "RGB", None)
    assert len(open_run(tmp_path).tables()) == 2

import itertools
import math
import pickle
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.core.errors import ConfigError, FormatError
from ml.detection.average_precision import mean_average_precision
from ml.evaluation.artifacts import Artifacts
from ml.evaluation.columns import Column
from ml.evaluation.comparison import compare
from ml.evaluation.judging import Detection
from ml.evaluation.references import Reference
from ml.evaluation.samples import RoleError, Roles, Samples
from ml.evaluation.table import Table
from ml.evaluation.values import Boxes, Image
from tests.evaluation.predicted import oracle, samples_of

CLASSES = ["cat", "dog", "", "<b>", "None"]


@st.composite
def epochs(draw):
    """Two to four epochs over samples that come and go, with labels that are unknown, and classes that are not."""
    seed = draw(st.integers(0, 2**32))
    count, versions, classes = draw(st.integers(0, 40)), draw(st.integers(2, 4)), draw(st.integers(1, len(CLASSES)))
    chance = random.Random(seed)
    truths = [chance.choice([*CLASSES[:classes], None]) for _ in range(count)]
    made = []
    for _ in range(versions):
        rows = [
            (
                key,
                chance.choice(CLASSES[:classes]) if chance.random() < 0.05 else truth,
                chance.choice([truth, *CLASSES, None]),
            )
            for key, truth in enumerate(truths)
            if chance.random() < 0.9
        ]
        chance.shuffle(rows)
        made.append(rows)
    return made


def checked(before, after):
    """Compares, and asserts that it is what the oracle says."""
    expected, found = oracle(before, after), compare(samples_of(before), samples_of(after))
    assert {one.key: one.change for one in found.samples} == expected["changes"]
    assert [one.key for one in found.samples] == [row[0] for row in before if row[0] in expected["changes"]]
    assert all(before[one.row_before][0] == after[one.row_after][0] == one.key for one in found.samples)
    assert set(found.only_before) == expected["only before"]
    assert set(found.only_after) == expected["only after"]
    assert set(found.unjudged) == expected["not judged"]
    assert set(found.relabelled) == expected["relabelled"]
    classes = {one.name: (tuple(one.before), tuple(one.after)) for one in found.classes}
    assert repr(classes) == repr(dict(sorted(expected["classes"].items())))  # NaN is what it is
    assert repr((found.value_before, found.value_after)) == repr(tuple(value for value, _ in expected["all"]))
    assert {(one.truth, one.predicted): (one.before, one.after) for one in found.confusion} == expected["confusion"]
    assert found.counts == {change: list(expected["changes"].values()).count(change) for change in found.counts}
    return found


@settings(max_examples=60)
@given(epochs())
def test_a_comparison_is_what_looking_at_every_pair_of_rows_finds(made):
    for before, after in itertools.pairwise(made):
        shared = {row[0] for row in before} & {row[0] for row in after}
        if shared or not (before and after):
            checked(before, after)


def test_500_samples_over_several_epochs_are_what_looking_at_every_pair_of_rows_finds():
    chance = random.Random(0)
    truths = [str(chance.randrange(10)) for _ in range(500)]
    made = [
        [
            (key, truth, truth if chance.random() < skill else str(chance.randrange(10)))
            for key, truth in enumerate(truths)
        ]
        for skill in (0.1, 0.5, 0.9)
    ]

    found = checked(made[0], made[2])

    assert found.change > 0.6
    checked(made[1], made[2])


def test_every_sample_is_counted_once():
    before = [(1, "cat", "cat"), (2, "cat", "dog"), (3, None, "cat"), (4, "dog", "dog"), (5, "dog", None)]
    after = [(2, "cat", "cat"), (1, "cat", "dog"), (3, "cat", "cat"), (6, "cat", "cat"), (5, "dog", None)]

    found = compare(samples_of(before), samples_of(after))

    assert [(one.key, one.change) for one in found.samples] == [
        (1, "right to wrong"),
        (2, "wrong to right"),
        (5, "still wrong"),
    ]
    assert (found.only_before, found.only_after, found.unjudged) == ((4,), (6,), (3,))


def test_a_row_without_a_key_equals_no_other():
    found = compare(samples_of([(1, "a", "a"), (None, "a", "a")]), samples_of([(1, "a", "a"), (None, "a", "a")]))

    assert len(found.samples) == 1
    assert list(map(str, (*found.only_before, *found.only_after))) == ["row 1", "row 1"]


def test_two_rows_about_one_sample_are_refused_and_both_are_named():
    with pytest.raises(ConfigError, match=r"rows 0 and 2 are both about id 7\. .* 'id', 'label', 'pred'"):
        compare(samples_of([(7, "a", "a"), (8, "a", "a"), (7, "a", "b")]), samples_of([(7, "a", "a")]))


def test_versions_without_a_common_sample_are_refused():
    with pytest.raises(ConfigError, match=r"by id, such as 1.*by id, such as 2.*no sample in common.*key="):
        compare(samples_of([(1, "a", "a")]), samples_of([(2, "a", "a")]))


def test_worse_is_a_figure_that_fell_by_more_or_a_sample_that_is_gone():
    right, wrong = [(1, "a", "a"), (2, "a", "a")], [(1, "a", "a"), (2, "a", "b")]

    assert compare(samples_of(right), samples_of(wrong)).is_worse(0.4)
    assert not compare(samples_of(right), samples_of(wrong)).is_worse(0.5)
    assert not compare(samples_of(wrong), samples_of(right)).is_worse(0.0)
    assert compare(samples_of(right), samples_of(right[:1])).is_worse(1.0)
    assert not compare(samples_of([]), samples_of(right)).is_worse(0.0)


def test_numbers_are_classes_whether_whole_or_not_and_nan_is_none():
    tables = [Table([Column("id"), Column("label", "integer"), Column("pred", "number")]) for _ in range(2)]
    for table, predictions in zip(tables, ([3.0, 2.5, math.nan], [3.0, 3.0, 1.0]), strict=True):
        for key, predicted in enumerate(predictions):
            table.add_data(key, 3, predicted)

    found = compare(*map(Samples, tables))

    assert [one.change for one in found.samples] == ["still right", "wrong to right", "still wrong"]
    assert [(one.truth, one.predicted) for one in found.confusion] == [(3, 1), (3, 2.5), (3, 3), (3, None)]


def test_slices_add_up_to_the_whole():
    chance = random.Random(1)
    rows = [[(key, "a", chance.choice("ab")) for key in range(100)] for _ in range(2)]
    widths = [None if key % 10 == 0 else chance.random() for key in range(100)]

    found = compare(
        samples_of(rows[0], extra={"width": widths, "even": [key % 2 == 0 for key in range(100)]}),
        samples_of(rows[1]),
        by=["width", "even", "label"],
    )

    for column in ("width", "even", "label"):
        parts = [one for one in found.slices if one.column == column]
        assert sum(one.samples for one in parts) == 100
        assert {change: sum(one.counts[change] for one in parts) for change in found.counts} == found.counts
        assert sum(one.after * one.samples for one in parts) == pytest.approx(found.value_after * 100)
    assert [one.name for one in found.slices if one.column == "even"] == ["False", "True"]
    assert [one.samples for one in found.slices if one.column == "width"][-1] == 10


@pytest.fixture
def artifacts(tmp_path):
    return Artifacts(tmp_path)


def published(artifacts, truths, *predictions, key=True):
    """Publishes ground truth once, and versions that refer to it."""
    table = Table(["id", "label", "width"], name="val_data")
    for number, truth in enumerate(truths):
        table.add_data(100 + number, truth, number / 4)
    artifacts.publish("val", {"val_data": table}, type="dataset")
    versions = []
    for predicted in predictions:
        pred = Table(["sample", "pred"], name="eval_data")
        for number, row in enumerate(table.get_index()):
            pred.add_data(row, predicted[number])
        versions.append(artifacts.publish("pred", {"eval_data": pred}, type="evaluation"))
    return versions


def test_versions_are_joined_by_the_row_of_the_ground_truth_and_its_columns_are_there(artifacts):
    versions = published(artifacts, ["a", "b", "b"], ["a", "a", "b"], ["b", "b", "b"])

    found = compare(*(Samples(version.table(), name=version.ref) for version in versions), by=["width"], bins=1)

    assert [str(one.key) for one in found.samples] == [f"val:v0/val_data#{row}" for row in range(3)]
    assert [one.change for one in found.samples] == ["right to wrong", "wrong to right", "still right"]
    assert [one.name for one in found.slices] == ["0 to 0.5"]
    assert (found.before.key, found.before.truth, found.before.name) == ("sample", "label", "pred:v0")


def test_predictions_on_another_ground_truth_are_joined_by_a_column_of_it(artifacts):
    [first] = published(artifacts, ["a", "b"], ["a", "a"])
    [second] = published(artifacts, ["a", "b", "b"], ["a", "b", "b"])

    with pytest.raises(ConfigError, match="no sample in common"):
        compare(Samples(first.table()), Samples(second.table()))
    found = compare(*(Samples(version.table(), Roles(key="id")) for version in (first, second)))

    assert [(one.key, one.change) for one in found.samples] == [(100, "still right"), (101, "wrong to right")]
    assert found.only_after == (102,)


def test_a_ground_truth_that_is_gone_is_told_where_it_is_needed(artifacts, tmp_path):
    [version] = published(artifacts, ["a"], ["a"])
    (tmp_path / "artifacts/val/v00000000.json").unlink()

    with pytest.raises(ConfigError, match=r"the truth of 'pred'.*'sample', 'pred'.*val"):
        Samples(version.table())


def test_a_reference_to_no_row_is_damage(artifacts):
    table, pred = Table(["label"], name="val_data"), Table([Column("sample", "reference", "val:v0/val_data"), "pred"])
    table.add_data("a")
    artifacts.publish("val", {"val_data": table}, type="dataset")
    pred.add_data(Reference("val", 0, "val_data", 7), "a")
    samples = Samples(artifacts.publish("pred", {"eval_data": pred}, type="evaluation").table())

    with pytest.raises(FormatError, match=r"refers to row 7 of .*val:v0/val_data.*which has 1"):
        compare(samples, samples)


def test_what_cannot_be_compared_is_refused_with_the_columns_that_there_are():
    nameless = Table([Column("a", "integer"), Column("b", "integer")])
    texts = Table([Column("id", "integer"), Column("label", "integer"), Column("pred", "string")])

    with pytest.raises(RoleError, match=r"Which column of table says which sample.*key=, one of 'a', 'b'") as raised:
        Samples(nameless)
    assert "Say --key, one of 'a', 'b'." in pickle.loads(pickle.dumps(raised.value)).told("--key")
    with pytest.raises(ConfigError, match=r"Which column of table is the prediction"):
        Samples(nameless, Roles(key="a"))
    with pytest.raises(ConfigError, match=r"no column 'c'. There is 'a', 'b'"):
        Samples(nameless, Roles(key="c", truth="a", predicted="b"))
    with pytest.raises(ConfigError, match=r"'pred' is of kind string, 'label' of integer: no prediction is ever right"):
        Samples(texts)
    assert repr(Samples(nameless, Roles("a", "b", "b"))) == "Samples('table', key='a', truth='b', predicted='b')"


# boxes


def boxed(*rows):
    """Samples of boxes, the true ones on the pictures."""
    table = Table(["id", "image", "predicted"])
    for number, (truth, predicted) in enumerate(rows):
        table.add_data(number, Image(np.zeros((32, 32), np.uint8), boxes=truth), predicted)
    return Samples(table)


CAT, DOG = [0, 0, 10, 10], [20, 20, 30, 30]
TRUTH = Boxes([CAT, DOG], ["cat", "dog"])


def test_a_picture_is_right_where_every_true_box_is_found_and_nothing_else_is():
    both = Boxes([CAT, DOG], ["cat", "dog"], [0.9, 0.8])
    cases = {
        "both": both,
        "an unsure one more": Boxes([CAT, DOG, CAT], ["cat", "dog", "dog"], [0.9, 0.8, 0.1]),
        "one missed": Boxes([CAT], ["cat"], [0.9]),
        "one too many": Boxes([CAT, DOG, [0, 20, 9, 29]], ["cat", "dog", "cat"], [0.9, 0.8, 0.7]),
        "called wrong": Boxes([CAT, DOG], ["cat", "cat"], [0.9, 0.8]),
        "beside it": Boxes([CAT, [24, 24, 34, 34]], ["cat", "dog"], [0.9, 0.8]),
        "nothing": None,
    }

    found = compare(boxed(*[(TRUTH, both)] * len(cases)), boxed(*((TRUTH, one) for one in cases.values())))

    right = {name for name, one in zip(cases, found.samples, strict=True) if one.change == "still right"}
    assert right == {"both", "an unsure one more"}
    assert (found.before.truth, found.before.predicted, found.judge.metric) == ("image", "predicted", "mAP")


def test_figures_of_boxes_are_average_precision_and_confusion_says_what_was_taken_for_what():
    old = [Boxes([CAT, DOG], ["cat", "cat"], [0.9, 0.8]), Boxes([DOG], ["dog"], [0.5])]
    new = [Boxes([CAT, DOG], ["cat", "dog"], [0.9, 0.8]), Boxes([], [], [])]

    found = compare(boxed(*((TRUTH, one) for one in old)), boxed(*((TRUTH, one) for one in new)))

    for value, side, predicted in ((found.value_before, 1, old), (found.value_after, 2, new)):
        expected = mean_average_precision(predicted, [TRUTH, TRUTH])
        assert value == expected.map
        assert {one[0]: one[side] for one in found.classes} == {
            name: (one.ap, one.num_truths) for name, one in expected.by_class.items()
        }
    assert {(one.truth, one.predicted): (one.before, one.after) for one in found.confusion} == {
        ("cat", "cat"): (1, 1),
        ("cat", None): (1, 1),
        ("dog", "cat"): (1, 0),
        ("dog", "dog"): (1, 1),
        ("dog", None): (0, 1),
    }


def test_thresholds_say_what_is_a_match_and_what_is_sure():
    near = boxed((Boxes([CAT]), Boxes([[0, 0, 10, 8]], scores=[0.2])))  # an IoU of 0.8

    changes = [
        compare(near, near, judge=Detection(iou_threshold=iou, min_score=score)).samples[0].change
        for iou, score in ((0.5, 0.1), (0.9, 0.1), (0.5, 0.3))
    ]

    assert changes == ["still right", "still wrong", "still wrong"]
    for settings_ in ({"iou_threshold": 0.0}, {"iou_threshold": math.nan}, {"min_score": math.nan}):
        with pytest.raises(ConfigError):
            Detection(**settings_)


def test_classes_and_boxes_are_not_compared():
    with pytest.raises(ConfigError, match="classes and boxes"):
        compare(boxed((TRUTH, TRUTH)), samples_of([(0, "a", "a")]))

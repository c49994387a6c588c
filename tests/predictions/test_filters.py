import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.predictions.filters import Filters, could_match, matches
from ml.predictions.kinds import VisionModelType
from ml.predictions.layout import key_of, parse_key
from ml.predictions.logged import LoggedPrediction
from tests.predictions.records import Records, box


@pytest.fixture
def read(tmp_path):
    """Writes a record, and reads it back."""

    def read(**fields):
        records = Records(tmp_path)
        return LoggedPrediction.from_path(tmp_path / records.write(**fields))

    return read


@pytest.mark.parametrize(
    ("filters", "is_meant"),
    [
        (Filters(), True),
        (Filters(model="yolo"), True),
        (Filters(model="YOLO"), False),
        (Filters(model="y[no]lo"), True),
        (Filters(version="1"), False),
        (Filters(group="fact*"), True),
        (Filters(device="?amera"), True),
        (Filters(device="amera"), False),
        (Filters(model_type=VisionModelType.DETECTION), True),
        (Filters(model_type=VisionModelType.CLASSIFICATION), False),
        (Filters(is_error=True), False),
        (Filters(class_name="face"), True),
        (Filters(class_name=""), True),
        (Filters(class_name="cat"), False),
        (Filters(min_confidence=0.75), True),
        (Filters(min_confidence=0.76), False),
        (Filters(max_confidence=0.75), True),
        (Filters(max_confidence=0.74), False),
        (Filters(class_name="", min_confidence=0.5), True),
        (Filters(class_name="", min_confidence=0.6), False),
        (Filters(class_name="face", max_confidence=0.6), False),
    ],
)
def test_a_filter_asks_for_what_its_name_says(read, filters, is_meant):
    record = read(detection=(box("face", 0.75), box("", 0.5), box("face", 0.25)))

    assert matches(filters, record) is is_meant


def test_a_confidence_that_is_no_number_is_never_the_surest(read):
    record = read(detection=(box("face", float("nan")), box("dog", 0.5)))

    assert matches(Filters(min_confidence=0.5, max_confidence=0.5), record)
    assert not matches(Filters(class_name="face", min_confidence=0.0), record)


def test_without_a_result_there_is_no_confidence(read):
    assert not matches(Filters(min_confidence=0.0), read())
    assert not matches(Filters(max_confidence=1.0), read())
    assert matches(Filters(), read())


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


@given(name=NAMES, version=NAMES, group=NAMES, device=NAMES)
def test_a_key_never_excludes_a_record_that_is_meant(name, version, group, device):
    key = key_of("DETECTION", name, version, group, device, 0, "01KDX0Q2Q6W3H5T9V8N4M2C7BA")
    literal = [
        text.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]") for text in (name, version, group, device)
    ]

    assert could_match(Filters(*literal, VisionModelType.DETECTION), parse_key(key))

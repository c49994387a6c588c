import os
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from ml.io.store import open_store
from ml.predictions.filters import Filters
from ml.predictions.kinds import VisionModelType
from ml.predictions.listing import DirectoryListing, StoreListing
from ml.predictions.reading import open_predictions
from tests.predictions.records import Records, box

DAY_MS = 86_400_000
ALL = Filters()
ANCESTORS = "DETECTION/yolo/1.0/factory/camera/2026-01-02/2026-01-02 12:00:01.500.bin"


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path / "predictions")


def keys(records, filters=ALL, **order):
    return [found.key for found in open_predictions(records.root).select(filters, **order)]


def times_ms(records, **order):
    return [found.record.timestamp for found in open_predictions(records.root).select(**order)]


def test_records_come_in_the_order_of_their_time_whatever_folders_they_lie_in(records):
    for ms, model, device in [(5, "b", "x"), (DAY_MS, "a", "x"), (1, "a", "y"), (3, "a", "x"), (-DAY_MS, "c", "z")]:
        records.detection(ms, model_name=model, device_name=device)

    assert times_ms(records) == sorted(times_ms(records)) != []
    assert times_ms(records, newest_first=True) == sorted(times_ms(records), reverse=True)
    assert len(times_ms(records)) == 5


def test_files_of_the_ancestor_take_their_place_among_ours(records):
    first, last = records.detection(1000), records.detection(2000)
    records.write(1500, key=ANCESTORS)

    assert keys(records) == [first, ANCESTORS, last]
    assert keys(records, newest_first=True) == [last, ANCESTORS, first]


def test_files_that_lie_anyhow_come_last_by_name(records):
    ours = records.detection(5)
    for key in ("b.bin", "copied/here/a.bin"):
        records.write(key=key)

    assert keys(records) == [ours, "copied/here/a.bin", "b.bin"]


def test_only_whole_visible_files_with_the_right_ending_are_records(records):
    key = records.detection()
    folder = (records.root / key).parent
    for name in (".hidden.bin", "x.bin.tmp", "notes.txt"):
        (folder / name).write_bytes(b"")
    (folder / "x.bin").mkdir()
    (records.root / "loop").symlink_to(records.root)

    assert keys(records) == [key]


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_folder_is_listed_in_parts_of_which_none_is_lost_or_doubled(records, newest_first):
    written = [records.detection(ms) for ms in (30, 10, 20, 50, 40, 60, 70)]
    listing, folder = DirectoryListing(records.root), os.path.dirname(written[0])

    for page in range(1, 9):
        assert list(listing.keys(folder, newest_first=newest_first, page=page)) == sorted(written, reverse=newest_first)


def test_a_damaged_record_is_told_counted_and_left_out(records, caplog):
    good, bad, empty = records.detection(1), records.detection(2), records.detection(3)
    records.damage(bad)
    (records.root / empty).write_bytes(b"")
    predictions = open_predictions(records.root)

    found = [one.key for one in predictions]

    assert good in found
    assert bad not in found
    assert predictions.damaged == len(caplog.records) >= 1
    assert bad in caplog.text


def test_what_a_key_rules_out_is_never_opened(records, caplog):
    wanted = records.detection(0)
    others = [
        records.detection(1, model_name="resnet"),
        records.detection(1, model_version="2.0"),
        records.detection(1, device_group="lab"),
        records.detection(1, device_name="phone"),
        records.classification(1, model_name="yolo"),
        records.detection(2),
        records.detection(-1),
        records.detection(9 * DAY_MS),
    ]
    for key in others:
        records.damage(key)
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    filters = Filters(
        "yo*", "1.0", "fact*", "cam*", VisionModelType.DETECTION, noon, noon + timedelta(milliseconds=1)
    )  # fmt: skip
    predictions = open_predictions(records.root)

    assert [found.key for found in predictions.select(filters)] == [wanted]
    assert predictions.damaged == len(caplog.records) == 0


def test_the_rest_is_looked_up_in_the_record(records):
    sure = records.detection(1, box("face", 0.9), box("dog", 0.2))
    unsure = records.detection(2, box("face", 0.4))
    failed = records.detection(3, error_message="out of memory")
    cat = records.classification(4)

    assert keys(records, Filters(class_name="face")) == [sure, unsure]
    assert keys(records, Filters(class_name="face", min_confidence=0.5)) == [sure]
    assert keys(records, Filters(class_name="dog", min_confidence=0.5)) == []
    assert keys(records, Filters(max_confidence=0.5)) == [unsure]
    assert keys(records, Filters(class_name="c?t")) == [cat]
    assert keys(records, Filters(is_error=True)) == [failed]


def test_times_are_those_of_the_records_to_the_microsecond(records):
    before, at, after = records.detection(-1), records.detection(0), records.detection(1)
    noon = datetime(2026, 1, 2, 12)  # noqa: DTZ001 - without a zone it is UTC

    assert keys(records, Filters(since=noon)) == [at, after]
    assert keys(records, Filters(since=noon + timedelta(microseconds=1))) == [after]
    assert keys(records, Filters(until=noon)) == [before]
    assert keys(records, Filters(until=noon + timedelta(microseconds=1))) == [before, at]


@pytest.mark.parametrize("local_day", ["2026-01-01", "2026-01-03"])
def test_the_local_day_of_an_ancestors_file_excludes_no_record_of_another_day_in_utc(records, local_day):
    key = ANCESTORS.replace("2026-01-02", local_day)
    records.write(0, key=key)
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)

    assert keys(records, Filters(since=noon, until=noon + timedelta(seconds=1))) == [key]


def test_names_that_a_key_cut_or_that_the_ancestor_did_not_escape_exclude_nothing(records):
    long = records.detection(1, model_name="yolo-" + "x" * 300)
    raw = records.write(1500, key=ANCESTORS.replace("yolo", "a%20b"), model_name="a%20b")
    nested = records.write(1500, key=ANCESTORS.replace("yolo", "org/yolo"), model_name="org/yolo")

    assert keys(records, Filters(model="yolo-*x")) == [long]
    assert keys(records, Filters(model="a%20b")) == [raw]
    assert keys(records, Filters(model="org/*")) == [nested]


def test_below_any_directory_of_the_layout_keys_say_the_same(records, caplog):
    wanted, other = records.detection(1), records.detection(1, device_name="phone")
    records.damage(other)
    predictions = open_predictions(records.root / "DETECTION" / "yolo")

    [found] = predictions.select(Filters(device="camera"))

    assert wanted.endswith(found.key)
    assert predictions.damaged == 0


def test_a_record_that_vanishes_meanwhile_is_no_error(records, caplog):
    first, second, third = (records.detection(ms) for ms in range(3))
    found = iter(open_predictions(records.root))

    assert next(found).key == first
    (records.root / second).unlink()
    assert next(found).key == third
    assert caplog.records == []


def test_nothing_is_read_before_it_is_asked_for(records):
    first, second = records.detection(1), records.detection(2)
    records.damage(second)
    predictions = open_predictions(records.root)

    assert [found.key for found in islice(predictions, 1)] == [first]
    assert predictions.damaged == 0


def test_all_of_time_may_be_asked_for(records):
    key = records.detection()

    for zone in (None, UTC):
        ends = (datetime.min.replace(tzinfo=zone), datetime.max.replace(tzinfo=zone))
        assert keys(records, Filters(since=ends[0], until=ends[1])) == [key]


def test_a_time_stamp_that_no_calendar_has_is_read_nevertheless(records):
    key = records.write(timestamp_ms=2**60)

    assert keys(records) == [key]
    assert keys(records, Filters(until=datetime(2100, 1, 1, tzinfo=UTC))) == []


def stored(records, store):
    """Puts all records into a store."""
    for path in records.root.rglob("*.bin"):
        store.put(path.relative_to(records.root).as_posix(), path.read_bytes())
    return open_predictions(store)


@pytest.fixture
def many(records):
    """Records of three days, two models and two devices, some of them the ancestor's."""
    for ms in (5, DAY_MS, 1, 3, -DAY_MS, 7, 2):
        records.detection(ms, box(), model_name="ab"[ms % 2], device_name="xy"[ms % 3 == 0])
    for ms in (0, 4):
        records.write(ms, model_name="a", key=ANCESTORS.replace("yolo", "a").replace("01.500", f"00.00{ms}"))
    records.write(6, key="loose.bin")
    return records


def check_like_a_directory(records, predictions):
    folder = open_predictions(records.root)
    for filters in (ALL, Filters(model="a"), Filters(device="x", since=datetime(2026, 1, 2, tzinfo=UTC))):
        for newest_first in (False, True):
            wanted = [one.key for one in folder.select(filters, newest_first=newest_first)]
            assert [one.key for one in predictions.select(filters, newest_first=newest_first)] == wanted != []


def test_a_store_is_read_as_a_directory_is(many, tmp_path):
    check_like_a_directory(many, stored(many, open_store(str(tmp_path / "store"))))


def test_a_bucket_is_read_as_a_directory_is(many, s3):
    check_like_a_directory(many, stored(many, open_store(s3.config("some/where"))))


def test_the_keys_of_a_day_are_not_listed_to_find_the_next_folder(many, tmp_path):
    store = open_store(str(tmp_path / "store"))
    stored(many, store)
    folder = "DETECTION/a/1.0/factory/x/2026-01-05"
    for number in range(20):
        store.put(f"{folder}/2026-01-05T03-04-05.678Z_01KDX0Q2Q6W3H5T9V8N400{number:04d}.bin", b"")
    yielded = 0

    class Counting:
        url = store.url

        def list(self, prefix="", *, after=""):
            nonlocal yielded
            for entry in store.list(prefix, after=after):
                yielded += 1
                yield entry

    folders = list(StoreListing(Counting()).folders())

    assert folder in folders
    assert len(set(folders)) == len(folders) == yielded


def test_a_url_of_a_directory_is_one_and_makes_none(records, tmp_path):
    key = records.detection()

    assert [one.key for one in open_predictions(records.root.as_uri())] == [key]
    with pytest.raises(FileNotFoundError):
        open_predictions((tmp_path / "absent").as_uri())
    assert not (tmp_path / "absent").exists()


def test_what_is_no_directory_is_refused(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(FileNotFoundError, match="There is no directory"):
        open_predictions(tmp_path / "absent")
    with pytest.raises(NotADirectoryError, match="is no directory"):
        open_predictions(str(tmp_path / "file"))

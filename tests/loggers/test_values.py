"""Values on their way: munged once, encoded once, dropped in order."""

import io
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ml.core.errors import LogValueError
from ml.core.state import State
from ml.loggers import kinds
from ml.loggers.snapshot import Snapshots
from ml.loggers.values import PLAIN_BYTES, Batch, Lazy, Pending, Plain, series_path


def lazy(kind, value, options=None, size_bytes=0):
    raw = kind.select(Snapshots(), value, options)
    return Lazy(kind, raw, options, path="task/key", origin="model.py:7", size_bytes=size_bytes)


def picture(shape=(3, 70, 70)):
    return lazy(kinds.IMAGE, np.full(shape, 51, np.uint8), kinds.ImageOptions())


def test_a_plain_value_gives_what_it_was_made_of():
    assert [Plain(value)() for value in (1, 0.5, "text")] == [1, 0.5, "text"]


def test_a_picture_is_a_normalized_tensor_and_the_same_pixels_as_an_array():
    value = picture()

    assert (value().dtype, value().shape) == (torch.float32, (3, 70, 70))
    assert value().unique().tolist() == pytest.approx([0.2])
    assert (value.array().dtype, value.array().max()) == (np.uint8, 51)


def test_a_clip_is_a_tensor_and_its_rate():
    value = lazy(kinds.AUDIO, np.array([0.5, -0.5], np.float32), kinds.AudioOptions(8000))

    samples, rate = value()
    assert (samples.tolist(), rate, value.sample_rate) == ([0.5, -0.5], 8000, 8000)


def test_a_video_has_its_rate_and_its_shape():
    value = lazy(kinds.VIDEO, np.zeros((6, 3, 64, 64), np.uint8), kinds.VideoOptions(fps=12))

    assert (value().shape, value().dtype, value.fps) == ((6, 3, 64, 64), torch.float32, 12)


@pytest.mark.parametrize(
    ("settings", "frames", "fps"), [({"length": 5}, 5, 5.0), ({"max_frames": 2}, 2, 2.0), ({}, 10, 10.0)]
)
def test_fewer_frames_of_a_video_last_as_long(settings, frames, fps):
    value = lazy(kinds.VIDEO, np.zeros((10, 64, 64), np.uint8), kinds.VideoOptions(**settings))

    assert (len(value.array()), value.fps) == (frames, fps)


def test_points_are_a_batch_of_clouds_with_their_colours():
    options = kinds.PointOptions(colors=np.full((4, 3), 255, np.uint8))
    value = lazy(kinds.POINT_CLOUD, np.ones((4, 3)), options)

    assert (value().shape, value().dtype) == ((1, 4, 3), torch.float32)
    assert (value.colors.shape, value.colors.dtype) == ((1, 4, 3), np.uint8)


def test_a_histogram_counts_what_it_stands_for():
    histogram = lazy(kinds.HISTOGRAM, torch.arange(3_000_000)).histogram()

    assert (histogram.count, int(histogram.counts.sum()), len(histogram.counts)) == (3_000_000, 3_000_000, 64)


@pytest.mark.parametrize(
    ("value", "form", "magic"),
    [
        (picture(), "png", b"\x89PNG"),
        (lazy(kinds.VIDEO, np.zeros((2, 8, 8), np.uint8), kinds.VideoOptions()), "gif", b"GIF89a"),
        (lazy(kinds.AUDIO, np.zeros(8, np.float32), kinds.AudioOptions()), "wav", b"RIFF"),
        (lazy(kinds.POINT_CLOUD, np.zeros((2, 3)), kinds.PointOptions()), "ply", b"ply"),
    ],
    ids=["png", "gif", "wav", "ply"],
)
def test_each_kind_has_its_file(value, form, magic):
    assert value.encoded(form).startswith(magic)


def test_a_histogram_is_as_large_as_its_bins_whatever_it_was_made_of():
    value = lazy(kinds.HISTOGRAM, np.ones(100_000), size_bytes=800_000)
    assert value.written_bytes == 800_000
    value.histogram()

    assert value.written_bytes == 8 * (64 + 65)
    assert value().shape == (100_000,)


def test_an_unknown_file_is_refused_with_those_that_there_are():
    with pytest.raises(LogValueError, match="cannot be encoded as 'gif'; it has: png"):
        picture().encoded("gif")
    with pytest.raises(LogValueError, match="has no histogram"):
        picture().histogram()


def counting(kind, munged, encoded):
    """The kind, which counts how often it munges and encodes."""
    encoders = {form: lambda common, e=encode: encoded.append(1) or e(common) for form, encode in kind.encoders.items()}
    munge = kind.munge
    return replace(kind, munge=lambda raw, options: munged.append(1) or munge(raw, options), encoders=encoders)


def test_a_value_is_munged_and_encoded_once_whoever_comes_first():
    munged, encoded = [], []
    value = lazy(counting(kinds.IMAGE, munged, encoded), np.zeros((9, 9), np.uint8), kinds.ImageOptions())
    barrier = threading.Barrier(4)

    def backend():
        barrier.wait(30)
        value()
        value.array()
        value.encoded("png")

    threads = [threading.Thread(target=backend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert (munged, encoded) == ([1], [1])


def test_nothing_is_munged_before_a_backend_asks():
    munged = []
    lazy(counting(kinds.IMAGE, munged, []), np.zeros((9, 9), np.uint8), kinds.ImageOptions())

    assert munged == []


def test_the_copy_that_a_value_was_made_of_is_let_go():
    class Copy:
        """Stands for a large array."""

    kind = replace(kinds.IMAGE, munge=lambda raw, options: kinds.Common(np.zeros((1, 2, 2), np.uint8)))
    raw = Copy()
    reference = weakref.ref(raw)
    value = Lazy(kind, raw, None, path="task/key", origin="", size_bytes=0)
    del raw
    value.array()

    assert reference() is None


@pytest.mark.parametrize("error", [LogValueError("no picture"), ValueError("a bug"), MemoryError()], ids=repr)
def test_a_value_that_cannot_be_munged_says_the_same_to_every_backend(error):
    def munge(raw, options):
        raise error

    bad = replace(kinds.IMAGE, munge=munge)
    value = lazy(bad, np.zeros((9, 9), np.uint8), kinds.ImageOptions())
    told = []
    for _ in range(2):
        with pytest.raises(LogValueError) as raised:
            value.array()
        told.append(str(raised.value))

    assert told[0] == told[1]
    assert told[0].startswith("Cannot log 'task/key': ")
    assert told[0].endswith("(Logged at model.py:7.)")


def test_a_value_may_be_kept_and_called_later():
    value = picture()
    first = value.array()

    assert value.array() is first
    assert np.array(Image.open(io.BytesIO(value.encoded("png")))).shape == (70, 70, 3)


def test_what_was_wrong_with_a_value_has_no_second_traceback_and_a_bug_has():
    def cause_of(error):
        def munge(raw, options):
            raise error

        value = lazy(replace(kinds.IMAGE, munge=munge), np.zeros((9, 9), np.uint8), kinds.ImageOptions())
        with pytest.raises(LogValueError) as raised:
            value.array()
        return raised.value.__cause__

    bug = ValueError("a bug")
    assert cause_of(LogValueError("no picture")) is None
    assert cause_of(bug) is bug


@pytest.mark.parametrize(("namespace", "path"), [("task", "task/loss"), ("", "loss")])
def test_a_series_is_called_by_its_namespace_and_key(namespace, path):
    assert series_path(namespace, "loss") == path


# what waits


def rows(count):
    return [(kinds.SCALAR, "task", f"key{index}", 0.5) for index in range(count)]


def media(size_bytes):
    return [(kinds.IMAGE, "task", "image", lazy(kinds.IMAGE, np.zeros((9, 9)), kinds.ImageOptions(), size_bytes))]


def test_what_waits_is_taken_oldest_first_and_counts_its_bytes():
    pending = Pending()
    pending.add(State(num_steps=1), rows(2), media(1000))
    pending.add(State(num_steps=2), [(kinds.STRING, "task", "note", "x" * 500)], [], text_bytes=500)

    assert pending.has_media
    assert pending.size_bytes == 1000 + 3 * PLAIN_BYTES + 500
    batches = pending.take()
    assert [batch.state.num_steps for batch in batches] == [1, 1, 2]
    assert (pending.take(), pending.size_bytes, pending.has_media) == ([], 0, False)


def test_what_waits_is_dropped_oldest_first_and_media_alone_where_that_is_asked_for():
    pending = Pending()
    for step in (1, 2, 3):
        pending.add(State(num_steps=step), rows(1), media(1000))

    dropped = pending.shrink(1000 + 3 * PLAIN_BYTES, only_media=True)
    assert [(batch.state.num_steps, batch.is_media) for batch in dropped] == [(1, True), (2, True)]
    dropped = pending.shrink(1000, only_media=True)
    assert [(batch.state.num_steps, batch.is_media) for batch in dropped] == [(3, True)]
    dropped = pending.shrink(PLAIN_BYTES, only_media=False)
    assert [(batch.state.num_steps, batch.is_media) for batch in dropped] == [(1, False), (2, False)]
    assert pending.size_bytes == PLAIN_BYTES


def test_a_batch_without_rows_is_no_media():
    assert not Batch(State(), [], 0).is_media

import io
import wave

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ml.core.errors import LogValueError
from ml.media.audio import encode_wav, exceeds_full_scale, standardize_audio


def read_wav(file):
    """Returns the samples, shape (C, T), and the rate."""
    with wave.open(file) as clip:
        assert clip.getsampwidth() == 2
        samples = np.frombuffer(clip.readframes(clip.getnframes()), "<i2")
        return samples.reshape(-1, clip.getnchannels()).T, clip.getframerate()


def sweep():
    """Two channels of rising tones, shape (2, 800), float64 in [-1, 1]."""
    time_s = np.arange(800) / 8000
    return np.stack([np.sin(2 * np.pi * (200 + 3000 * time_s) * time_s), np.sin(2 * np.pi * 440 * time_s)])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((9,), (9,)),
        ((1,), (1,)),
        ((2, 9), (2, 9)),
        ((9, 2), (2, 9)),
        ((1, 9), (1, 9)),
        ((9, 1), (1, 9)),
        ((4, 4), (4, 4)),
    ],
)
def test_the_longer_axis_is_time(shape, expected):
    samples = np.linspace(-1, 1, np.prod(shape)).reshape(shape)
    standard = standardize_audio(samples)
    assert (standard.shape, standard.dtype) == (expected, np.float32)
    np.testing.assert_array_equal(
        standard, samples.astype(np.float32).T if expected != shape else samples.astype(np.float32)
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([-(2**15), 0, 2**14, 2**15 - 1], np.int16), [-1, 0, 0.5, 1 - 2**-15]),
        (np.array([-(2**15), 2**14], ">i2"), [-1, 0.5]),
        (np.array([-(2**31), 0, 2**30], np.int32), [-1, 0, 0.5]),
        (np.array([0, 128, 192], np.uint8), [-1, 0, 0.5]),
        (np.array([100, 0], np.int16), [100 / 2**15, 0]),  # quiet stays quiet
    ],
)
def test_pcm_is_divided_by_its_full_range(values, expected):
    assert standardize_audio(values).tolist() == expected


@pytest.mark.parametrize(
    ("values", "expected", "exceeds"),
    [
        ([0.0, 0.25, -0.5], [0, 0.25, -0.5], False),
        ([1.0, -1.0], [1, -1], False),
        ([2.0, -4.0, 1.0], [0.5, -1, 0.25], True),
        ([np.nan, 0.5, np.inf, -np.inf], [0, 0.5, 0, 0], False),
        ([np.nan, 2.0, np.inf], [0, 1, 0], True),
        ([1e300, -5e299], [1, -0.5], True),
        ([0.0, 0.0], [0, 0], False),
    ],
)
def test_floats_beyond_full_scale_are_divided_by_their_peak(values, expected, exceeds):
    assert standardize_audio(np.array(values)).tolist() == expected
    assert exceeds_full_scale(values) is exceeds


def test_pcm_never_exceeds_full_scale():
    assert not exceeds_full_scale(np.array([-(2**15)], np.int16))


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.float64, np.int16, np.int32, np.uint8]),
        hnp.array_shapes(min_dims=1, max_dims=2, max_side=20),
    )
)
def test_any_sound_is_finite_within_full_scale_and_its_input_stays(samples):
    before = samples.copy()
    standard = standardize_audio(samples)
    np.testing.assert_array_equal(samples, before)
    assert standard.dtype == np.float32
    assert np.isfinite(standard).all()
    assert np.abs(standard).max() <= 1


@pytest.mark.parametrize(
    ("samples", "word"),
    [
        (np.zeros(0), r"\(0,\)"),
        (np.zeros((2, 0)), r"\(2, 0\)"),
        (np.zeros((2, 3, 4)), r"\(2, 3, 4\)"),
        (0.5, r"\(\)"),
        (np.zeros((64, 64)), "64 of 64"),
        (np.zeros(4, bool), "bool"),
        (np.zeros(4, np.int64), "int64"),
        (np.zeros(4, complex), "complex128"),
    ],
)
def test_what_is_no_sound_is_refused_with_what_it_is(samples, word):
    with pytest.raises(LogValueError, match=word) as raised:
        standardize_audio(samples)
    assert raised.value.fix.endswith(".")


def test_int16_pcm_comes_back_exactly():
    pcm = np.arange(-(2**15), 2**15, dtype=np.int16)
    samples, rate = read_wav(io.BytesIO(encode_wav(standardize_audio(pcm), 16000)))
    np.testing.assert_array_equal(samples, [pcm])
    assert rate == 16000


def test_full_scale_does_not_wrap_around():
    samples, _ = read_wav(io.BytesIO(encode_wav(np.array([1, -1], np.float32), 8000)))
    assert samples.tolist() == [[32767, -32768]]


@pytest.mark.parametrize("rate", [0, -1, 2**32, 2**31])
def test_a_rate_that_no_file_holds_is_refused(rate):
    with pytest.raises(LogValueError, match=str(rate)):
        encode_wav(np.zeros(4, np.float32), rate)


def test_a_wav_file_sounds_as_it_did(golden):
    with golden("sweep.wav").open("rb") as file:
        expected, expected_rate = read_wav(file)
    samples, rate = read_wav(io.BytesIO(encode_wav(standardize_audio(sweep().T), 8000)))
    assert rate == expected_rate == 8000
    np.testing.assert_allclose(samples, expected, atol=1)

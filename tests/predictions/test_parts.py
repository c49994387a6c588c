"""Laws of the parts of a record that readers get."""

import math

from ml.predictions.parts import most_probable
from ml.predictions.record import Class


def test_the_most_probable_class_is_the_first_of_equals_and_nan_is_the_last():
    nan, cat, dog = Class("nan", math.nan), Class("cat", 0.5), Class("dog", 0.5)

    assert most_probable((nan, cat, dog)) == cat
    assert most_probable((cat, nan)) == cat
    assert most_probable((nan,)) is nan
    assert most_probable(()) is None

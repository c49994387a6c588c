"""Numbers, texts and names that break careless backends."""

import math

import numpy as np

# Each is exact as float32.
NUMBERS = (0, -1, 0.375, 2**53, -(2**63), 2.0**100, 2**80, math.nan, math.inf, -math.inf)
# What is a number all the same, and the plain one that it is.
SCALARS: dict[str, tuple[object, int | float]] = {
    "bool": (True, 1),
    "numpy bool": (np.bool_(True), 1),
    "numpy float": (np.float64(0.375), 0.375),
    "numpy half": (np.float16(0.375), 0.375),
    "numpy whole number": (np.int64(-3), -3),
    "numpy unsigned": (np.uint8(255), 255),
    "array of one": (np.array([0.375]), 0.375),
}
TEXTS = {
    "empty": "",
    "blank": " \t ",
    "lines": "one\ntwo\r\nthree\u2028four\n",
    "quotes": "\"double\", 'single', `back`, \\ and ,;|=",
    "unicode": "Grüße, 世界 🙂 e\u0301 \u202eright to left",
    "control": "\x00\x01\x1b[31mred\x1b[0m\x07\x7f\x85",
    "markup": "</script><b>&amp;</b> ${interpolation} %s {}",
    "formula": "=1+1",
    "long": "x" * 100_000,
}
HALF_SURROGATE = "half \ud800 a pair"
NAMES = {
    "parent": "../../../outside",
    "absolute": "/outside",
    "slashes": "//a//b/",
    "dots": "..",
    "blank": " ",
    "control": "a\x00b\nc\td\x1b[31m\x7f",
    "quotes": "\"quoted\", 'so', \\ , ; | = #",
    "unicode": "Verlust_世界_🙂_e\u0301",
    "markup": "<img src=x onerror=alert(1)>",
    "device": "con.nul",
    "looks like a field": "step",
    "half a surrogate pair": "a\ud800b",
    "long": "k" * 10_000,
}
# Some file systems, and some databases, take each of these pairs for one.
ALIKE = [("loss", "Loss"), ("a/b", "a_b"), ("caf\u00e9", "cafe\u0301"), ("a b", "a%20b"), ("x" * 300, "x" * 301)]

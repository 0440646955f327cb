"""What the wording of a question's options says before anybody answered.

Writers of tests have habits: a right number has wrong ones put around it and keeps its digits, a right
sentence is worded with more care. The features state such relations among the options; what they are worth
is learned from the training questions, and a herd whose questions offer no options never sees them.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

#: Options whose place in the list is told apart; later ones share none.
N_PLACES = 10
FEATURES = (
    *(f"place_{i}" for i in range(N_PLACES)),
    "number",  # the options are numbers
    "off_middle",  # distance of its rank from the middle
    "rank",  # its rank, -0.5 the smallest
    "off_median",  # distance of its magnitude from the median one, on a log scale
    "digits",  # significant digits, beside the other options'
    "whole",  # a whole number
    "length",  # log of its length, beside the others'
    "odd_length",  # the size of that
    "longest",
    "common",  # how many other options share its words, beside the others'
    "echo",  # share of its words that the question has, beside the others'
    "hedged",  # "may", "some", "often"
)
N_FEATURES = len(FEATURES)
_COLUMN = {name: i for i, name in enumerate(FEATURES)}

_NUMBER = re.compile(
    r"-?(?P<digits>\d[\d,]*\.?\d*|\.\d+)"
    r"(?:\s*(?:[x×*]|\\times)\s*10\s*\^?\{?\(?(?P<power>[+-]?\d+)\)?\}?|[eE](?P<exponent>[+-]?\d+))?"
)
_WORD = re.compile(r"[^\W\d_]+|\d+\.?\d*")
_HEDGES = frozenset({"may", "some", "can", "might", "often", "usually"})
# Scales bring what is measured on the training questions of the first table to about 1; clipped at 4.
_DIGITS, _LENGTH, _SHARED, _CLIP = 1.0, 0.35, 0.12, 4.0


def number_in(option: str) -> tuple[float, int] | None:
    """The number that an option states and its significant digits; None where it is mostly words.

    >>> number_in("$1,200")
    (1200.0, 2)
    >>> number_in("3.0 x 10^8 m/s")
    (300000000.0, 1)
    >>> number_in("the third of them") is None
    True
    """
    option = option.replace("\u2212", "-").replace("\u2013", "-")
    found = _NUMBER.search(option)
    if found is None or (found.start() > 2 and 5 * sum(c.isdigit() for c in option) < len(option)):
        return None
    digits = found["digits"].replace(",", "")
    power = int(found["power"] or found["exponent"] or 0)
    value = float(digits) * 10.0 ** min(max(power, -60), 60)
    value = -value if found[0].startswith("-") else value
    return value, len(digits.replace(".", "").lstrip("0").rstrip("0"))


def option_features(options: Sequence[str], question: str) -> np.ndarray:
    """Features of each option, ``(len(options), N_FEATURES)`` float32; see ``FEATURES``.

    Args:
        options: their texts, in order.
        question: the text of the query, with or without the options.
    """
    n = len(options)
    features = np.zeros((n, N_FEATURES), dtype=np.float32)
    if n == 0:
        return features
    place = np.arange(min(n, N_PLACES))
    features[place, place] = 1.0
    column = _COLUMN
    numbers = [number_in(option) for option in options]
    if n > 1 and sum(number is not None for number in numbers) > 0.6 * n:
        _numeric(features, column, numbers)
    length = np.log1p(np.array([len(option) for option in options]))
    beside = (length - length.mean()) / _LENGTH
    features[:, column["length"]], features[:, column["odd_length"]] = beside, np.abs(beside)
    longest = length == length.max()
    features[:, column["longest"]] = longest & (longest.sum() <= 2)
    words = [set(_WORD.findall(option.lower())) for option in options]
    asked = question
    for option in options:
        asked = asked.replace(option, " ", 1)
    known = set(_WORD.findall(asked.lower()))
    shared = Counter(word for each in words for word in each)
    common = np.array([sum(shared[w] - 1 for w in each) / max(len(each) * (n - 1), 1) for each in words])
    echo = np.array([len(each & known) / max(len(each), 1) for each in words])
    features[:, column["common"]] = (common - common.mean()) / _SHARED
    features[:, column["echo"]] = (echo - echo.mean()) / _SHARED
    features[:, column["hedged"]] = [bool(each & _HEDGES) for each in words]
    return np.clip(features, -_CLIP, _CLIP, out=features)


def _numeric(
    features: np.ndarray, column: dict[str, int], numbers: Sequence[tuple[float, int] | None]
) -> None:
    """Fill in how the numbers stand to each other."""
    features[:, column["number"]] = 1.0
    rows = np.array([i for i, number in enumerate(numbers) if number is not None])
    value = np.array([number[0] for number in numbers if number is not None])
    digits = np.array([number[1] for number in numbers if number is not None], dtype=np.float64)
    below = (value[None] < value[:, None]).sum(axis=1) + 0.5 * (value[None] == value[:, None]).sum(axis=1)
    rank = below / len(value) - 0.5
    size = np.log(np.abs(value) + 1e-12)
    off = np.abs(size - np.median(size))
    typical = max(float(np.median(off)), 1e-3)
    features[rows, column["rank"]], features[rows, column["off_middle"]] = rank, np.abs(rank)
    features[rows, column["off_median"]] = np.minimum(off / typical, 4.0) / 2.0
    features[rows, column["digits"]] = (digits - digits.mean()) / _DIGITS
    features[rows, column["whole"]] = [math.isfinite(v) and v == round(v) for v in value.tolist()]

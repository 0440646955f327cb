"""How the numbers among a question's options stand to each other."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

NUMERIC = (
    "number",  # the options are numbers
    "off_middle",  # distance of its rank from the middle
    "rank",  # its rank, -0.5 the smallest
    "off_median",  # distance of its magnitude from the median one, on a log scale
    "digits",  # significant digits, beside the other options'
    "three_digits",  # three of them or more
    "whole",  # a whole number
    "round",  # a multiple of a half of its highest decimal place
    "ends_round",  # its last digit is 0 or 5
    "odd_decimals",  # log of how few options have as many decimals
    "twice",  # log of 1 + options that are its double or half
    "tenfold",  # log of 1 + options that are 10 or 100 times it, or a 10th or 100th
    "rest",  # another option is what it lacks to 1 or to 100
)
N_NUMERIC = len(NUMERIC)
#: Of those, taken beside the options' mean.
_BESIDE = ("digits", "three_digits", "round", "ends_round", "odd_decimals", "twice", "tenfold", "rest")
#: Share of the options that must be numbers.
_MOSTLY = 0.6
#: Numbers that differ by this share are meant to be the same.
_CLOSE = 0.006

_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(
    r"-?(?P<digits>\d[\d,]*\.?\d*|\.\d+)"
    r"(?:\s*(?:[x×*]|\\times)\s*10\s*\^?\{?\(?(?P<power>[+-]?\d+)\)?\}?|[eE](?P<exponent>[+-]?\d+))?"
)


def number_in(option: str) -> tuple[float, int, int] | None:
    """The number that an option states, its significant digits and decimals; None where it is mostly words.

    >>> number_in("$1,200")
    (1200.0, 2, 0)
    >>> number_in("3.0 x 10^8 m/s")
    (300000000.0, 1, 1)
    >>> number_in("the third of them") is None
    True
    """
    if not option.isascii():
        option = option.replace("\u2212", "-").replace("\u2013", "-")
    found = _NUMBER.search(option)
    if found is None or (found.start() > 2 and 5 * len(_DIGIT.findall(option)) < len(option)):
        return None
    written, power, exponent = found.groups()
    digits = written.replace(",", "")
    value = float(digits)
    if power or exponent:
        value *= 10.0 ** min(max(int(power or exponent), -60), 60)
    value = -value if found[0].startswith("-") else value
    return value, len(digits.replace(".", "").lstrip("0").rstrip("0")), len(digits.partition(".")[2])


def numeric_features(
    texts: Sequence[str], digit: np.ndarray, group: np.ndarray, place: np.ndarray, there: np.ndarray
) -> np.ndarray:
    """``(n, K, N_NUMERIC)`` of the options of n questions; 0 where a question's are not numbers.

    Args:
        texts: the options of all questions.
        digit: whether each has a digit at all.
        group, place: its question and its place there.
        there: ``(n, K)`` bool, where an option is.
    """
    features = np.zeros((*there.shape, N_NUMERIC))
    found = [number_in(text) if has else None for text, has in zip(texts, digit.tolist(), strict=True)]
    count = there.sum(axis=1)
    numbers = np.bincount(group, weights=[number is not None for number in found], minlength=len(count))
    chosen = (numbers > _MOSTLY * count) & (count > 1)
    if not chosen.any():
        return features
    value, digits = np.full(there.shape, np.nan), np.zeros(there.shape)
    decimals, last = np.full(there.shape, -1.0), np.zeros(there.shape)
    rows = [i for i, number in enumerate(found) if number is not None and chosen[group[i]]]
    at = (group[rows], place[rows])
    stated = np.array([found[i] for i in rows], dtype=np.float64)
    value[at], digits[at], decimals[at] = stated.T
    last[at] = [_last_digit(texts[i]) in "05" for i in rows]
    some = np.flatnonzero(chosen)
    features[some] = _relations(value[some], digits[some], decimals[some], last[some], there[some])
    return features


def _last_digit(text: str) -> str:
    return next(c for c in reversed(text) if c.isdigit())


def _relations(
    value: np.ndarray, digits: np.ndarray, decimals: np.ndarray, last: np.ndarray, there: np.ndarray
) -> np.ndarray:
    """Features of questions whose options are numbers; ``value`` is NaN where one states none."""
    known = np.isfinite(value)
    count = known.sum(axis=1, keepdims=True)
    v = value
    one, other = v[:, :, None], v[:, None, :]
    columns = {name: np.zeros(value.shape) for name in NUMERIC}
    columns["number"][:] = there
    below = (other < one).sum(axis=2) + 0.5 * (other == one).sum(axis=2)
    columns["rank"] = np.where(known, below / count - 0.5, 0.0)
    columns["off_middle"] = np.abs(columns["rank"])
    size = np.log(np.abs(v) + 1e-12)
    off = np.abs(size - _median(size, count))
    typical = np.maximum(_median(off, count), 1e-3)
    columns["off_median"] = np.where(known, np.minimum(np.nan_to_num(off) / typical, 4.0) / 2.0, 0.0)
    columns["digits"], columns["three_digits"] = digits, known & (digits >= 3)
    columns["whole"] = known & (v == np.round(v))
    magnitude = np.where(known & (v != 0), np.abs(v), 1.0)
    doubled = 2.0 * magnitude / 10.0 ** np.floor(np.log10(magnitude))
    columns["round"] = known & (v != 0) & (np.abs(doubled - np.round(doubled)) < 1e-6)
    columns["ends_round"] = last
    alike = (decimals[:, :, None] == decimals[:, None, :]) & known[:, None, :]
    columns["odd_decimals"] = np.where(known, -np.log(np.maximum(alike.sum(axis=2), 1)), 0.0)
    ratio = one / np.where(other == 0, np.nan, other)
    columns["twice"] = _counted(_near(ratio, 2.0) | _near(ratio, 0.5))
    columns["tenfold"] = _counted(
        _near(ratio, 10.0) | _near(ratio, 0.1) | _near(ratio, 100.0) | _near(ratio, 0.01)
    )
    whole = one + other
    columns["rest"] = (_counted(_near(whole, 1.0) | _near(whole, 100.0)) > 0).astype(np.float64)
    for name in _BESIDE:
        mean = np.where(known, columns[name], 0.0).sum(axis=1, keepdims=True) / count
        columns[name] = np.where(known, columns[name] - mean, 0.0)
    return np.stack([columns[name] for name in NUMERIC], axis=2)


def _median(values: np.ndarray, count: np.ndarray) -> np.ndarray:
    """``(n, 1)`` medians of rows of which ``count`` ``(n, 1)`` are known, the others NaN."""
    ranked = np.sort(values, axis=1)  # NaN last
    low = np.take_along_axis(ranked, (count - 1) // 2, axis=1)
    median: np.ndarray = 0.5 * (low + np.take_along_axis(ranked, count // 2, axis=1))
    return median


def _near(values: np.ndarray, to: float) -> np.ndarray:
    close: np.ndarray = np.abs(values - to) < _CLOSE * to
    return close


def _counted(pairs: np.ndarray) -> np.ndarray:
    """Log of 1 + how many others each is paired with, ``(n, K)``."""
    own = np.arange(pairs.shape[1])
    pairs[:, own, own] = False
    counted: np.ndarray = np.log1p(pairs.sum(axis=2))
    return counted

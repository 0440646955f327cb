"""The form of a text: what kind of request it is, whatever it is about.

A science question with four options and the same one without are alike to word vectors, but different
models are good at them. Each signal is kept by cross-validation: docs/experiments/2026-11-21-predictors.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from operator import mul, sub

import numpy as np

#: Classes of code points; a text's shares of these are its first features.
_CLASSES = ("space", "digit", "upper", "symbol", "foreign", "ideograph")
_SYMBOLS = "(){}[]<>=_;\"'\\/+*^$|`#@&~%"
_IDEOGRAPHS = 0x2E80
#: One option of a choice at the beginning of a line; and one that is a number.
_OPTION = re.compile(r"\n[ \t]*\(?[A-Z][.):]")
_NUMBER = re.compile(r"\n[ \t]*\(?[A-Z][.):][ \t]*[-−–$£€(]?[ \t]*\.?\d")
_FIGURE = re.compile(r"\d+")
_CODE = ("def ", "return ", "import ", "```", "();", "function(", "#include", "SELECT ")
#: Digits as they are, all else a space: the runs of digits of an ASCII text are then its words.
_DIGITS = bytes(c if ord("0") <= c <= ord("9") else ord(" ") for c in range(256))
#: Names of the features, in order.
SIGNALS = (
    *_CLASSES,
    "length",
    "lines",
    "sentences",
    "options",
    "choice",
    "asks",
    "ends_asking",
    "ends_open",
    "formula",
    "code",
    "blank",
    "number_options",
    "option_length",
    "stem",
    "figures",
)
N_SIGNALS = len(SIGNALS)


def _table(n: int) -> np.ndarray:
    """Class of each code point below ``n``; the last entry stands for all from the ideographs on."""
    table = np.full(n, _CLASSES.index("foreign"), dtype=np.uint8)
    table[:128] = len(_CLASSES)
    table[[ord(c) for c in " \n\t\r"]] = _CLASSES.index("space")
    table[ord("0") : ord("9") + 1] = _CLASSES.index("digit")
    table[ord("A") : ord("Z") + 1] = _CLASSES.index("upper")
    table[[ord(c) for c in _SYMBOLS]] = _CLASSES.index("symbol")
    table[_IDEOGRAPHS:] = _CLASSES.index("ideograph")
    return table


_TABLE = _table(_IDEOGRAPHS + 1)
_ASCII = _table(256).tobytes()
#: What is typical and how far texts differ from it, by feature: fixed, so that nothing has to be learned.
_TYPICAL = np.array(
    [
        *(0.40, 0.12, 0.19, 0.12, 0.03, 0.10, 0.57, 0.45, 0.48, 0.45, 0.60, 0.5, 0.17, 0.4, 0.1, 0.07, 0.02),
        *(0.22, 0.40, 0.48, 0.25),
    ],
    dtype=np.float32,
)
_SPREAD = np.array(
    [
        *(0.07, 0.13, 0.08, 0.10, 0.08, 0.27, 0.12, 0.33, 0.30, 0.42, 0.48, 0.5, 0.37, 0.48, 0.3, 0.26, 0.20),
        *(0.41, 0.26, 0.11, 0.30),
    ],
    dtype=np.float32,
)
_TYPICAL_VALUES, _PER_SPREAD = _TYPICAL.tolist(), (1.0 / _SPREAD.astype(np.float64)).tolist()


def form_features(texts: Sequence[str]) -> np.ndarray:
    """Signals of form, ``(n_texts, N_SIGNALS)`` float32, each row of length one."""
    features = np.empty((len(texts), N_SIGNALS), dtype=np.float32)
    for row, text in zip(features, texts, strict=True):
        row[:] = _signals(text)
    features -= _TYPICAL
    features /= _SPREAD
    features /= np.maximum(np.sqrt(np.einsum("ij,ij->i", features, features)), 1e-6)[:, None]
    return features


def form_features_one(text: str, length: float = 1.0) -> list[float]:
    """The same of one text, ``N_SIGNALS`` numbers of any length; so few are counted faster without arrays."""
    told = list(map(mul, map(sub, _signals(text), _TYPICAL_VALUES), _PER_SPREAD))
    factor = length / max(math.hypot(*told), 1e-6)
    return [value * factor for value in told]


def _signals(text: str) -> list[float]:
    n = max(len(text), 1)
    counts = _class_counts(text)
    end = text[-80:].rstrip()[-1:]
    lines = text.count("\n")
    options = len(_OPTION.findall(text)) if lines else 0
    # Some choices are one line or have one option: what stands before the first is the stem all the same.
    first = _OPTION.search(text) if options > 1 else None
    stem = text if first is None else text[: first.start()]
    return [
        *[math.sqrt(count / n) for count in counts],
        math.log1p(n) / 10,
        min(math.log1p(lines) / 4, 1.0),
        min(math.log1p(text.count(". ") + text.count("。")) / 3, 1.0),
        min(options, 10) / 10,
        float(options > 1),
        float("?" in text or "？" in text),
        float(end in ("?", "？")),
        float(end in (":", "：")),
        float("$" in text or "\\" in text),
        float(_has_code(text)),
        float("__" in text),
        len(_NUMBER.findall(text)) / options if options > 1 else 0.0,
        math.log1p((len(text) - len(stem)) / options) / 6 if options > 1 else 0.0,
        math.log1p(len(stem)) / 10,
        min(math.log1p(_figures(stem)) / 3, 1.0),
    ]


def _has_code(text: str) -> bool:
    for word in _CODE:  # noqa: SIM110 - half the time of any()
        if word in text:
            return True
    return False


def _figures(text: str) -> int:
    """How many runs of digits there are."""
    if text.isascii():
        return len(text.encode("ascii").translate(_DIGITS).split())
    return len(_FIGURE.findall(text))


def _class_counts(text: str) -> list[int]:
    if text.isascii():
        classes = text.encode("ascii").translate(_ASCII)
        return [classes.count(number) for number in range(len(_CLASSES))]
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    counts = np.bincount(_TABLE[np.minimum(points, _IDEOGRAPHS)], minlength=len(_CLASSES) + 1)
    counted: list[int] = counts[: len(_CLASSES)].tolist()
    return counted

"""Signals of the tools that a request offers: how many, how large, and whether one suits what is asked.

Models that call tools differ most in two things: whether they see that no tool suits, and whether they
choose among several. Both show before the call. Kept by cross-validation:
docs/experiments/2026-11-21-ceilings.md.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from herdwise.core.query import TOOL_FIELDS, TOOLS_MARK

#: Names of the features, in order; the first says that there are tools at all.
TOOL_SIGNALS = ("offered", "number", "single", "parameters", "length", "suits_in_meaning", "suits_in_words")
N_TOOL_SIGNALS = len(TOOL_SIGNALS)
#: Tools that are looked at, and characters of each: bounds the time of a decision.
_MAX_TOOLS, _MAX_CHARS = 64, 400
#: Offers that are remembered; longer ones are read anew each time, as they would be kept whole.
N_REMEMBERED, MOST_REMEMBERED_CHARS = 32, 50_000
#: What is typical and how far requests differ from it, by feature after the first.
_TYPICAL = np.array([0.20, 0.70, 0.65, 0.50, 0.65, 0.45], dtype=np.float32)
_SPREAD = np.array([0.25, 0.45, 0.20, 0.10, 0.18, 0.18], dtype=np.float32)


class Offer(NamedTuple):
    """The tools of a request.

    Args:
        texts: what each tool says of itself.
        n_parameters: mean number of parameters.
        n_chars: length of all together.
    """

    texts: tuple[str, ...]
    n_parameters: float
    n_chars: int


def split_offer(asked: str) -> tuple[str, str]:
    """A query's text and its tools, as ``core.query.asked_text`` joined them."""
    text, _, tools = asked.partition(TOOLS_MARK)
    return text, tools


def read_offer(tools: str) -> Offer:
    """Tools as ``core.query.asked_text`` wrote them; clients offer the same ones again and again."""
    return _read(tools) if len(tools) > MOST_REMEMBERED_CHARS else _remembered(tools)


def _read(tools: str) -> Offer:
    lines = tools.split(TOOLS_MARK)[:_MAX_TOOLS]
    texts, parameters = [], 0
    for line in lines:
        name, description, names = [*line.split(TOOL_FIELDS), "", ""][:3]
        words = name.replace("_", " ").replace(".", " ")
        texts.append(f"{words}: {description}"[:_MAX_CHARS])
        parameters += len(names.split())
    return Offer(tuple(texts), parameters / len(lines), len(tools))


_remembered = lru_cache(maxsize=N_REMEMBERED)(_read)


def tool_features(offer: Offer, meaning: np.ndarray, words: np.ndarray) -> np.ndarray:
    """``(N_TOOL_SIGNALS,)`` float32 of length one.

    Args:
        offer: the tools.
        meaning, words: ``(n_tools,)`` cosines of the query with each tool, of the semantic block and the
            lexical one.
    """
    n = len(offer.texts)
    values = np.array(
        [
            min(math.log(n), 2.0) / 2,
            float(n == 1),
            min(math.log1p(offer.n_parameters) / 2, 1.5),
            math.log1p(offer.n_chars) / 10,
            float(meaning.max()),
            float(words.max()),
        ],
        dtype=np.float32,
    )
    features = np.ones(N_TOOL_SIGNALS, dtype=np.float32)
    features[1:] = (values - _TYPICAL) / _SPREAD
    features /= math.sqrt(float(features @ features))
    return features

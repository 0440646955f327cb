"""What the wording of a question's options says before anybody answered.

Writers of tests have habits: a right number has wrong ones put around it and keeps its digits, wrong
sentences are varied from the right one, and speak of "all" and "never". The features state such relations
among the options; what they are worth is learned from the training questions, and a herd whose questions
offer no options never sees them. Spaces around an option are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from herdwise.prediction.option_numbers import N_NUMERIC, NUMERIC, numeric_features
from herdwise.prediction.option_wording import Spelled, Words

#: Options whose place in the list is told apart; later ones share none.
N_PLACES = 10
_WORDED = (
    "length",  # log of its length
    "odd_length",  # how far that is from the others'
    "longest",
    "stop",  # ends with a full stop
    "capital",  # begins with a capital
    "commas",
    "formula",  # has a backslash or a dollar sign that is no price
    "symbol",  # has a character beyond ASCII
    "digit",  # has a digit
    "hedged",  # "may", "some", "often"
    "absolute",  # "all", "never", "only"
    "joined",  # "and"
    "common",  # share of the other options that have its words
    "echo",  # share of its words that the question has
    "one_word",  # log of 1 + options that differ from it in one word
    "alike",  # likeness of spelling to the other options, on the mean
    "most_alike",  # to the likest
    "three_alike",  # to the three likest
)
FEATURES = (*(f"place_{i}" for i in range(N_PLACES)), *NUMERIC, *_WORDED)
N_FEATURES = len(FEATURES)
#: Those of ``_WORDED`` that are taken as they are; the others beside the options' mean.
_AS_THEY_ARE = ("odd_length", "longest")
#: About the spread of each on the training questions of the first table; clipped at ``_CLIP`` of them.
_SCALE = {"length": 0.35, "odd_length": 0.35, "commas": 0.5, "common": 0.12, "echo": 0.12, "one_word": 0.5}
_SCALE |= {"alike": 0.1, "most_alike": 0.2, "three_alike": 0.15}
_CLIP = 4.0
_HEDGES = "may some can might often usually"
_ABSOLUTES = "all only always never every must entirely solely any none no"
_Lay = Callable[[np.ndarray], np.ndarray]
#: Options of more words differ in more than one.
_COMPARED = 16
_CHUNK = 256


def option_features(options: Sequence[str], question: str) -> np.ndarray:
    """Features of one question's options, ``(len(options), N_FEATURES)`` float32; see ``FEATURES``.

    Args:
        options: their texts, in order.
        question: the text of the query, with or without the options.
    """
    features: np.ndarray = features_of([options], [question])[0]
    return features


def features_of(options: Sequence[Sequence[str]], questions: Sequence[str]) -> np.ndarray:
    """Features of many questions' options, ``(n, K, N_FEATURES)``, 0 beyond a question's last; K the most."""
    width = max((len(listed) for listed in options), default=0)
    features = np.zeros((len(options), width, N_FEATURES), dtype=np.float32)
    some = [i for i, listed in enumerate(options) if len(listed)]
    for start in range(0, len(some), _CHUNK):
        part = some[start : start + _CHUNK]
        stems = [_stem(questions[i], options[i]) for i in part]
        found = _chunk([options[i] for i in part], stems)
        features[part, : found.shape[1]] = found
    return features


def _stem(question: str, options: Sequence[str]) -> str:
    """The question without its options."""
    end = len(question)
    for option in reversed(options):
        at = question.rfind(option, 0, end)
        end = at if at >= 0 else end
    return question[:end]


def _chunk(options: Sequence[Sequence[str]], stems: Sequence[str]) -> np.ndarray:
    count = np.array([len(listed) for listed in options])
    n, width = len(count), int(count.max())
    there = np.arange(width) < count[:, None]
    group, place = np.nonzero(there)
    texts = [option for listed in options for option in listed]
    spelled = Spelled.of(texts)
    features = np.zeros((n, width, N_FEATURES), dtype=np.float32)
    listed = np.arange(min(width, N_PLACES))
    features[:, listed, listed] = there[:, : len(listed)]
    digit = spelled.having(spelled.digit) > 0
    features[:, :, N_PLACES : N_PLACES + N_NUMERIC] = numeric_features(texts, digit, group, place, there)
    worded = _worded(spelled, group, place, there, stems)
    share = 1.0 / np.maximum(count, 1)
    for column, name in enumerate(_WORDED, start=N_PLACES + N_NUMERIC):
        value = worded[name]
        if name not in _AS_THEY_ARE:
            value = np.where(there, value - (value.sum(axis=1) * share)[:, None], 0.0)
        features[:, :, column] = value / _SCALE.get(name, 1.0)
    return np.clip(features, -_CLIP, _CLIP, out=features)


def _worded(
    spelled: Spelled, group: np.ndarray, place: np.ndarray, there: np.ndarray, stems: Sequence[str]
) -> dict[str, np.ndarray]:
    """The columns of ``_WORDED``, ``(n, K)`` each, 0 where no option is."""

    def laid(value: np.ndarray) -> np.ndarray:
        table = np.zeros(there.shape)
        table[group, place] = value
        return table

    n_texts = len(group)
    count = there.sum(axis=1)
    length = laid(np.log1p(spelled.length))
    middle = length.sum(axis=1) / np.maximum(count, 1)
    longest = (length == length.max(axis=1, keepdims=True)) & there
    words = spelled.words()
    dollar = spelled.count("$") - spelled.first(spelled.codes == ord("$"))
    like = spelled.likeness(group, place, there.shape)
    ranked = np.sort(like, axis=2)[:, :, ::-1]
    return {
        "length": length,
        "odd_length": np.where(there, np.abs(length - middle[:, None]), 0.0),
        "longest": longest & (longest.sum(axis=1, keepdims=True) <= 2),
        "stop": laid(spelled.last(spelled.codes == ord("."))),
        "capital": laid(spelled.first(spelled.capital)),
        "commas": laid(np.minimum(spelled.count(","), 3)),
        "formula": laid((spelled.count("\\") > 0) | (dollar > 0)),
        "symbol": laid(spelled.having(spelled.codes > 127) > 0),
        "digit": laid(spelled.having(spelled.digit) > 0),
        "hedged": laid(words.among(_listed(_HEDGES), n_texts)),
        "absolute": laid(words.among(_listed(_ABSOLUTES), n_texts)),
        "joined": laid(words.among(_listed("and"), n_texts)),
        **_shared(words, group, count, stems, laid),
        "one_word": _one_word(words, n_texts, group, place, there),
        "alike": like.sum(axis=2) / np.maximum(count - 1, 1)[:, None],
        "most_alike": ranked[:, :, 0],
        "three_alike": ranked[:, :, :3].mean(axis=2),
    }


@cache
def _listed(words: str) -> Words:
    return Spelled.of([words]).words()


def _shared(
    words: Words, group: np.ndarray, count: np.ndarray, stems: Sequence[str], laid: _Lay
) -> dict[str, np.ndarray]:
    """Words shared with the other options and with the question."""
    n_texts = len(group)
    text, key = words.once(group)
    n_words = np.maximum(np.bincount(text, minlength=n_texts), 1)
    _, which, repeats = np.unique(key, return_inverse=True, return_counts=True)
    others = np.bincount(text, weights=repeats[which] - 1, minlength=n_texts)
    asked = Spelled.of(stems).words()
    _, known = asked.once(np.arange(len(stems)))
    echoed = np.bincount(text, weights=np.isin(key, known), minlength=n_texts)
    common = others / (n_words * np.maximum(count - 1, 1)[group])
    return {"common": laid(common), "echo": laid(echoed / n_words)}


def _one_word(
    words: Words, n_texts: int, group: np.ndarray, place: np.ndarray, there: np.ndarray
) -> np.ndarray:
    """Log of 1 + how many of the other options differ from each in one word."""
    size = np.zeros(there.shape, dtype=np.int64)
    size[group, place] = np.bincount(words.text, minlength=n_texts)
    rows = np.zeros((*there.shape, _COMPARED), dtype=np.uint64)
    rows[group, place] = words.rows(n_texts, _COMPARED)
    same = (rows[:, :, None, :] == rows[:, None, :, :]).sum(axis=3)
    one = (same == _COMPARED - 1) & (size[:, :, None] == size[:, None, :])
    one &= (size[:, :, None] > 1) & (size[:, :, None] <= _COMPARED)
    close: np.ndarray = np.log1p(one.sum(axis=2))
    return close

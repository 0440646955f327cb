"""The network of fusion: from who said what to scores of the values, and to what others would say.

A small network over sets (Zaheer et al. 2017, Deep Sets) with the conditional softmax of discrete choice
on top (McFadden 1974). Per query, each value v that was said and "none of those" (v = 0) get

    hidden_v = relu(sum over who said v of say_j + sum over all who spoke of spoke_j
                    + sum over failures of fail_j + query)
    score_v  = hidden_v . readout + sum over who said v of vote_j          P(v) = softmax over v

where ``say_j``, ``spoke_j`` and ``vote_j`` are linear in the predicted log-odds of candidate j on this query.
The votes alone are the linear stack; the hidden units are what counts a family that agrees with itself once,
and what knows who errs with whom. A second head foretells what an unasked candidate would say: one of the
values, something new, or nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from herdwise.prediction.votes import FAILED, NOT_RUN

Parameters = dict[str, np.ndarray]
_ABSENT = np.float32(-1e9)


@dataclass(frozen=True, slots=True)
class Batch:
    """Queries with the candidates that were heard of each.

    Args:
        said: ``(b, m)`` as in ``Votes``.
        odds: ``(b, m)`` float32 centred log-odds of predicted quality.
        heard: ``(b, m)`` bool, whose answer is known; the others are to be foretold.
        width: K, the number of value columns.
    """

    said: np.ndarray
    odds: np.ndarray
    heard: np.ndarray
    width: int


def initial(m: int, hidden: int, vote: np.ndarray, rng: np.random.Generator) -> Parameters:
    """Parameters before learning, ``vote`` ``(m,)`` being the first guess of the votes' weights."""

    def small(*shape: int, scale: float = 0.1) -> np.ndarray:
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    return {
        "say": small(m, hidden),
        "say_odds": small(m, hidden, scale=0.03),
        "spoke": small(m, hidden, scale=0.05),
        "spoke_odds": small(m, hidden, scale=0.03),
        "fail": small(m, hidden, scale=0.05),
        "query": small(hidden),
        "offset": np.zeros(hidden, dtype=np.float32),
        "none": small(hidden),
        "readout": small(hidden),
        "vote": vote.astype(np.float32),
        "vote_odds": np.full(m, 0.3, dtype=np.float32),
        "none_spoke": np.zeros(m, dtype=np.float32),
        "none_fail": np.zeros(m, dtype=np.float32),
        "none_query": np.zeros(1, dtype=np.float32),
        "none_score": np.zeros(1, dtype=np.float32),
        "next": small(hidden, m),
        "next_new": np.zeros(m, dtype=np.float32),
        "next_fail": small(hidden, m),
        "next_fail_score": np.full(m, -1.0, dtype=np.float32),
    }


@dataclass(frozen=True, slots=True)
class Passed:
    """What a forward pass leaves for the gradient; ``probability`` is its result, ``(b, K + 1)``."""

    said: np.ndarray
    said_odds: np.ndarray
    spoke: np.ndarray
    failed: np.ndarray
    level: np.ndarray
    hidden: np.ndarray
    present: np.ndarray
    probability: np.ndarray


def forward(p: Mapping[str, np.ndarray], batch: Batch) -> Passed:
    """Probabilities of the values; absent ones get 0."""
    b, m = batch.said.shape
    width, size = batch.width, len(p["offset"])
    numbers = np.arange(width, dtype=batch.said.dtype)
    said = ((batch.said[:, None, :] == numbers[None, :, None]) & batch.heard[:, None, :]).astype(np.float32)
    spoke = ((batch.said >= 0) & batch.heard).astype(np.float32)
    failed = ((batch.said == FAILED) & batch.heard).astype(np.float32)
    said_odds = said * batch.odds[:, None, :]
    level = batch.odds.mean(axis=1)
    shared = spoke @ p["spoke"] + (spoke * batch.odds) @ p["spoke_odds"] + failed @ p["fail"]
    shared += level[:, None] * p["query"] + p["offset"]
    hidden = np.empty((b, width + 1, size), dtype=np.float32)
    flat, flat_odds = said.reshape(-1, m), said_odds.reshape(-1, m)
    hidden[:, :width] = (flat @ p["say"] + flat_odds @ p["say_odds"]).reshape(b, width, size)
    hidden[:, width] = p["none"]
    hidden += shared[:, None]
    np.maximum(hidden, 0.0, out=hidden)
    score = hidden @ p["readout"]
    score[:, :width] += (flat @ p["vote"] + flat_odds @ p["vote_odds"]).reshape(b, width)
    score[:, width] += (
        p["none_score"] + spoke @ p["none_spoke"] + failed @ p["none_fail"] + level * p["none_query"]
    )
    present = np.ones((b, width + 1), dtype=bool)
    present[:, :width] = said.any(axis=2)
    score = np.where(present, score, _ABSENT)
    return Passed(said, said_odds, spoke, failed, level, hidden, present, softmax(score, axis=1))


def gradient(
    p: Mapping[str, np.ndarray], batch: Batch, right: np.ndarray, next_weight: float
) -> tuple[float, Parameters]:
    """Mean cross-entropy of the right value, and the gradient of it plus ``next_weight`` times the next head's.

    Args:
        right: ``(b, K + 1)`` as in ``Votes``; what was right but not heard counts as "none of those".
    """
    b, m = batch.said.shape
    width, size = batch.width, len(p["offset"])
    out = forward(p, batch)
    target = np.where(out.present, right, 0.0).astype(np.float32)
    target[:, width] = 1.0 - target[:, :width].sum(axis=1)
    loss = float(-(target * np.log(out.probability + 1e-9)).sum() / b)
    d_score = (out.probability - target) / np.float32(b)
    d_hidden = d_score[..., None] * p["readout"]
    g: Parameters = {"readout": np.einsum("bk,bkh->h", d_score, out.hidden)}

    d_next, d_fail = _next_error(p, batch, out, next_weight)
    g["next"] = out.hidden.reshape(-1, size).T @ d_next.reshape(-1, m)
    g["next_new"] = d_next[:, width].sum(axis=0)
    g["next_fail"] = out.hidden[:, width].T @ d_fail
    g["next_fail_score"] = d_fail.sum(axis=0)
    d_hidden += d_next @ p["next"].T
    d_hidden[:, width] += d_fail @ p["next_fail"].T

    d_hidden *= (out.hidden > 0) & out.present[..., None]
    d_shared = d_hidden.sum(axis=1)
    d_values = d_hidden[:, :width].reshape(-1, size)
    flat, flat_odds = out.said.reshape(-1, m), out.said_odds.reshape(-1, m)
    g["say"], g["say_odds"] = flat.T @ d_values, flat_odds.T @ d_values
    g["spoke"], g["spoke_odds"] = out.spoke.T @ d_shared, (out.spoke * batch.odds).T @ d_shared
    g["fail"] = out.failed.T @ d_shared
    g["query"], g["offset"] = out.level @ d_shared, d_shared.sum(axis=0)
    g["none"] = d_hidden[:, width].sum(axis=0)
    d_vote, d_none = d_score[:, :width].reshape(-1), d_score[:, width]
    g["vote"], g["vote_odds"] = flat.T @ d_vote, flat_odds.T @ d_vote
    g["none_spoke"], g["none_fail"] = out.spoke.T @ d_none, out.failed.T @ d_none
    g["none_query"], g["none_score"] = (out.level @ d_none)[None], d_none.sum(keepdims=True)
    return loss, g


def _next_error(
    p: Mapping[str, np.ndarray], batch: Batch, out: Passed, weight: float
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient of the next head's cross-entropy by its scores: ``(b, K + 1, m)`` and, for failing, ``(b, m)``."""
    width = batch.width
    score = np.empty((len(batch.said), width + 2, batch.said.shape[1]), dtype=np.float32)
    score[:, : width + 1] = out.hidden @ p["next"]
    score[:, width] += p["next_new"]
    score[:, : width + 1][~out.present] = _ABSENT
    score[:, width + 1] = out.hidden[:, width] @ p["next_fail"] + p["next_fail_score"]
    error = softmax(score, axis=1)
    spoken = batch.said >= 0
    known = np.take_along_axis(out.present, np.where(spoken, batch.said, width).astype(np.int64), axis=1)
    happened = np.where(spoken, np.where(known, batch.said, width), width + 1).astype(np.int64)[:, None, :]
    np.put_along_axis(error, happened, np.take_along_axis(error, happened, 1) - 1.0, 1)
    asked = ~batch.heard & (batch.said != NOT_RUN)
    error *= (asked * (weight / len(asked) / np.maximum(asked.sum(axis=1, keepdims=True), 1)))[
        :, None, :
    ].astype(np.float32)
    values = error[:, : width + 1]
    values *= out.present[..., None]
    return values, error[:, width + 1]


def softmax(score: np.ndarray, axis: int) -> np.ndarray:
    """Exponentials scaled to sum to 1 along ``axis``."""
    e = np.exp(score - score.max(axis=axis, keepdims=True))
    share: np.ndarray = e / e.sum(axis=axis, keepdims=True)
    return share

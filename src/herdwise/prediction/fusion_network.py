"""The network of fusion: from who said what to scores of the values, and to what others would say.

A small network over sets (Zaheer et al. 2017, Deep Sets) with the conditional softmax of discrete choice
on top (McFadden 1974). Each value v of a query gets

    hidden_v = relu(sum over who said v of say_j, or `unsaid` where nobody did + option_v
                    + sum over all who spoke of spoke_j + sum over failures of fail_j + query)
    score_v  = hidden_v . readout + sum over who said v of vote_j + the option's own score
               (where nobody said v: one score for all of those, that follows who spoke and who failed)
    P(v)     = softmax over v

where ``say_j``, ``spoke_j`` and ``vote_j`` are linear in the predicted log-odds of candidate j on this query.
The values are those said and the options on offer; where none are on offer, "none of those said" is one more.
The votes alone are the linear stack; the hidden units are what counts a family that agrees with itself once,
and what knows who errs with whom. A second head foretells what an unasked candidate would say: one of the
values, something new, or nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from herdwise.prediction.softmax import softmax
from herdwise.prediction.votes import FAILED, NOT_RUN

Parameters = dict[str, np.ndarray]
_ABSENT = np.float32(-1e9)


@dataclass(frozen=True, slots=True)
class Batch:
    """Queries with the candidates that were heard of each.

    Args:
        said: ``(b, m)`` as in ``Votes``.
        offered, features: ``(b, K)`` and ``(b, K, f)`` as in ``Votes``.
        odds: ``(b, m)`` float32 centred log-odds of predicted quality.
        heard: ``(b, m)`` bool, whose answer is known; the others are to be foretold.
        weight: ``(b, m)`` float32 how much each counts; None = in full.
    """

    said: np.ndarray
    offered: np.ndarray
    features: np.ndarray
    odds: np.ndarray
    heard: np.ndarray
    weight: np.ndarray | None = None


def initial(m: int, hidden: int, n_features: int, vote: np.ndarray, rng: np.random.Generator) -> Parameters:
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
        "unsaid": small(hidden),
        "option": small(n_features, hidden, scale=0.03),
        "readout": small(hidden),
        "vote": vote.astype(np.float32),
        "vote_odds": np.full(m, 0.3, dtype=np.float32),
        "option_score": np.zeros(n_features, dtype=np.float32),
        "unsaid_spoke": np.zeros(m, dtype=np.float32),
        "unsaid_fail": np.zeros(m, dtype=np.float32),
        "unsaid_query": np.zeros(1, dtype=np.float32),
        "unsaid_score": np.zeros(1, dtype=np.float32),
        "next": small(hidden, m),
        "next_unsaid": np.zeros(m, dtype=np.float32),
        "next_fail": small(hidden, m),
        "next_fail_score": np.full(m, -1.0, dtype=np.float32),
    }


@dataclass(frozen=True, slots=True)
class Passed:
    """What a forward pass leaves for the gradient.

    Args:
        ever: ``(b, K, m)`` bool, who said which value, heard or not.
        said, said_odds: ``(b * K, m)`` who was heard to say which value, and that times the odds.
        spoke, failed: ``(b, m)``.
        level: ``(b,)`` mean odds.
        hidden: ``(b, K + 1, h)``, the last row for "none of those said".
        present: ``(b, K + 1)`` bool, which rows there are.
        unsaid: ``(b, K + 1)`` float32, 1 for present rows that nobody said.
        score: ``(b, K + 1)``, far below all others where absent.
        probability: ``(b, K + 1)`` their softmax, 0 where absent.
    """

    ever: np.ndarray
    said: np.ndarray
    said_odds: np.ndarray
    spoke: np.ndarray
    failed: np.ndarray
    level: np.ndarray
    hidden: np.ndarray
    present: np.ndarray
    unsaid: np.ndarray
    score: np.ndarray
    probability: np.ndarray


def forward(p: Mapping[str, np.ndarray], batch: Batch) -> Passed:
    """Probabilities of the values."""
    b, m = batch.said.shape
    width, size = batch.offered.shape[1], len(p["offset"])
    numbers = np.arange(width, dtype=batch.said.dtype)
    ever = batch.said[:, None, :] == numbers[None, :, None]
    heard = ever & batch.heard[:, None, :]
    at = heard.astype(batch.odds.dtype)
    spoke = ((batch.said >= 0) & batch.heard).astype(np.float32)
    failed = ((batch.said == FAILED) & batch.heard).astype(np.float32)
    if batch.weight is not None:
        at *= batch.weight[:, None, :]
        spoke, failed = spoke * batch.weight, failed * batch.weight
    said, said_odds = at.reshape(-1, m), (at * batch.odds[:, None, :]).reshape(-1, m)
    level = batch.odds.mean(axis=1)
    known = heard.any(axis=2)
    present = np.empty((b, width + 1), dtype=bool)
    present[:, :width] = known | batch.offered
    present[:, width] = ~batch.offered.any(axis=1)
    unsaid = present.astype(np.float32)
    unsaid[:, :width] -= known
    shared = spoke @ p["spoke"] + (spoke * batch.odds) @ p["spoke_odds"] + failed @ p["fail"]
    shared += level[:, None] * p["query"] + p["offset"]
    options = batch.features.reshape(b * width, -1)
    hidden = np.empty((b, width + 1, size), dtype=p["offset"].dtype)
    hidden[:, :width] = (said @ p["say"] + said_odds @ p["say_odds"] + options @ p["option"]).reshape(
        b, width, size
    )
    hidden[:, width] = 0.0
    # "None of those said" has its hidden units even where it is no row: failing is foretold from them.
    marks = unsaid.copy()
    marks[:, width] = 1.0
    hidden += marks[..., None] * p["unsaid"] + shared[:, None]
    np.maximum(hidden, 0.0, out=hidden)
    score = hidden @ p["readout"]
    score[:, :width] += (said @ p["vote"] + said_odds @ p["vote_odds"] + options @ p["option_score"]).reshape(
        b, width
    )
    left = (
        p["unsaid_score"] + spoke @ p["unsaid_spoke"] + failed @ p["unsaid_fail"] + level * p["unsaid_query"]
    )
    score += unsaid * left[:, None]
    score = np.where(present, score, _ABSENT)
    probability = softmax(score, axis=1)
    return Passed(ever, said, said_odds, spoke, failed, level, hidden, present, unsaid, score, probability)


def gradient(
    p: Mapping[str, np.ndarray],
    batch: Batch,
    right: np.ndarray,
    next_weight: float,
    next_rows: int | None = None,
) -> tuple[float, Parameters]:
    """Mean cross-entropy of the right value; the gradient of it plus ``next_weight`` times the next head's.

    Args:
        right: ``(b, K + 1)`` as in ``Votes``. What it gives to no row (nobody was recorded to say the right
            value, or it was not heard and is not on offer) goes to the rows that nobody in the records said
            together, whichever of them it is.
        next_weight: weight of the next head.
        next_rows: how many queries, the first of the batch, it looks at (its error takes as long as all the
            rest); default: all.
    """
    b, m = batch.said.shape
    width, size = batch.offered.shape[1], len(p["offset"])
    out = forward(p, batch)
    target = np.where(out.present, right, 0.0).astype(right.dtype)
    target[:, width] = 0.0
    rest = 1.0 - target.sum(axis=1)
    open_ = out.present.copy()
    open_[:, :width] &= ~out.ever.any(axis=2)
    share = out.probability * open_ + np.float32(1e-9) * open_
    mass = share.sum(axis=1)
    target += (rest / np.maximum(mass, 1e-12))[:, None] * share
    loss = -float(
        (np.where(out.present, right, 0.0)[:, :width] * np.log(out.probability[:, :width] + 1e-9)).sum()
    )
    loss = (loss - float((rest * np.log(mass + 1e-9)).sum())) / b
    d_score = (out.probability * target.sum(axis=1, keepdims=True) - target) / np.float32(b)
    d_hidden = d_score[..., None] * p["readout"]
    g: Parameters = {"readout": d_score.reshape(-1) @ out.hidden.reshape(-1, size)}

    n_next = b if next_rows is None else min(next_rows, b)
    some = out.hidden[:n_next]
    d_next, d_fail = _next_error(p, batch, out, next_weight, n_next)
    g["next"] = some.reshape(-1, size).T @ d_next.reshape(-1, m)
    g["next_unsaid"] = out.unsaid[:n_next].reshape(-1) @ d_next.reshape(-1, m)
    g["next_fail"] = some[:, width].T @ d_fail
    g["next_fail_score"] = d_fail.sum(axis=0)
    d_hidden[:n_next] += d_next @ p["next"].T
    d_hidden[:n_next, width] += d_fail @ p["next_fail"].T

    d_hidden *= out.hidden > 0
    d_shared = d_hidden.sum(axis=1)
    d_values = d_hidden[:, :width].reshape(-1, size)
    options = batch.features.reshape(b * width, -1)
    g["say"], g["say_odds"] = out.said.T @ d_values, out.said_odds.T @ d_values
    g["option"] = options.T @ d_values
    g["spoke"], g["spoke_odds"] = out.spoke.T @ d_shared, (out.spoke * batch.odds).T @ d_shared
    g["fail"] = out.failed.T @ d_shared
    g["query"], g["offset"] = out.level @ d_shared, d_shared.sum(axis=0)
    g["unsaid"] = out.unsaid[:, :width].reshape(-1) @ d_values + d_hidden[:, width].sum(axis=0)
    d_vote, d_left = d_score[:, :width].reshape(-1), (d_score * out.unsaid).sum(axis=1)
    g["vote"], g["vote_odds"] = out.said.T @ d_vote, out.said_odds.T @ d_vote
    g["option_score"] = options.T @ d_vote
    g["unsaid_spoke"], g["unsaid_fail"] = out.spoke.T @ d_left, out.failed.T @ d_left
    g["unsaid_query"], g["unsaid_score"] = (out.level @ d_left)[None], d_left.sum(keepdims=True)
    return loss, g


def _next_error(
    p: Mapping[str, np.ndarray], batch: Batch, out: Passed, weight: float, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient of the next head's mean cross-entropy over the first n queries by its scores.

    Returns:
        ``(n, K + 1, m)`` of saying each value, ``(n, m)`` of failing.
    """
    width = batch.offered.shape[1]
    hidden, present, said = out.hidden[:n], out.present[:n], batch.said[:n]
    score = np.empty((n, width + 2, said.shape[1]), dtype=p["next"].dtype)
    score[:, : width + 1] = hidden @ p["next"] + out.unsaid[:n, :, None] * p["next_unsaid"]
    score[:, : width + 1][~present] = _ABSENT
    score[:, width + 1] = hidden[:, width] @ p["next_fail"] + p["next_fail_score"]
    error = softmax(score, axis=1)
    # A value that is no row counts as something that is neither heard nor on offer, where that is a row.
    happened = out.ever[:n] & present[:, :width, None]
    spoken = said >= 0
    other = spoken & ~happened.any(axis=1)
    error[:, :width] -= happened
    error[:, width] -= other
    error[:, width + 1] -= ~spoken
    # Where options are on offer, such a thing can't be foretold.
    possible = ~other | present[:, [width]]
    asked = ~batch.heard[:n] & (said != NOT_RUN) & possible
    scale = asked * (weight / n / np.maximum(asked.sum(axis=1, keepdims=True), 1))
    error *= scale[:, None, :].astype(error.dtype)
    values = error[:, : width + 1]
    values *= present[..., None]
    return values, error[:, width + 1]

"""Training of fusion's network: Adam over queries of which a random part of the candidates was heard.

Hearing a random subset each time (dropout over candidates) is what makes the posterior mean frequency for
any few voters and not only for all of them.
"""

from __future__ import annotations

import numpy as np

from herdwise.prediction.adam import Adam
from herdwise.prediction.fusion_network import Batch, Parameters, gradient, initial
from herdwise.prediction.votes import Votes

_BATCH = 128
#: Few queries are passed over more often, many less often.
_MIN_STEPS, _MAX_STEPS = 400, 4000


def train(
    votes: Votes,
    odds: np.ndarray,
    *,
    hidden: int,
    n_epochs: int,
    learning_rate: float,
    decay: float,
    share_whole: float,
    next_weight: float,
    rng: np.random.Generator,
) -> Parameters:
    """Learn one network.

    Args:
        votes: what was said, n queries.
        odds: ``(n, m)`` centred log-odds of the left-out predicted quality.
        hidden: hidden units.
        n_epochs: passes over the queries, within 400 to 4,000 steps.
        learning_rate: of Adam (Kingma and Ba 2015), falling to 0 along a cosine.
        decay: weight decay per unit of learning rate.
        share_whole: share of the queries of a step for which every candidate is heard; for the others it is
            a random subset of uniformly random size.
        next_weight: weight of foretelling what the others say.
    """
    n, m = votes.said.shape
    p = initial(m, hidden, votes.features.shape[2], _first_votes(votes), rng)
    adam = Adam(p, decay=decay)
    per_epoch = -(-n // _BATCH)
    total = min(max(n_epochs * per_epoch, _MIN_STEPS), _MAX_STEPS)
    order = rng.permutation(n)
    for step in range(1, total + 1):
        place = (step - 1) % per_epoch
        if place == 0:
            order = rng.permutation(n)
        rows = order[place * _BATCH : (place + 1) * _BATCH]
        heard = some_heard(len(rows), m, share_whole, rng)
        batch = Batch(votes.said[rows], votes.offered[rows], votes.features[rows], odds[rows], heard)
        _, g = gradient(p, batch, votes.right[rows], next_weight)
        rate = learning_rate * 0.5 * (1.0 + np.cos(np.pi * step / total)) * min(1.0, step / 50)
        adam.step(g, rate)
    return p


def some_heard(b: int, m: int, share_whole: float, rng: np.random.Generator) -> np.ndarray:
    """Who is heard, ``(b, m)`` bool: subsets of 0 to m - 1 candidates, or all."""
    size = rng.integers(0, m, size=b)
    place = rng.random((b, m)).argsort(axis=1).argsort(axis=1)
    whole = rng.random(b) < share_whole
    heard: np.ndarray = (place < size[:, None]) | whole[:, None]
    return heard


def _first_votes(votes: Votes) -> np.ndarray:
    """``(m,)`` log-odds of each candidate's accuracy where it spoke, against one of ten, damped."""
    spoke = votes.said >= 0
    right = np.take_along_axis(votes.right, np.maximum(votes.said, 0).astype(np.int64), axis=1)
    accuracy = ((right * spoke).sum(axis=0) + 0.5) / (spoke.sum(axis=0) + 2.0)
    accuracy = np.clip(accuracy, 0.05, 0.95)
    return np.asarray(0.4 * np.log(9.0 * accuracy / (1.0 - accuracy)))

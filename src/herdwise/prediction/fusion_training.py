"""Training of fusion's network: Adam over queries of which a random part of the candidates was heard.

Hearing a random subset each time (dropout over candidates) is what makes the posterior mean frequency for
any few voters and not only for all of them. Who consults hears the best few, so that most subsets lean
towards candidates of good predicted quality: from a blind draw to almost their order.
"""

from __future__ import annotations

import numpy as np

from herdwise.prediction.fusion_network import Batch, Parameters, gradient, initial
from herdwise.prediction.votes import Votes

_BATCH = 128
#: Queries of a batch that foretelling is learned on.
_FORETOLD = 32
#: Few queries are passed over more often, many less often.
_MIN_STEPS, _MAX_STEPS = 400, 4000
#: Share of the subsets that lean towards good candidates, and by how much at least and at most: weight of the
#: predicted log-odds beside Gumbel noise.
LEANING, _LEAN = 0.6, (0.5, 5.0)


def train(
    votes: Votes,
    odds: np.ndarray,
    strength: np.ndarray,
    *,
    hidden: int,
    n_epochs: float,
    learning_rate: float,
    decay: float,
    share_whole: float,
    next_weight: float,
    rng: np.random.Generator,
    start: Parameters | None = None,
) -> Parameters:
    """Learn one network.

    Args:
        votes: what was said, n queries.
        odds: ``(n, m)`` centred log-odds of the left-out predicted quality.
        strength: ``(n, m)`` the log-odds as they are.
        hidden: hidden units.
        n_epochs: passes over the queries, within 400 to 4,000 steps (without ``start``).
        learning_rate: of Adam (Kingma and Ba 2015), falling to 0 along a cosine.
        decay: weight decay per unit of learning rate.
        share_whole: share of the queries of a step for which every candidate is heard; for the others it is
            a random subset, see ``some_heard``.
        next_weight: weight of foretelling what the others say.
        start: parameters to go on from.
    """
    n, m = votes.said.shape
    first = start or initial(m, hidden, votes.features.shape[2], _first_votes(votes), rng)
    p, flat = _one_array(first)
    mean, square = np.zeros_like(flat), np.zeros_like(flat)
    per_epoch = -(-n // _BATCH)
    total = max(int(n_epochs * per_epoch), 1)
    total = min(total if start else max(total, _MIN_STEPS), _MAX_STEPS)
    order = rng.permutation(n)
    for step in range(1, total + 1):
        place = (step - 1) % per_epoch
        if place == 0:
            order = rng.permutation(n)
        rows = order[place * _BATCH : (place + 1) * _BATCH]
        heard = some_heard(strength[rows], share_whole, rng)
        batch = Batch(votes.said[rows], votes.offered[rows], votes.features[rows], odds[rows], heard)
        _, g = gradient(p, batch, votes.right[rows], next_weight, _FORETOLD)
        slope = np.concatenate([g[name].ravel() for name in p])
        rate = learning_rate * 0.5 * (1.0 + np.cos(np.pi * step / total)) * min(1.0, step / 50)
        mean += 0.1 * (slope - mean)
        square += 0.01 * (slope**2 - square)
        move = mean / (np.sqrt(square / (1.0 - 0.99**step)) + 1e-8)
        flat *= 1.0 - rate * decay
        flat -= (rate / (1.0 - 0.9**step)) * move
    return {name: value.copy() for name, value in p.items()}


def _one_array(parameters: Parameters) -> tuple[Parameters, np.ndarray]:
    """Copies of the parameters as views of one array, and that: so that a step is a few operations."""
    flat = np.concatenate([value.ravel() for value in parameters.values()])
    ends = np.cumsum([value.size for value in parameters.values()])
    views = {
        name: flat[end - value.size : end].reshape(value.shape)
        for (name, value), end in zip(parameters.items(), ends.tolist(), strict=True)
    }
    return views, flat


def some_heard(
    strength: np.ndarray, share_whole: float, rng: np.random.Generator, leaning: float = LEANING
) -> np.ndarray:
    """Who is heard, ``(b, m)`` bool: subsets of 0 to m - 1 candidates, or all.

    Half of the sizes are uniform, half of them on a log scale, for few answers are heard more often.

    Args:
        strength: ``(b, m)`` log-odds of predicted quality.
        share_whole: how often all are heard.
        leaning: share of the subsets that lean towards good candidates.
    """
    b, m = strength.shape
    lean = np.where(rng.random(b) < leaning, rng.uniform(*_LEAN, size=b), 0.0)
    key = rng.gumbel(size=(b, m)) + lean[:, None] * strength
    ranked = np.sort(key, axis=1)
    few = np.exp(rng.uniform(0.0, np.log(m + 1.0), size=b)).astype(np.int64) - 1
    size = np.where(rng.random(b) < 0.5, rng.integers(0, m, size=b), few)
    whole = np.asarray(rng.random(b) < share_whole)
    # The ``size`` greatest keys: those above the next one.
    bar = np.take_along_axis(ranked, (m - 1 - size)[:, None], axis=1)
    heard: np.ndarray = (key > bar) | whole[:, None]
    return heard


def _first_votes(votes: Votes) -> np.ndarray:
    """``(m,)`` log-odds of each candidate's accuracy where it spoke, against one of ten, damped."""
    spoke = votes.said >= 0
    right = np.take_along_axis(votes.right, np.maximum(votes.said, 0).astype(np.int64), axis=1)
    accuracy = ((right * spoke).sum(axis=0) + 0.5) / (spoke.sum(axis=0) + 2.0)
    accuracy = np.clip(accuracy, 0.05, 0.95)
    return np.asarray(0.4 * np.log(9.0 * accuracy / (1.0 - accuracy)))

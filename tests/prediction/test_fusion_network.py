from __future__ import annotations

import numpy as np
import pytest

from herdwise.prediction.fusion_network import Batch, Parameters, gradient, initial
from herdwise.prediction.votes import Votes

N, M, HIDDEN = 6, 5, 4


def _problem(with_options: bool) -> tuple[Parameters, Batch, np.ndarray]:
    rng = np.random.default_rng(4)
    answers = np.array(list("ABC"), dtype=object)[rng.integers(0, 3, size=(N, M))]
    answers[rng.random((N, M)) < 0.2] = None
    quality = np.where(answers == "B", 1.0, 0.0)
    quality[0] = 0.0  # of one query nobody was right
    quality[rng.random((N, M)) < 0.1] = np.nan
    text = "Which?\nA. one\nB. two words\nC. three longer words\nD. four"
    votes = Votes.of(answers, quality, [text] * N if with_options else None)
    p = initial(M, HIDDEN, votes.features.shape[2], rng.standard_normal(M), rng)
    p = {
        name: (value + 0.3 * rng.standard_normal(value.shape)).astype(np.float64) for name, value in p.items()
    }
    heard = rng.random((N, M)) < 0.6
    odds = rng.standard_normal((N, M))
    return p, Batch(votes.said, votes.offered, votes.features, odds, heard), votes.right.astype(np.float64)


@pytest.mark.parametrize("with_options", [False, True])
def test_the_gradient_of_the_posterior_is_the_slope_of_its_loss(with_options: bool) -> None:
    p, batch, right = _problem(with_options)
    _, g = gradient(p, batch, right, next_weight=0.0)
    rng = np.random.default_rng(0)
    for name, value in p.items():
        if value.size == 0:
            continue
        way = rng.standard_normal(value.shape)
        step = 1e-6
        up, _ = gradient({**p, name: value + step * way}, batch, right, next_weight=0.0)
        down, _ = gradient({**p, name: value - step * way}, batch, right, next_weight=0.0)
        assert (up - down) / (2 * step) == pytest.approx(float((g[name] * way).sum()), abs=1e-4), name


def test_learning_to_foretell_uses_only_who_was_not_heard() -> None:
    p, batch, right = _problem(with_options=False)
    everyone = Batch(batch.said, batch.offered, batch.features, batch.odds, np.ones((N, M), dtype=bool))
    _, silent = gradient(p, everyone, right, next_weight=1.0)
    _, some = gradient(p, batch, right, next_weight=1.0)
    assert not silent["next"].any()
    assert some["next"].any()

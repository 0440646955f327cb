from __future__ import annotations

import numpy as np

from herdwise.prediction.weighting import choose_weights


def _data(n: int = 800) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.1, 0.9, size=(n, 4))
    Y = (rng.random(truth.shape) < truth).astype(np.float32)
    return truth, Y, np.repeat(Y.mean(axis=0, keepdims=True), n, axis=0)


def test_a_member_that_foretells_gets_the_weight_and_one_that_guesses_gets_none() -> None:
    truth, Y, means = _data()
    guess = np.random.default_rng(1).uniform(0.1, 0.9, size=truth.shape)
    good, bad = choose_weights([truth, guess], means, Y).tolist()
    assert good >= 0.7
    assert bad == 0.0


def test_members_that_all_guess_are_not_believed() -> None:
    truth, Y, means = _data()
    rng = np.random.default_rng(2)
    guesses = [means + rng.normal(0, 0.1, truth.shape) for _ in range(2)]
    assert not choose_weights(guesses, means, Y).any()


def test_two_halves_of_the_truth_are_both_believed() -> None:
    truth, Y, means = _data()
    rng = np.random.default_rng(3)
    members = [truth + rng.normal(0, 0.15, truth.shape) for _ in range(2)]
    weights = choose_weights(members, means, Y)
    assert (weights > 0).all()
    assert float(weights.sum()) <= 1.0 + 1e-6


def test_pairs_that_were_not_run_are_not_looked_at() -> None:
    truth, Y, means = _data()
    gaps = np.where(np.random.default_rng(4).random(Y.shape) < 0.5, np.nan, Y)
    nonsense = np.where(np.isfinite(gaps), truth, 55.0)
    np.testing.assert_array_equal(
        choose_weights([nonsense], means, gaps), choose_weights([truth], means, gaps)
    )

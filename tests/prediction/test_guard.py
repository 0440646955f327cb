from __future__ import annotations

import numpy as np

from herdwise.prediction.guard import Guard


def _herd(n: int, advantage: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Candidate 0 is right 70%; candidate 1 is said to be better on half of the queries.

    There it is better than candidate 0 by ``advantage``.
    """
    rng = np.random.default_rng(seed)
    half = np.arange(n) % 2 == 0
    truth = np.stack([np.full(n, 0.7), np.where(half, 0.7 + advantage, 0.3)], axis=1)
    said = np.stack([np.full(n, 0.7), np.where(half, 0.75, 0.3)], axis=1).astype(np.float32)
    return said + rng.normal(0, 1e-3, said.shape).astype(np.float32), (
        rng.random(truth.shape) < truth
    ).astype(np.float32)


def test_a_borne_out_advantage_is_followed() -> None:
    said, Y = _herd(2000, advantage=0.15)
    guarded = Guard().fit(said, Y, Y.mean(axis=0))(said)
    assert (guarded[::2].argmax(axis=1) == 1).mean() > 0.95


def test_an_advantage_that_data_deny_never_leaves_the_best_single() -> None:
    said, Y = _herd(2000, advantage=-0.15)
    guard = Guard().fit(said, Y, Y.mean(axis=0))
    guarded = guard(said)
    assert (guarded.argmax(axis=1) == 0).all()
    assert guard.best_ == 0
    # A hair below: as soon as cost counts, the other may still win.
    assert float((guarded[::2, 0] - guarded[::2, 1]).max()) < 1e-3


def test_candidates_below_the_best_single_are_left_alone() -> None:
    said, Y = _herd(2000, advantage=-0.15)
    guarded = Guard().fit(said, Y, Y.mean(axis=0))(said)
    np.testing.assert_array_equal(guarded[1::2], said[1::2])


def test_the_order_among_held_back_candidates_survives() -> None:
    guard = Guard()
    guard.best_, guard.margin_ = 0, 2.0
    guarded = guard(np.array([[0.5, 0.9, 0.6, 0.55, 0.4]], dtype=np.float32))
    assert guarded[0].argsort().tolist() == [4, 3, 2, 1, 0]


def test_a_rarely_run_candidate_is_not_taken_for_the_best_single() -> None:
    said, Y = _herd(400, advantage=0.0)
    Y[10:, 1], Y[:10, 1] = np.nan, 1.0
    assert Guard().fit(said, Y, np.nanmean(Y, axis=0)).best_ == 0


def test_without_queries_run_by_both_a_stated_margin_holds() -> None:
    said, Y = _herd(400, advantage=0.15)
    Y[::2, 0] = np.nan  # wherever candidate 1 is said to be better, the best single was not run
    guard = Guard().fit(said, Y, np.array([0.7, 0.6]))
    assert 0.0 < guard.margin_ < 0.1


def test_one_row_is_guarded_as_in_a_batch() -> None:
    said, Y = _herd(2000, advantage=-0.15)
    guard = Guard().fit(said, Y, Y.mean(axis=0))
    np.testing.assert_allclose(guard.one(said[0]), guard(said[:1])[0])


def test_a_restricted_herd_is_guarded_by_its_own_best_single() -> None:
    # Candidate 2 is best of all; without it candidate 1 would be followed away from 0, to its harm.
    said, Y = _herd(2000, advantage=-0.15)
    said = np.concatenate([said, np.full((2000, 1), 0.95, np.float32)], axis=1)
    Y = np.concatenate([Y, (np.random.default_rng(5).random((2000, 1)) < 0.95).astype(np.float32)], axis=1)
    guard = Guard().fit(said, Y, Y.mean(axis=0))
    assert (guard(said).argmax(axis=1) == 2).all()
    weaker = guard.among(np.array([0, 1]))
    assert weaker.best_ == 0
    assert (weaker(said)[:, :2].argmax(axis=1) == 0).all()
    assert Guard.from_state(guard.state()).best_ == 2

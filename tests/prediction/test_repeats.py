"""What is on record of the very same query."""

from __future__ import annotations

import numpy as np
import pytest

from herdwise.prediction.repeats import Repeats
from herdwise.prediction.stack import StackPredictor

N, M, PAIRS = 400, 4, 60


def table(faithful: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and outcomes; the first PAIRS queries stand again at the end, and outcomes repeat so often."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, 8)).astype(np.float32)
    Y = (rng.random((N, M)) < 0.5).astype(np.float32)
    again = np.where(rng.random((PAIRS, M)) < faithful, Y[:PAIRS], rng.random((PAIRS, M)) < 0.5)
    return np.concatenate([X, X[:PAIRS]]), np.concatenate([Y, again]).astype(np.float32)


def fit(faithful: float) -> tuple[Repeats, np.ndarray, np.ndarray, np.ndarray]:
    X, Y = table(faithful)
    left_out = np.full(Y.shape, 0.5, dtype=np.float32)
    repeats = Repeats().fit(X, Y, left_out, np.random.default_rng(1))
    return repeats, X, Y, left_out


def test_a_recorded_query_is_moved_towards_its_outcomes() -> None:
    repeats, X, Y, _ = fit(faithful=0.9)
    moved = repeats(X[PAIRS:N], np.full((N - PAIRS, M), 0.5, dtype=np.float32))
    right, wrong = moved[Y[PAIRS:N] == 1], moved[Y[PAIRS:N] == 0]
    assert right.min() > 0.75
    assert wrong.max() < 0.25


def test_what_is_recorded_twice_counts_for_more() -> None:
    repeats, X, Y, _ = fit(faithful=0.7)
    moved = repeats(X, np.full(Y.shape, 0.5, dtype=np.float32))
    twice = (Y[:PAIRS] == 1) & (Y[N:] == 1)
    assert moved[:PAIRS][twice].mean() > moved[PAIRS:N][Y[PAIRS:N] == 1].mean() + 0.05


def test_a_query_that_was_never_asked_is_left_alone() -> None:
    repeats, X, *_ = fit(faithful=0.9)
    fresh = X[:50] + np.float32(0.01)
    predicted = np.full((50, M), 0.3, dtype=np.float32)
    np.testing.assert_array_equal(repeats(fresh, predicted.copy()), predicted)
    assert all(repeats.one(x) is None for x in fresh)


def test_left_out_predictions_are_moved_by_the_other_row_of_the_text_alone() -> None:
    _, _, Y, left_out = fit(faithful=0.9)
    np.testing.assert_array_equal(left_out[PAIRS:N], 0.5)
    np.testing.assert_array_equal(left_out[:PAIRS] > 0.5, Y[N:] == 1)
    np.testing.assert_array_equal(left_out[N:] > 0.5, Y[:PAIRS] == 1)


def test_repeats_are_told_apart_however_close_the_others_lie() -> None:
    rng = np.random.default_rng(0)
    # As close as millions of queries of length one.
    X = 0.002 * rng.normal(size=(20_000, 24)).astype(np.float32)
    Y = (rng.random((len(X), 2)) < 0.5).astype(np.float32)
    X, Y = np.concatenate([X, X[:2000]]), np.concatenate([Y, Y[:2000]])
    repeats = Repeats().fit(X, Y, np.full(Y.shape, 0.5, dtype=np.float32), np.random.default_rng(1))
    assert len(repeats.shadows_) == 20_000
    moved = repeats(X[:100], np.full((100, 2), 0.5, dtype=np.float32))
    np.testing.assert_array_equal(moved > 0.5, Y[:100] == 1)


def test_outcomes_that_do_not_repeat_move_nothing() -> None:
    repeats, X, Y, left_out = fit(faithful=0.0)
    predicted = repeats(X, np.full(Y.shape, 0.5, dtype=np.float32))
    assert np.abs(predicted - 0.5).max() < 0.1
    assert np.abs(left_out - 0.5).max() < 0.1


def test_without_repeats_nothing_is_kept() -> None:
    X, Y = table(0.9)
    repeats = Repeats().fit(X[:N], Y[:N], np.full((N, M), 0.5, dtype=np.float32), np.random.default_rng(1))
    assert len(repeats.correction_) == 0
    assert repeats.one(X[0]) is None


def test_pairs_that_were_not_run_tell_nothing() -> None:
    X, Y = table(0.9)
    Y[:, 0] = np.nan
    left_out = np.full(Y.shape, 0.5, dtype=np.float32)
    repeats = Repeats().fit(X, Y, left_out, np.random.default_rng(1))
    np.testing.assert_array_equal(left_out[:, 0], 0.5)
    np.testing.assert_array_equal(repeats.correction_[:, 0], 0.0)
    assert (np.abs(repeats.correction_[PAIRS:, 1:]) > 0.1).mean() > 0.8


def test_a_stack_predicts_a_repeat_alike_one_by_one_in_batches_and_saved() -> None:
    X, Y = table(0.9)
    stack = StackPredictor().fit(X, Y)
    batch = stack.predict(X)
    assert np.abs(batch[:N] - Y[:N]).mean() < 0.3
    np.testing.assert_allclose(np.stack([stack.predict_one(x) for x in X[:40]]), batch[:40], atol=1e-5)
    np.testing.assert_allclose(StackPredictor.from_state(*stack.state()).predict(X), batch, atol=1e-6)
    told = stack.parts(X[0])
    np.testing.assert_allclose(sum(told.values()), batch[0], atol=1e-5)
    assert np.abs(told["repeats"]).max() > 0.1


def test_anew_the_stack_forgets_what_is_on_record() -> None:
    X, Y = table(0.9)
    stack = StackPredictor().fit(X, Y)
    anew = stack.predict_anew(X)
    assert np.abs(anew - Y).mean() > np.abs(stack.predict(X) - Y).mean() + 0.15
    told = stack.parts(X[0])
    np.testing.assert_allclose(sum(told.values()) - told["repeats"], anew[0], atol=1e-5)


@pytest.mark.parametrize("m", [1, 3])
def test_herds_of_any_size_are_taken(m: int) -> None:
    X, Y = table(0.9)
    assert StackPredictor().fit(X, Y[:, :m]).predict(X[:5]).shape == (5, m)

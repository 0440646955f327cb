"""What a call takes at most, with a stated probability."""

from __future__ import annotations

import json

import numpy as np
import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import ArtefactError
from herdwise.core.outcomes import OutcomeTable
from herdwise.prediction.resources import ResourcePredictor
from herdwise.prediction.resources_quantiles import LEVELS, at_level, weighted_quantiles

M = 3
UNPRICED = np.full(M, np.nan)


def table_of(**columns: np.ndarray) -> OutcomeTable:
    """A table of three candidates; every column is ``(n, M)``, NaN = unknown."""
    n = len(next(iter(columns.values())))
    rows, places = np.repeat(np.arange(n), M), np.tile(np.arange(M), n)
    return OutcomeTable(
        herd=Herd([Candidate(name) for name in ("a", "b", "c")]),
        query_ids=[str(i) for i in range(n)],
        texts=[""] * n,
        benchmarks=["t"] * n,
        splits=[None] * n,
        query_index=rows.astype(np.int32),
        candidate_index=places.astype(np.int32),
        sample=np.zeros(len(rows), dtype=np.int32),
        values={name: value.reshape(-1) for name, value in columns.items()},
    )


def drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors, prompt lengths, and latencies whose level and whose spread both follow the vector."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 12)).astype(np.float32)
    spread = np.exp(0.7 * X[:, 1] - 1.0)
    base = 0.8 * X[:, 0] + spread * rng.normal(size=n)
    return X, rng.integers(10, 2000, n).astype(np.float64), np.exp(base)[:, None] * np.array([1.0, 3.0, 9.0])


@pytest.fixture(scope="module")
def fitted() -> ResourcePredictor:
    X, tokens, latency = drawn(1500, 0)
    return ResourcePredictor().fit(X, tokens, table_of(latency_s=latency))


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.8, 0.9, 0.95])
def test_new_calls_keep_to_a_quantile_as_often_as_it_says(
    fitted: ResourcePredictor, probability: float
) -> None:
    X, tokens, latency = drawn(3000, 1)
    most = fitted.quantile(X, tokens[:, None], "latency_s", probability)
    np.testing.assert_allclose((latency <= most).mean(axis=0), probability, atol=0.03)


@pytest.mark.parametrize("n", [210, 1000])
def test_quantiles_hold_where_the_query_foretells_nothing(n: int) -> None:
    def unforeseen(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(n, 12)).astype(np.float32)
        return X, rng.integers(10, 2000, n).astype(np.float64), rng.lognormal(4.0, 0.5, (n, M))

    X, tokens, latency = unforeseen(n, 0)
    predictor = ResourcePredictor().fit(X, tokens, table_of(latency_s=latency))
    X, tokens, latency = unforeseen(3000, 1)
    for probability in (0.1, 0.8, 0.9):
        most = predictor.quantile(X, tokens[:, None], "latency_s", probability)
        np.testing.assert_allclose((latency <= most).mean(), probability, atol=0.04)


def test_where_calls_vary_more_the_interval_is_wider(fitted: ResourcePredictor) -> None:
    X, tokens, _ = drawn(1000, 2)
    low, high = (fitted.quantile(X, tokens[:, None], "latency_s", p) for p in (0.05, 0.95))
    width = np.log(high / low)[:, 0]
    calm, restless = X[:, 1] < -1, X[:, 1] > 1
    assert width[restless].mean() > 2 * width[calm].mean()


def test_a_more_probable_limit_is_never_a_lower_one(fitted: ResourcePredictor) -> None:
    X, tokens, _ = drawn(200, 3)
    rising = np.stack([fitted.quantile(X, tokens[:, None], "latency_s", p) for p in (0.1, 0.33, 0.8, 0.99)])
    assert (np.diff(rising, axis=0) >= 0).all()


def test_one_query_has_the_quantile_of_its_row_in_a_batch(fitted: ResourcePredictor) -> None:
    X, tokens, _ = drawn(20, 4)
    batch = fitted.quantile(X, tokens[:, None], "latency_s", 0.9)
    np.testing.assert_allclose(fitted.quantile(X[7], tokens[7], "latency_s", 0.9), batch[7], rtol=1e-4)


def test_a_kind_that_was_not_recorded_has_no_quantile(fitted: ResourcePredictor) -> None:
    X, tokens, _ = drawn(5, 5)
    assert np.isnan(fitted.quantile(X[0], tokens[0], "cost_usd", 0.9)).all()
    assert np.isnan(fitted.relative_quantile("cost_usd", 0.9))


def test_a_candidate_of_few_rows_varies_as_the_herd_does() -> None:
    X, tokens, latency = drawn(1500, 6)
    latency[8:, 2] = np.nan
    predictor = ResourcePredictor().fit(X, tokens, table_of(latency_s=latency))
    fresh, lengths, truth = drawn(2000, 7)
    most = predictor.quantile(fresh, lengths[:, None], "latency_s", 0.9)[:, 2]
    assert np.unique(most).size == 1
    # Eight values tell its mean to a factor of about 1.5.
    assert 0.75 < (truth[:, 2] <= most).mean() < 0.99


def test_few_rows_of_everybody_leave_the_distribution_unknown() -> None:
    X, tokens, latency = drawn(4, 8)
    predictor = ResourcePredictor().fit(X, tokens, table_of(latency_s=latency))
    assert np.isnan(predictor.quantile(X[0], tokens[0], "latency_s", 0.9)).all()
    assert np.isfinite(predictor.predict(X, tokens, UNPRICED, UNPRICED).latency_s).all()


def test_candidates_that_ran_different_queries_are_learned_each() -> None:
    X, tokens, latency = drawn(3000, 9)
    latency[np.random.default_rng(0).random(latency.shape) < 0.5] = np.nan
    predictor = ResourcePredictor(max_rows=800).fit(X, tokens, table_of(latency_s=latency))
    fresh, lengths, truth = drawn(3000, 10)
    most = predictor.quantile(fresh, lengths[:, None], "latency_s", 0.8)
    np.testing.assert_allclose((truth <= most).mean(axis=0), 0.8, atol=0.05)


def test_a_predictor_saved_before_there_were_quantiles_predicts_on_and_knows_none(
    fitted: ResourcePredictor,
) -> None:
    options, arrays = fitted.state()
    old = ("weights_", "length_weights_", "offset_", "low_", "high_", "length_range_")
    back = ResourcePredictor.from_state({"n_directions": 16}, {name: arrays[name] for name in old})
    X, tokens, _ = drawn(10, 11)
    np.testing.assert_allclose(
        back.predict(X, tokens, UNPRICED, UNPRICED).latency_s,
        fitted.predict(X, tokens, UNPRICED, UNPRICED).latency_s,
    )
    assert np.isnan(back.quantile(X, tokens[:, None], "latency_s", 0.9)).all()
    again = ResourcePredictor.from_state(json.loads(json.dumps(options)), arrays)
    np.testing.assert_array_equal(
        again.quantile(X, tokens[:, None], "latency_s", 0.9),
        fitted.quantile(X, tokens[:, None], "latency_s", 0.9),
    )
    del arrays["edges_"]
    with pytest.raises(ArtefactError, match="edges_"):
        ResourcePredictor.from_state(options, arrays)


def test_a_new_value_falls_into_each_gap_between_old_ones_alike() -> None:
    values = np.arange(1.0, 20.0)[::-1]
    levels = np.array([0.05, 0.5, 0.95])
    np.testing.assert_allclose(weighted_quantiles(values, np.ones(19), levels), [1.0, 10.0, 19.0])


def test_between_two_levels_quantiles_are_joined() -> None:
    assert at_level(LEVELS, 0.875) == pytest.approx(0.875)
    assert at_level(LEVELS, 0.01) == pytest.approx(0.01)
    assert at_level(LEVELS, 0.99) == pytest.approx(0.99)

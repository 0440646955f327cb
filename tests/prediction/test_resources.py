from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import ArtefactError, InputError
from herdwise.core.outcomes import OutcomeTable
from herdwise.prediction.resources import ResourcePredictor

N, M = 400, 3
UNPRICED = np.full(M, np.nan)


def _table(n: int = N, **columns: np.ndarray) -> OutcomeTable:
    """A dense table of three candidates; every column is ``(n, M)``, NaN = unknown."""
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


def _queries(n: int = N, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 20)).astype(np.float32), rng.integers(10, 2000, n).astype(np.float64)


def _lengths(X: np.ndarray, tokens: np.ndarray, seed: int = 0) -> np.ndarray:
    """Output tokens that follow the input's length and one direction of the vectors, with noise."""
    rng = np.random.default_rng(seed)
    base = np.exp(0.5 * np.log(tokens) + 0.6 * X[:, 0] + rng.normal(0, 0.3, len(X)))
    return (base[:, None] * np.array([5.0, 20.0, 60.0])).astype(np.float64)


def test_length_is_learned_from_the_query_and_beats_the_mean_on_new_queries() -> None:
    X, tokens = _queries()
    predictor = ResourcePredictor(n_directions=20).fit(X, tokens, _table(output_tokens=_lengths(X, tokens)))
    fresh, fresh_tokens = _queries(seed=1)
    truth = _lengths(fresh, fresh_tokens, seed=1)
    predicted = predictor.predict(fresh, fresh_tokens, UNPRICED, UNPRICED).output_tokens
    mean = _lengths(X, tokens).mean(axis=0)
    assert np.abs(np.log(predicted / truth)).mean() < 0.6 * np.abs(np.log(mean / truth)).mean()


def test_the_expectation_is_the_recorded_mean_and_not_the_mean_logarithm() -> None:
    X, tokens = _queries()
    skewed = np.random.default_rng(3).lognormal(0.0, 1.5, size=(N, M))
    predicted = (
        ResourcePredictor().fit(X, tokens, _table(latency_s=skewed)).predict(X, tokens, UNPRICED, UNPRICED)
    )
    np.testing.assert_allclose(predicted.latency_s.mean(axis=0), skewed.mean(axis=0), rtol=0.05)
    assert (skewed.mean(axis=0) > 2 * np.exp(np.log(skewed).mean(axis=0))).all()


def test_what_was_not_recorded_stays_unknown() -> None:
    X, tokens = _queries()
    lengths = _lengths(X, tokens)
    lengths[:, 1] = np.nan
    got = (
        ResourcePredictor()
        .fit(X, tokens, _table(output_tokens=lengths))
        .predict(X, tokens, UNPRICED, UNPRICED)
    )
    assert np.isnan(got.output_tokens[:, 1]).all()
    assert np.isfinite(got.output_tokens[:, [0, 2]]).all()
    assert np.isnan(got.latency_s).all()
    assert np.isnan(got.cost_usd).all()


def test_characters_stand_for_tokens_where_only_they_were_recorded() -> None:
    X, tokens = _queries()
    lengths, chars = np.full((N, M), np.nan), np.full((N, M), 400.0)
    lengths[:, 0] = 30.0
    chars[:, 2] = np.nan
    table = _table(output_tokens=lengths, output_chars=chars)
    got = ResourcePredictor().fit(X, tokens, table).predict(X, tokens, UNPRICED, UNPRICED).output_tokens
    np.testing.assert_allclose(got[:, 0], 30.0, rtol=1e-3)
    np.testing.assert_allclose(got[:, 1], 100.0, rtol=1e-3)
    assert np.isnan(got[:, 2]).all()


def test_a_recorded_cost_is_learned_and_others_follow_price_times_tokens() -> None:
    X, tokens = _queries()
    cost, lengths = np.full((N, M), np.nan), np.full((N, M), 50.0)
    cost[:, 0] = 0.002
    lengths[:, 2] = np.nan
    predictor = ResourcePredictor().fit(X, tokens, _table(cost_usd=cost, output_tokens=lengths))
    got = predictor.predict(X, tokens, np.array([9.0, 1.0, 1.0]), np.array([9.0, 4.0, 4.0])).cost_usd
    np.testing.assert_allclose(got[:, 0], 0.002, rtol=1e-3)
    np.testing.assert_allclose(got[:, 1], (tokens * 1.0 + 50.0 * 4.0) * 1e-6, rtol=1e-3)
    assert np.isnan(got[:, 2]).all()


def test_an_unknown_price_gives_an_unknown_cost_and_a_free_candidate_costs_nothing() -> None:
    X, tokens = _queries()
    predictor = ResourcePredictor().fit(X, tokens, _table(latency_s=np.ones((N, M))))
    got = predictor.predict(
        X[:4], tokens[:4], np.array([0.0, np.nan, 1.0]), np.array([0.0, 1.0, 1.0])
    ).cost_usd
    np.testing.assert_array_equal(got[:, 0], 0.0)
    assert np.isnan(got[:, 1:]).all()


def test_few_rows_give_their_plain_mean() -> None:
    X, tokens = _queries()
    latency = np.full((N, M), np.nan)
    latency[:5, 0] = [1.0, 2.0, 3.0, 4.0, 10.0]
    got = ResourcePredictor().fit(X, tokens, _table(latency_s=latency)).predict(X, tokens, UNPRICED, UNPRICED)
    np.testing.assert_allclose(got.latency_s[:, 0], 4.0, rtol=1e-5)


def test_predictions_stay_within_what_was_recorded() -> None:
    X, tokens = _queries()
    lengths = _lengths(X, tokens)
    predictor = ResourcePredictor().fit(X, tokens, _table(output_tokens=lengths))
    got = predictor.predict(X * 1e4, tokens * 1e6, UNPRICED, UNPRICED).output_tokens
    assert (got <= lengths.max(axis=0) * 1.001).all()
    assert (got >= 0).all()


def test_free_recorded_calls_are_predicted_as_free_beside_others_that_are_not() -> None:
    X, tokens = _queries()
    costs = np.where(np.arange(M) < 2, 0.0, np.random.default_rng(0).uniform(0.1, 0.2, (N, M)))
    predictor = ResourcePredictor().fit(X, tokens, _table(cost_usd=costs))
    got = predictor.predict(X, tokens, UNPRICED, UNPRICED).cost_usd
    assert (got[:, :2] == 0).all()
    assert (got[:, 2] >= 0.1).all()
    assert (predictor.predict_one(X[0], tokens[0], UNPRICED, UNPRICED).cost_usd[:2] == 0).all()
    assert (predictor.quantile(X, tokens[:, None], "cost_usd", 0.9)[:, :2] == 0).all()
    assert predictor.known()["cost_usd"].all()


def test_one_query_is_predicted_as_its_row_in_a_batch() -> None:
    X, tokens = _queries()
    predictor = ResourcePredictor().fit(X, tokens, _table(output_tokens=_lengths(X, tokens)))
    prices = np.array([1.0, 2.0, np.nan]), np.array([3.0, 4.0, 5.0])
    batch, one = predictor.predict(X, tokens, *prices), predictor.predict_one(X[7], tokens[7], *prices)
    np.testing.assert_allclose(one.output_tokens, batch.output_tokens[7], rtol=1e-4)
    np.testing.assert_allclose(one.cost_usd, batch.cost_usd[7], rtol=1e-4)
    assert one.latency_s.shape == (M,)
    assert np.isnan(one.latency_s).all()


def test_saved_and_rebuilt_it_predicts_the_same() -> None:
    X, tokens = _queries()
    predictor = ResourcePredictor().fit(X, tokens, _table(output_tokens=_lengths(X, tokens)))
    options, arrays = predictor.state()
    back = ResourcePredictor.from_state(json.loads(json.dumps(options)), arrays)
    before, after = (p.predict(X, tokens, UNPRICED, UNPRICED).output_tokens for p in (predictor, back))
    np.testing.assert_allclose(after, before, rtol=1e-6)
    del arrays["offset_"]
    with pytest.raises(ArtefactError, match="offset_"):
        ResourcePredictor.from_state(options, arrays)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_handful_of_queries_is_enough(n: int) -> None:
    X, tokens = _queries(n)
    got = (
        ResourcePredictor()
        .fit(X, tokens, _table(n, latency_s=np.ones((n, M))))
        .predict(X, tokens, UNPRICED, UNPRICED)
    )
    np.testing.assert_allclose(got.latency_s, 1.0, rtol=1e-5)


@pytest.mark.parametrize("spoil", ["fewer_vectors", "fewer_lengths", "other_width"])
def test_shapes_that_do_not_fit_are_refused(spoil: str) -> None:
    X, tokens = _queries()
    table = _table(latency_s=np.ones((N, M)))
    wrong: dict[str, Any] = {
        "fewer_vectors": lambda: ResourcePredictor().fit(X[:-1], tokens, table),
        "fewer_lengths": lambda: ResourcePredictor().fit(X, tokens[:-1], table),
        "other_width": lambda: (
            ResourcePredictor().fit(X, tokens, table).predict(X[:, :-1], tokens, UNPRICED, UNPRICED)
        ),
    }
    with pytest.raises(InputError):
        wrong[spoil]()

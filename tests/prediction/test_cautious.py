from __future__ import annotations

import numpy as np
import pytest

from herdwise.core.errors import InputError
from herdwise.prediction.base import PREDICTORS
from herdwise.prediction.cautious import CautiousPredictor


def _layouts(n: int, layout: float, seed: int) -> np.ndarray:
    """Queries that vary in four features; the fifth is their layout, the same for all."""
    rng = np.random.default_rng(seed)
    X = rng.normal(0, 0.3, (n, 5)).astype(np.float32)
    X[:, 4] = layout + rng.normal(0, 0.01, n)
    return X


def _outcomes(X: np.ndarray, seed: int) -> np.ndarray:
    """Candidate 1 is right where the first feature is above 0; candidate 0 is right 60% anywhere."""
    rng = np.random.default_rng(seed)
    chance = np.stack([np.full(len(X), 0.6), np.where(X[:, 0] > 0, 0.9, 0.1)], axis=1)
    return (rng.random(chance.shape) < chance).astype(np.float32)


@pytest.fixture(scope="module")
def fitted() -> CautiousPredictor:
    X = _layouts(800, 0.2, seed=0)
    predictor = CautiousPredictor(inner="ridge")
    predictor.fit(X, _outcomes(X, seed=1))
    return predictor


def test_a_known_kind_of_query_is_predicted_as_by_the_inner_predictor(fitted: CautiousPredictor) -> None:
    X = _layouts(300, 0.2, seed=2)
    known = ~fitted.is_new(X)
    assert known.mean() > 0.96
    np.testing.assert_array_equal(fitted.predict(X)[known], fitted._inner.predict(X)[known])
    assert (fitted.predict(X).argmax(axis=1) == 1).mean() > 0.3


def test_a_new_layout_gets_the_training_means_though_its_other_features_are_ordinary(
    fitted: CautiousPredictor,
) -> None:
    X = _layouts(300, 0.6, seed=3)
    assert fitted.is_new(X).all()
    np.testing.assert_allclose(fitted.predict(X), np.tile(fitted.means_, (300, 1)))
    assert (fitted.predict(X).argmax(axis=1) == 0).all()
    np.testing.assert_allclose(fitted.predict_one(X[0]), fitted.means_)
    assert list(fitted.parts(X[0])) == ["mean"]


def test_no_more_than_the_stated_share_of_training_queries_is_called_new() -> None:
    # 60 rows in 50 features: seen by themselves all lie close, seen from the others many lie far.
    rng = np.random.default_rng(4)
    X = rng.normal(0, 1, (60, 50)).astype(np.float32)
    Y = (rng.random((60, 2)) < 0.5).astype(np.float32)
    predictor = CautiousPredictor(inner="ridge", share=0.05)
    predictor.fit(X, Y)
    fresh = rng.normal(0, 1, (2000, 50)).astype(np.float32)
    assert predictor.is_new(fresh).mean() < 0.15


def test_a_mean_over_few_queries_is_not_preferred_for_what_is_new() -> None:
    X = _layouts(400, 0.2, seed=5)
    Y = _outcomes(X, seed=6)
    Y[20:, 1], Y[:20, 1] = np.nan, 1.0
    predictor = CautiousPredictor(inner="ridge")
    predictor.fit(X, Y)
    assert predictor.predict(_layouts(5, 0.9, seed=7)).argmax(axis=1).tolist() == [0] * 5


def test_it_stands_in_the_registry_around_the_default() -> None:
    predictor = PREDICTORS.create("cautious")
    assert isinstance(predictor, CautiousPredictor)
    assert predictor.inner == "stack"


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="its own inner one"):
        CautiousPredictor(inner="cautious")
    with pytest.raises(InputError, match="share 1 must lie between 0 and 1"):
        CautiousPredictor(share=1.0)

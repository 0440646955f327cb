"""Every registered predictor keeps the contract of ``herdwise.prediction.base.Predictor``."""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import pytest

from herdwise.core.errors import InputError
from herdwise.prediction.base import PREDICTORS, Predictor

NAMES = PREDICTORS.names()
#: Predictor -> the module that its extra brings.
NEEDS = {"boosting": "lightgbm"}


def create(name: str) -> Predictor:
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        pytest.skip(f"the {name} predictor's extra is not installed: no module {NEEDS[name]}")
    return PREDICTORS.create(name)


@pytest.fixture(params=NAMES)
def predictor(request: pytest.FixtureRequest) -> Predictor:
    return create(request.param)


def planted(n: int, *, seed: int = 0, d: int = 12, m: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Queries in four clouds; every candidate is good in some of them. X, graded outcomes, expectations."""
    rng = np.random.default_rng(seed)
    plan = np.random.default_rng(99)
    centres = plan.normal(size=(4, d)) * 1.5
    expected = plan.uniform(0.15, 0.9, size=(4, m))
    cloud = rng.integers(0, 4, n)
    X = (centres[cloud] + rng.normal(size=(n, d)) * 0.5).astype(np.float32)
    truth = expected[cloud]
    return X, (rng.random((n, m)) < truth).astype(np.float32), truth


def error(predicted: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean((predicted - truth) ** 2))


def sound(predicted: np.ndarray, shape: tuple[int, int]) -> bool:
    return (
        predicted.shape == shape
        and predicted.dtype == np.float32
        and bool(np.isfinite(predicted).all())
        and bool((predicted >= 0).all() and (predicted <= 1).all())
    )


def test_predictions_are_finite_fractions_of_the_right_shape(predictor: Predictor) -> None:
    X, Y, _ = planted(200)
    assert sound(predictor.fit(X, Y).predict(X[:17]), (17, 5))
    assert predictor.predict(X[:0]).shape == (0, 5)


def test_far_away_queries_still_get_finite_fractions(predictor: Predictor) -> None:
    X, Y, _ = planted(200)
    predictor.fit(X, Y)
    far = np.concatenate([X[:3] * 1e4, np.zeros((1, 12), dtype=np.float32)])
    assert sound(predictor.predict(far), (4, 5))


def test_one_query_is_predicted_as_its_row_in_a_batch(predictor: Predictor) -> None:
    X, Y, _ = planted(200)
    predictor.fit(X, Y)
    batch = predictor.predict(X[:20])
    ones = np.stack([predictor.predict_one(x) for x in X[:20]])
    np.testing.assert_allclose(ones, batch, atol=1e-5)


def test_its_parts_add_up_to_what_it_predicts(predictor: Predictor) -> None:
    X, Y, _ = planted(200)
    predictor.fit(X, Y)
    for x in X[:5]:
        parts = predictor.parts(x)
        assert all(part.shape == (5,) for part in parts.values())
        np.testing.assert_allclose(np.sum(list(parts.values()), axis=0), predictor.predict_one(x), atol=1e-5)


def test_the_same_seed_gives_the_same_predictor(predictor: Predictor) -> None:
    X, Y, _ = planted(150)
    first = predictor.fit(X, Y, seed=3).predict(X)
    again = PREDICTORS.create(predictor.name).fit(X, Y, seed=3).predict(X)
    np.testing.assert_array_equal(first, again)


def test_a_saved_predictor_predicts_the_same(predictor: Predictor) -> None:
    X, Y, _ = planted(150)
    Y[::3, 1] = np.nan
    predictor.fit(X, Y)
    options, arrays = predictor.state()
    options = json.loads(json.dumps(options))
    copied = {name: np.array(value) for name, value in arrays.items()}
    assert all(value.dtype != object for value in copied.values())
    back = type(predictor).from_state(options, copied)
    np.testing.assert_allclose(back.predict(X), predictor.predict(X), atol=1e-6)
    np.testing.assert_allclose(back.predict_one(X[0]), predictor.predict_one(X[0]), atol=1e-6)
    std, std_back = predictor.std(X), back.std(X)
    assert (std is None) == (std_back is None)
    if std is not None and std_back is not None:
        np.testing.assert_allclose(std_back, std, atol=1e-6)


def test_a_stated_uncertainty_is_a_finite_non_negative_matrix(predictor: Predictor) -> None:
    X, Y, _ = planted(150)
    std = predictor.fit(X, Y).std(X[:9])
    # Stating none is allowed; stating nonsense is not.
    assert std is None or (
        std.shape == (9, 5) and np.isfinite(std).all() and (std >= 0).all() and (std <= 0.5).all()
    )


def test_sparse_outcomes_are_learned_from(predictor: Predictor) -> None:
    X, Y, truth = planted(600)
    hidden = np.random.default_rng(1).random(Y.shape) < 0.7
    predicted = predictor.fit(X, np.where(hidden, np.nan, Y)).predict(X)
    assert sound(predicted, Y.shape)
    slack = 1e-3 if predictor.name == "mean" else 0.0
    assert error(predicted, truth) <= error(np.nanmean(Y, axis=0), truth) + slack


def test_a_candidate_without_outcomes_gets_the_others_level(predictor: Predictor) -> None:
    X, Y, _ = planted(300)
    Y[:, 2] = np.nan
    predicted = predictor.fit(X, Y).predict(X)
    assert sound(predicted, Y.shape)
    assert abs(float(predicted[:, 2].mean()) - float(np.nanmean(Y))) < 0.12


def test_constant_quality_is_foretold(predictor: Predictor) -> None:
    X, Y, _ = planted(300)
    Y[:, 0], Y[:, 1] = 1.0, 0.0
    predicted = predictor.fit(X, Y).predict(X)
    assert float(predicted[:, 0].min()) > 0.9
    assert float(predicted[:, 1].max()) < 0.1


def test_outcomes_that_are_all_alike_are_learned(predictor: Predictor) -> None:
    X, Y, _ = planted(60)
    predicted = predictor.fit(X, np.full_like(Y, 0.5)).predict(X)
    np.testing.assert_allclose(predicted, 0.5, atol=0.03)


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_a_handful_of_queries_is_enough_to_fit(predictor: Predictor, n: int) -> None:
    X, Y, _ = planted(n)
    assert sound(predictor.fit(X, Y).predict(X), (n, 5))
    assert predictor.predict_one(X[0]).shape == (5,)


def test_one_query_with_one_outcome_is_enough_to_fit(predictor: Predictor) -> None:
    X, Y, _ = planted(1)
    Y[:] = np.nan
    Y[0, 3] = 1.0
    assert sound(predictor.fit(X, Y).predict(X), (1, 5))


def test_a_single_candidate_is_enough_to_fit(predictor: Predictor) -> None:
    X, Y, _ = planted(100)
    assert sound(predictor.fit(X, Y[:, :1]).predict(X), (100, 1))


def test_one_outcome_per_query_is_enough_to_fit(predictor: Predictor) -> None:
    X, Y, truth = planted(800)
    asked = np.random.default_rng(2).integers(0, 5, len(X))
    sparse = np.full_like(Y, np.nan)
    sparse[np.arange(len(X)), asked] = Y[np.arange(len(X)), asked]
    predicted = predictor.fit(X, sparse).predict(X)
    assert sound(predicted, Y.shape)
    assert error(predicted, truth) < error(np.nanmean(Y, axis=0), truth) + 0.005


def test_duplicated_queries_and_constant_features_do_no_harm(predictor: Predictor) -> None:
    X, Y, _ = planted(40)
    X[:, 0] = 1.0
    X, Y = np.repeat(X, 5, axis=0), np.repeat(Y, 5, axis=0)
    assert sound(predictor.fit(X, Y).predict(X), Y.shape)
    same = np.repeat(X[:1], 30, axis=0)
    assert sound(predictor.fit(same, Y[:30]).predict(same), (30, 5))


def test_fractions_are_learned_as_well_as_ones(predictor: Predictor) -> None:
    X, _, truth = planted(400)
    held, _, expected = planted(300, seed=5)
    predicted = predictor.fit(X, truth).predict(held)
    assert error(predicted, expected) <= error(truth.mean(axis=0), expected) * 1.01


def test_a_planted_signal_is_foretold_better_than_by_the_mean(predictor: Predictor) -> None:
    X, Y, _ = planted(600)
    held, _, truth = planted(400, seed=7)
    predicted = predictor.fit(X, Y).predict(held)
    if predictor.name == "mean":
        np.testing.assert_allclose(predicted, np.repeat(Y.mean(axis=0)[None], 400, axis=0), atol=1e-6)
        return
    assert error(predicted, truth) < 0.5 * error(Y.mean(axis=0), truth)
    routed = truth[np.arange(len(truth)), predicted.argmax(axis=1)].mean()
    assert routed > truth[:, Y.mean(axis=0).argmax()].mean() + 0.03


def test_noise_costs_little_against_the_mean(predictor: Predictor) -> None:
    rng = np.random.default_rng(4)
    X = rng.normal(size=(500, 12)).astype(np.float32)
    level = np.array([0.3, 0.5, 0.55, 0.6])
    Y = (rng.random((500, 4)) < level).astype(np.float32)
    held = rng.normal(size=(300, 12)).astype(np.float32)
    predicted = predictor.fit(X, Y).predict(held)
    truth = np.repeat(level[None], 300, axis=0)
    assert error(predicted, truth) < error(Y.mean(axis=0), truth) + 0.012


@pytest.mark.parametrize("width", [11, 13])
def test_a_wrong_number_of_features_is_refused(predictor: Predictor, width: int) -> None:
    X, Y, _ = planted(50)
    predictor.fit(X, Y)
    with pytest.raises(InputError, match="12 features"):
        predictor.predict(np.zeros((2, width), dtype=np.float32))


def test_shapes_that_do_not_fit_are_refused(predictor: Predictor) -> None:
    X, Y, _ = planted(50)
    with pytest.raises(InputError, match="must be"):
        predictor.fit(X[:-1], Y)
    with pytest.raises(InputError, match="no graded outcome"):
        predictor.fit(X, np.full_like(Y, np.nan))


def test_the_order_of_candidates_does_not_matter(predictor: Predictor) -> None:
    X, Y, _ = planted(200)
    Y[::4, 2] = np.nan
    order = np.array([3, 0, 4, 2, 1])
    plain = predictor.fit(X, Y).predict(X)
    turned = PREDICTORS.create(predictor.name).fit(X, Y[:, order]).predict(X)
    np.testing.assert_allclose(turned, plain[:, order], atol=2e-3)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "stack"])
def test_left_out_predictions_do_not_copy_their_own_outcome(name: str) -> None:
    """The stack is left out: its few weights may see all rows, its members are tested here."""
    X, _, _ = planted(120)
    guess = np.random.default_rng(8).integers(0, 2, (120, 5)).astype(np.float32)  # nothing to foretell
    predictor = create(name).fit(X, guess)
    if predictor.left_out_ is None:  # it cannot tell without refitting; the stack then takes folds
        return
    own = predictor.left_out_ - guess.mean(axis=0)
    # In sample a fit leans towards each row's own coin; left out it may only lean away from it.
    assert float((own * (guess - guess.mean(axis=0))).mean()) <= 1e-3

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from herdwise.core.errors import ArtefactError, InputError, UnknownNameError
from herdwise.prediction.base import PREDICTORS
from herdwise.prediction.stack import StackPredictor


def _planted(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    plan = np.random.default_rng(99)
    centres, quality = plan.normal(size=(4, 10)) * 1.5, plan.uniform(0.15, 0.9, size=(4, 5))
    cloud = rng.integers(0, 4, n)
    X = (centres[cloud] + rng.normal(size=(n, 10)) * 0.5).astype(np.float32)
    return X, (rng.random((n, 5)) < quality[cloud]).astype(np.float32), quality[cloud]


@pytest.fixture
def fitted() -> StackPredictor:
    X, Y, _ = _planted(800)
    return StackPredictor().fit(X, Y)


def test_without_signal_every_query_gets_the_best_single() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(800, 10)).astype(np.float32)
    Y = (rng.random((800, 4)) < np.array([0.4, 0.6, 0.55, 0.3])).astype(np.float32)
    stack = StackPredictor().fit(X, Y)
    fresh = rng.normal(size=(500, 10)).astype(np.float32)
    assert (stack.predict(fresh).argmax(axis=1) == Y.mean(axis=0).argmax()).all()


def test_with_a_dominant_candidate_nobody_else_is_picked_to_any_harm() -> None:
    X, Y, truth = _planted(1000)
    Y[:, 2] = np.random.default_rng(2).random(1000) < 0.97
    truth = truth.copy()
    truth[:, 2] = 0.97
    pick = StackPredictor().fit(X, Y).predict(X).argmax(axis=1)
    assert truth[np.arange(len(truth)), pick].mean() > 0.965


def test_the_prediction_means_frequency(fitted: StackPredictor) -> None:
    X, Y, _ = _planted(3000, seed=3)
    predicted = fitted.predict(X)
    bins = np.minimum((predicted * 15).astype(int), 14)
    gaps = [abs(float((predicted - Y)[bins == b].sum())) for b in range(15)]
    assert sum(gaps) / Y.size < 0.04


def test_the_stated_error_covers_the_truth(fitted: StackPredictor) -> None:
    X, _, truth = _planted(1000, seed=4)
    gap = np.abs(fitted.predict(X) - truth)
    assert (gap <= 3.0 * fitted.std(X)).mean() > 0.8


def test_members_are_named_and_may_be_any_registered_predictors() -> None:
    X, Y, truth = _planted(600)
    stack = StackPredictor(("knn", "logistic", "mean"), 3, {"knn": {"k": 20}}).fit(X, Y)
    predicted = stack.predict(X)
    assert np.mean((predicted - truth) ** 2) < 0.5 * np.mean((Y.mean(axis=0) - truth) ** 2)
    options, arrays = stack.state()
    back = StackPredictor.from_state(options, arrays)
    assert back.members == ("knn", "logistic", "mean")
    assert back.member_options["knn"]["k"] == 20
    np.testing.assert_allclose(back.predict(X), predicted, atol=1e-6)


def test_an_unknown_member_is_refused_by_name() -> None:
    X, Y, _ = _planted(50)
    with pytest.raises(UnknownNameError, match="crystal_ball"):
        StackPredictor(members=("crystal_ball",)).fit(X, Y)


def test_options_for_a_stranger_are_refused() -> None:
    with pytest.raises(InputError, match="knn"):
        StackPredictor(member_options={"knn": {"k": 3}})


@pytest.mark.parametrize("lost", ["weights_", "guard.margins_", "calibration.knots_", "member0.offset_"])
def test_a_saved_stack_that_lacks_an_array_is_refused(fitted: StackPredictor, lost: str) -> None:
    options, arrays = fitted.state()
    del arrays[lost]
    with pytest.raises(ArtefactError, match="lacks the array"):
        StackPredictor.from_state(options, arrays)


def test_a_saved_stack_predicts_without_scikit_learn_or_scipy(
    fitted: StackPredictor, tmp_path: object
) -> None:
    options, arrays = fitted.state()
    path = f"{tmp_path}/stack.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    code = f"""
import sys, numpy as np
from herdwise.prediction.base import PREDICTORS
arrays = dict(np.load({path!r}))
stack = PREDICTORS.get("stack").from_state({options!r}, arrays)
x = np.ones(10, dtype=np.float32)
stack.predict_one(x), stack.predict(x[None]), stack.std(x[None])
loaded = [m for m in sys.modules if m.split(".")[0] in ("sklearn", "scipy", "torch")]
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_default_members_are_registered() -> None:
    assert set(StackPredictor().members) <= set(PREDICTORS.names())


def test_a_stack_for_some_candidates_leaves_the_whole_one_as_it_was(fitted: StackPredictor) -> None:
    X, Y, _ = _planted(300, seed=6)
    before = fitted.predict(X)
    best = int(fitted.means_.argmax())
    rest = np.array([c for c in range(5) if c != best])
    part = fitted.among(rest)
    pick = rest[part.predict(X)[:, rest].argmax(axis=1)]
    alone = rest[fitted.means_[rest].argmax()]
    assert Y[np.arange(300), pick].mean() >= Y[:, alone].mean()
    np.testing.assert_array_equal(fitted.predict(X), before)
    np.testing.assert_array_equal(fitted.among(np.array([], dtype=np.int64)).predict(X), before)

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import ArtefactError
from herdwise.prediction.base import PREDICTORS
from herdwise.prediction.boosting import BoostingPredictor
from herdwise.prediction.candidate_features import candidate_features

needs_lightgbm = pytest.mark.skipif(
    find_spec("lightgbm") is None, reason="the boosting predictor's extra is not installed"
)
SIZES = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 3.0, 48.0])
HERD = Herd(Candidate(f"model-{size}b", params_b=size) for size in SIZES)


def _by_size(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hard queries (first feature above 0) are answered by large candidates alone."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4)).astype(np.float32)
    truth = np.where(X[:, :1] > 0, np.where(SIZES > 10, 0.9, 0.1), 0.8)
    return X, (rng.random(truth.shape) < truth).astype(np.float32), truth


@needs_lightgbm
def test_a_candidate_with_few_outcomes_is_judged_by_those_of_its_size() -> None:
    X, Y, _ = _by_size(800, 0)
    few = np.random.default_rng(1).permutation(800)[12:]
    Y[np.ix_(few, [7, 8])] = np.nan
    held, _, expected = _by_size(300, 2)
    with_features = BoostingPredictor(n_folds=3).fit(X, Y, candidate_features=candidate_features(HERD))
    alone = PREDICTORS.create("clusters").fit(X, Y)

    def error(predicted: np.ndarray) -> float:
        return float(np.mean((predicted - expected)[:, [7, 8]] ** 2))

    assert error(with_features.predict(held)) < 0.35 * error(alone.predict(held))


@needs_lightgbm
def test_trees_that_do_not_help_are_not_kept() -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(400, 6)).astype(np.float32)
    Y = (rng.random((400, 4)) < 0.5).astype(np.float32)
    predictor = BoostingPredictor().fit(X, Y)
    assert float(predictor.predict(X).std()) < 0.06


@needs_lightgbm
def test_what_is_saved_is_lightgbms_own_text_beside_the_arrays_of_the_base() -> None:
    X, Y, _ = _by_size(400, 4)
    options, arrays = BoostingPredictor(n_folds=3).fit(X, Y).state()
    assert arrays["trees_"].tobytes().startswith(b"tree\nversion=")
    assert "base.means_" in arrays
    assert options["base"] == "clusters"


@needs_lightgbm
def test_trees_that_cannot_be_read_are_named() -> None:
    X, Y, _ = _by_size(60, 5)
    options, arrays = BoostingPredictor().fit(X, Y).state()
    arrays["trees_"] = np.frombuffer(b"no trees", dtype=np.uint8)
    with pytest.raises(ArtefactError, match=r"boosting.*trees"):
        BoostingPredictor.from_state(options, arrays)


def test_without_the_extra_the_error_names_it() -> None:
    # A None in sys.modules is Python's own mark of a module that cannot be imported.
    code = """
import sys
import numpy as np
from herdwise.core.errors import MissingExtraError
from herdwise.prediction.base import PREDICTORS
sys.modules["lightgbm"] = None
try:
    PREDICTORS.create("boosting").fit(np.eye(3), np.eye(3))
except MissingExtraError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "herdwise[boosting]" in run.stdout

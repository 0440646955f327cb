from __future__ import annotations

import numpy as np
import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import InputError
from herdwise.core.money import FREE, Price
from herdwise.prediction.candidate_features import CANDIDATE_FEATURES, candidate_features, family_number
from herdwise.prediction.mean import MeanPredictor


def _row(candidate: Candidate) -> dict[str, float]:
    return dict(zip(CANDIDATE_FEATURES, candidate_features(Herd([candidate]))[0].tolist(), strict=True))


def test_what_is_unknown_is_nan_and_never_zero() -> None:
    row = _row(Candidate("7"))
    assert all(np.isnan(value) for value in row.values())


def test_sizes_prices_and_openness_are_given() -> None:
    row = _row(
        Candidate("x-70b", params_b=70.0, active_params_b=13.0, open_weights=True, price=Price(1.0, 3.0))
    )
    assert row["log_params_b"] == pytest.approx(np.log(70.0))
    assert row["log_active_params_b"] == pytest.approx(np.log(13.0))
    assert row["log_usd_per_mtok"] == pytest.approx(np.log(2.0))
    assert row["open_weights"] == 1.0


def test_a_free_candidate_has_a_finite_price() -> None:
    assert np.isfinite(_row(Candidate("x", price=FREE))["log_usd_per_mtok"])


def test_a_family_is_known_by_its_name_whoever_serves_it() -> None:
    assert family_number("meta-llama/Meta-Llama-3-8B") == family_number("Llama-2-70b-hf")
    assert family_number("Qwen1.5-110B") != family_number("Llama-2-70b-hf")


def test_features_of_another_herd_are_refused() -> None:
    X, Y = np.zeros((3, 2), dtype=np.float32), np.ones((3, 4), dtype=np.float32)
    with pytest.raises(InputError, match="log_params_b"):
        MeanPredictor().fit(X, Y, candidate_features=np.zeros((3, 6)))

"""Options of predictors as people type them: what none can work with is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from herdwise.core.errors import ConfigError
from herdwise.prediction.base import PREDICTORS


@pytest.mark.parametrize(
    ("predictor", "option", "value"),
    [
        ("knn", "k", "abc"),
        ("knn", "k", 0),
        ("knn", "k", 1.5),
        ("knn", "k", True),
        ("knn", "prior", -1),
        ("clusters", "sizes", 4),
        ("clusters", "sizes", []),
        ("clusters", "sizes", [0]),
        ("clusters", "sizes", "48"),
        ("kernel", "n_landmarks", 0),
        ("kernel", "widths", []),
        ("kernel", "widths", [float("nan")]),
        ("mf", "max_rank", -1),
        ("irt", "max_dimensions", -1),
        ("neural", "hidden", 0),
        ("neural", "n_folds", 1),
        ("neural", "dropout", 1),
        ("neural", "learning_rate", "1e-3"),
        ("boosting", "n_trees", 0),
        ("boosting", "n_folds", 1),
        ("cautious", "share", "half"),
        ("cautious", "share", 0),
        ("stack", "members", "knn"),
        ("stack", "members", []),
        ("stack", "n_folds", 0),
    ],
)
def test_an_option_that_cannot_be_worked_with_is_refused_by_name(
    predictor: str, option: str, value: Any
) -> None:
    with pytest.raises(ConfigError, match=f"{predictor}: {option} "):
        PREDICTORS.create(predictor, **{option: value})


@pytest.mark.parametrize(
    ("predictor", "options"),
    [
        ("knn", {"k": 5, "prior": 0}),
        ("clusters", {"sizes": [4, 8], "prior": 10}),
        ("kernel", {"widths": [1], "linear": 0}),
        ("mf", {"max_rank": 0}),
        ("neural", {"dropout": 0, "decay": 0}),
        ("boosting", {"n_axes": 0}),
        ("stack", {"members": ["knn"]}),
    ],
)
def test_options_as_a_command_line_reads_them_are_taken(predictor: str, options: dict[str, Any]) -> None:
    assert PREDICTORS.create(predictor, **options).name == predictor

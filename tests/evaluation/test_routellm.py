"""PGR, APGR, CPT of a two-candidate herd, by hand."""

import numpy as np
import pytest

from herdwise.evaluation.measured import Measured
from herdwise.evaluation.routellm import pair_figures

# Column 1 is strong: it is right on all four, the weak one on the last two. The gap is 1 - 0.5.
QUALITY = np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 1.0], [1.0, 1.0]])


def measured(answered: list[int], quality: np.ndarray = QUALITY) -> Measured:
    picks = np.array(answered)
    return Measured(
        names=["weak", "strong"],
        benchmarks=["b"] * len(quality),
        quality=quality,
        picked=quality[np.arange(len(quality)), picks],
        answered=picks,
        best=1,
        average="micro",
    )


def predicted(advantage: list[float]) -> np.ndarray:
    return np.stack([np.zeros(len(advantage)), np.array(advantage)], axis=1)


def test_a_perfect_ranking_recovers_the_gap_with_half_of_the_calls() -> None:
    figures = pair_figures(measured([1, 0, 0, 0]), predicted([0.9, 0.8, 0.2, 0.1]))
    # Recovered at 0, 1/4, 1/2, 3/4, 1 of the calls: 0, 1/2, 1, 1, 1; by trapezoids 3/4.
    assert figures.apgr == pytest.approx(0.75)
    assert (figures.cpt_50, figures.cpt_80) == (0.25, 0.5)
    assert figures.pgr == pytest.approx(0.5)
    assert (figures.strong, figures.strong_share) == ("strong", 0.25)


def test_a_ranking_turned_round_needs_all_calls() -> None:
    figures = pair_figures(measured([0, 0, 1, 1]), predicted([0.1, 0.2, 0.8, 0.9]))
    assert figures.apgr == pytest.approx(0.25)
    assert (figures.cpt_50, figures.cpt_80) == (0.75, 1.0)
    assert figures.pgr == pytest.approx(0.0)


def test_blind_choice_recovers_half_on_average_whatever_the_order_of_rows() -> None:
    assert pair_figures(measured([0] * 4), predicted([0.3] * 4)).apgr == pytest.approx(0.5)


def test_without_a_gap_every_ratio_is_undefined() -> None:
    same = np.ones((4, 2))
    figures = pair_figures(measured([0] * 4, same), predicted([0.1, 0.2, 0.3, 0.4]))
    assert (figures.pgr, figures.apgr, figures.cpt_50, figures.cpt_80) == (None, None, None, None)

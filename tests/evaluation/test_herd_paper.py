"""The Herd paper's figures, by hand."""

import numpy as np
import pytest

from herdwise.evaluation.herd_paper import reference_figures

REFERENCE = np.array([1.0, 0.5, 0.0, 0.8, np.nan])
HERD = np.array([[0.96, 0.0], [0.2, 0.5], [1.0, 0.0], [0.96, 0.96], [1.0, 1.0]])
PICKED = np.array([0.96, 0.44, 0.0, 0.96, 1.0])


def test_shares_count_only_queries_that_the_reference_ran() -> None:
    figures = reference_figures("big", REFERENCE, HERD, PICKED, np.full(5, 7.0), 70.0)
    assert figures is not None
    assert figures.n == 4
    assert figures.quality == pytest.approx(0.575)
    # As well within 0.05: 0.96 >= 0.95, not 0.44 >= 0.45, 0 >= 0, 0.96 >= 0.8.
    assert figures.as_well == pytest.approx(3 / 4)
    assert figures.as_well_some_candidate == pytest.approx(1.0)
    # Misses (below 0.9): three. Right above 0.95: some candidate on two of them, the router on one.
    assert figures.missed == pytest.approx(3 / 4)
    assert figures.missed_some_candidate == pytest.approx(2 / 3)
    assert figures.missed_router == pytest.approx(1 / 3)
    assert (figures.effective_params_b, figures.size_ratio) == (7.0, 10.0)


def test_an_unknown_size_leaves_the_ratio_unknown() -> None:
    sizes = np.array([7.0, np.nan, 7.0, 7.0, 7.0])
    for reference_size, asked in ((None, np.full(5, 7.0)), (70.0, sizes)):
        figures = reference_figures("big", REFERENCE, HERD, PICKED, asked, reference_size)
        assert figures is not None
        assert figures.size_ratio is None


def test_a_reference_that_never_misses_leaves_its_misses_undefined() -> None:
    figures = reference_figures("big", np.ones(5), HERD, PICKED, np.full(5, 7.0), None)
    assert figures is not None
    assert (figures.missed, figures.missed_router, figures.missed_some_candidate) == (0.0, None, None)


def test_a_reference_that_ran_nothing_has_no_figures() -> None:
    assert reference_figures("big", np.full(5, np.nan), HERD, PICKED, np.full(5, 7.0), None) is None


def test_a_herd_of_the_reference_alone_has_no_other_candidate() -> None:
    figures = reference_figures("big", REFERENCE, HERD[:, :0], PICKED, np.full(5, 7.0), None)
    assert figures is not None
    assert figures.as_well_some_candidate is None

"""Prune: which few candidates carry the herd, chosen on train and measured on test."""

import itertools
import re

import numpy as np
import pytest

from herdwise import Candidate, Herd, OutcomeTable
from herdwise.core.decision import Constraints
from herdwise.core.errors import ConfigError, NoCandidateError, UnknownCostError
from herdwise.evaluation.prune import prune
from herdwise.evaluation.report_prune import render_pruning
from herdwise.evaluation.subsets import Routed, best_subsets

SKILLS = {
    "maths": (0.9, 0.1),
    "poet": (0.1, 0.9),
    "copy of maths": (0.85, 0.1),
    "weak": (0.1, 0.1),
    "so-so": (0.5, 0.5),
}
WORDS = [["integral", "matrix", "sum", "prime"], ["sonnet", "novel", "poem", "rhyme"]]


def make_table(n=400, *, splits=True, sparse=None):
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, n)
    quality = rng.random((n, len(SKILLS))) < np.array(list(SKILLS.values()))[:, kind].T
    query, candidate = np.divmod(np.arange(quality.size), len(SKILLS))
    keep = np.ones(quality.size, dtype=bool)
    if sparse is not None:
        keep = (candidate != list(SKILLS).index(sparse)) | (query % 2 == 0)
    return OutcomeTable(
        herd=Herd(Candidate(name, params_b=i + 1, active_params_b=i + 1) for i, name in enumerate(SKILLS)),
        query_ids=[f"q{i}" for i in range(n)],
        texts=[" ".join(rng.choice(WORDS[k], 4)) + f" {i}" for i, k in enumerate(kind)],
        benchmarks=[("maths", "poems")[k] for k in kind],
        splits=[None if not splits else "test" if i % 4 == 0 else "train" for i in range(n)],
        query_index=query[keep].astype(np.int32),
        candidate_index=candidate[keep].astype(np.int32),
        sample=np.zeros(int(keep.sum()), dtype=np.int32),
        values={"quality": quality.ravel()[keep].astype(np.float64)},
        name="made <up>",
    )


@pytest.fixture(scope="module")
def pruning():
    return prune(make_table(), max_candidates=4, predictor="ridge")


def test_two_complementary_candidates_carry_the_herd(pruning):
    assert pruning.chosen == 2
    assert pruning.stages[1].kept == ("maths", "poet")
    assert pruning.stages[1].test.share > 0.95
    assert pruning.stages[0].test.share < 0.8


def test_gains_and_oracle_add_up(pruning):
    for before, stage in itertools.pairwise(pruning.stages):
        assert stage.train.routed == pytest.approx(before.train.routed + stage.routed_gain)
        assert stage.train.oracle == pytest.approx(before.train.oracle + stage.oracle_gain)
        assert stage.train.oracle >= stage.train.routed
        assert set(stage.kept) == (set(before.kept) | set(stage.added)) - set(stage.dropped)
    assert [len(stage.kept) for stage in pruning.stages] == [1, 2, 3, 4]


def test_the_first_size_is_the_best_single_candidate_by_training_mean(pruning):
    table = make_table().split("train")
    means = dict(zip(table.herd.names, table.matrix().mean(axis=0).tolist(), strict=True))
    assert pruning.stages[0].kept == (max(means, key=means.get),)
    assert pruning.stages[0].train.routed == pytest.approx(max(means.values()))


def test_cost_is_that_of_those_asked(pruning):
    assert pruning.cost_kind == "active_params"
    assert pruning.stages[1].kept == ("maths", "poet")
    assert 1.2 < pruning.stages[1].test.cost < 1.8


def test_a_table_without_splits_is_measured_out_of_fold_only():
    found = prune(make_table(splits=False), max_candidates=2, predictor="ridge")
    assert found.whole_test is None
    assert found.n_test is None
    assert found.stages[1].test is None
    assert found.stages[1].kept == ("maths", "poet")
    assert "Filled: held out" not in render_pruning(found)


def test_a_predictor_that_cannot_leave_rows_out_is_fitted_in_folds():
    found = prune(make_table(200), max_candidates=2, predictor="logistic")
    assert found.stages[1].kept == ("maths", "poet")
    assert found.stages[1].train.routed < 1.0


def test_limits_and_sparse_candidates_are_left_out_with_the_reason():
    found = prune(
        make_table(sparse="poet"), max_candidates=9, predictor="ridge", limits=Constraints(max_params_b=4)
    )
    assert set(found.excluded) == {"poet", "so-so"}
    assert "params_b 5 > 4" in found.excluded["so-so"]
    assert "covers" in found.excluded["poet"]
    assert len(found.stages) == found.n_candidates == 3


def test_mistakes_are_named():
    table = make_table(80)
    with pytest.raises(ConfigError, match="no average 'median'"):
        prune(table, average="median", predictor="ridge")
    with pytest.raises(ConfigError, match="'cost_usd' is not one of quality"):
        prune(table, quality_column="cost_usd", predictor="ridge")
    with pytest.raises(UnknownCostError, match="usd"):
        prune(table, cost="usd", predictor="ridge")
    with pytest.raises(NoCandidateError):
        prune(table, limits=Constraints(max_params_b=0.5), predictor="ridge")


def test_the_page_loads_nothing_and_names_every_candidate_safely(pruning):
    page = render_pruning(pruning)
    assert not re.search(r'(src|href)="http|url\(|@import|<script', page)
    assert "made &lt;up&gt;" in page
    assert "<up>" not in page
    assert page.count("<svg") == 2
    for stage in pruning.stages:
        for name in stage.added:
            assert name in page
    assert "2 of 5" in page


@pytest.fixture
def noisy():
    rng = np.random.default_rng(3)
    quality = (rng.random((300, 7)) < rng.uniform(0.2, 0.7, (1, 7))).astype(float)
    predicted = 0.5 * quality + 0.5 * rng.random((300, 7))
    return Routed(predicted, quality, np.full(300, 1 / 300))


def test_one_more_and_one_less_are_what_the_larger_and_smaller_sets_route_to(noisy):
    columns = np.array([1, 4, 5])
    more, less = noisy.with_one_more(columns), noisy.with_one_less(columns)
    for newcomer in (0, 2, 3, 6):
        assert more[newcomer] == pytest.approx(noisy.worth(np.append(columns, newcomer)))
    assert np.isneginf(more[columns]).all()
    for place in range(3):
        assert less[place] == pytest.approx(noisy(np.delete(columns, place)))


def test_the_sets_found_are_as_good_as_trying_all(noisy):
    for size, found in enumerate(best_subsets(noisy, 7), start=1):
        best = max(noisy.worth(np.array(c)) for c in itertools.combinations(range(7), size))
        assert noisy.worth(found) == pytest.approx(best, abs=2e-3)
        assert sorted(set(found.tolist())) == found.tolist()
        assert len(found) == size

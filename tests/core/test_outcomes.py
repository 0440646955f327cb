"""OutcomeTable: rows of (query, candidate, sample), and the views learning takes of them."""

from dataclasses import replace

import numpy as np
import pytest

from herdwise import Candidate, Herd, OutcomeTable
from herdwise.core.errors import InputError, UnknownNameError
from herdwise.core.merge import merge


def table(rows, *, n=3, names=("a", "b"), **columns):
    """rows: (query, candidate, sample, quality)."""
    q, c, s, v = (np.array(x) for x in zip(*rows, strict=True))
    return OutcomeTable(
        herd=Herd(Candidate(name) for name in names),
        query_ids=[f"q{i}" for i in range(n)],
        texts=[f"text {i}" for i in range(n)],
        benchmarks=["x"] * n,
        splits=["train", "train", "test"][:n],
        query_index=q.astype(np.int32),
        candidate_index=c.astype(np.int32),
        sample=s.astype(np.int32),
        values={"quality": v.astype(np.float64), **columns},
    )


def test_a_pair_without_a_row_is_not_run():
    matrix = table([(0, 0, 0, 1.0), (1, 1, 0, 0.0)]).matrix()
    assert matrix[0, 0] == 1.0
    assert np.isnan(matrix[0, 1])
    assert matrix[1, 1] == 0.0
    assert np.isnan(matrix[2]).all()


def test_samples_of_a_pair_are_averaged_and_ungraded_ones_left_out():
    matrix = table([(0, 0, 0, 1.0), (0, 0, 1, 0.0), (0, 0, 2, np.nan)]).matrix()
    assert matrix[0, 0] == pytest.approx(0.5)


def test_a_null_quality_is_run_but_not_graded():
    t = table([(0, 0, 0, np.nan)])
    assert t.n_outcomes == 1
    assert t.coverage().tolist() == [0.0, 0.0]


def test_taking_queries_keeps_their_outcomes_and_order():
    t = table([(0, 0, 0, 0.1), (1, 0, 0, 0.2), (2, 1, 0, 0.3)]).take(np.array([2, 0]))
    assert t.query_ids == ["q2", "q0"]
    assert t.matrix()[0, 1] == pytest.approx(0.3)
    assert t.matrix()[1, 0] == pytest.approx(0.1)
    assert t.n_outcomes == 2


def test_restricting_to_candidates_keeps_queries():
    t = table([(0, 0, 0, 0.1), (0, 1, 0, 0.2)]).restrict(["b"])
    assert t.herd.names == ["b"]
    assert t.n_queries == 3
    assert t.matrix()[0, 0] == pytest.approx(0.2)


def test_an_unknown_candidate_is_named_with_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"'z'.*Known: a, b"):
        table([(0, 0, 0, 1.0)]).restrict(["z"])


def test_a_missing_split_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"'dev'.*test, train"):
        table([(0, 0, 0, 1.0)]).split("dev")


def test_the_fingerprint_follows_the_data():
    one, same, other = (table([(0, 0, 0, v)]) for v in (1.0, 1.0, 0.5))
    assert one.fingerprint() == same.fingerprint()
    assert one.fingerprint() != other.fingerprint()


def test_merging_joins_queries_herds_and_columns():
    left = table([(0, 0, 0, 1.0), (1, 0, 0, 0.0)], n=2)
    right = table([(0, 1, 0, 0.5), (0, 0, 0, 0.0)], n=1, names=("a", "c"), cost_usd=np.array([0.1, 0.2]))
    joined = merge([left, right])
    assert joined.herd.names == ["a", "b", "c"]
    assert joined.n_queries == 2
    assert joined.matrix()[0, 0] == pytest.approx(0.5)  # two samples of (q0, a): 1.0 and 0.0
    assert joined.matrix()[0, 2] == pytest.approx(0.5)
    assert sorted(joined.sample.tolist()) == [0, 0, 0, 1]
    assert np.isnan(joined.matrix("cost_usd")[1, 0])


def test_merging_keeps_queries_apart_that_share_only_an_id():
    left = table([(0, 0, 0, 1.0)], n=1)
    right = table([(0, 0, 0, 0.0)], n=1)
    right = OutcomeTable(**{**{f: getattr(right, f) for f in right.__dataclass_fields__}, "texts": ["other"]})
    joined = merge([left, right])
    assert joined.n_queries == 2
    assert len(set(joined.query_ids)) == 2


def test_recorded_tools_are_read_with_the_text_and_demand_nothing_of_a_candidate():
    tools = ['[{"name": "add", "description": "Adds."}]', None, '{"name": "subtract"}']
    made = replace(table([(0, 0, 0, 1.0)]), tools=tools)
    queries = made.queries()
    assert [bool(q.recorded_tools) for q in queries] == [True, False, True]
    assert not any(q.tools for q in queries)
    assert "Adds." in queries[0].asked
    assert queries[1].asked == queries[1].text
    assert made.asked_texts(1, 3) == [q.asked for q in queries[1:]]


@pytest.mark.parametrize("text", ["[1]", "{", "3"])
def test_tools_that_are_no_functions_are_refused_with_the_query(text):
    made = replace(table([(0, 0, 0, 1.0)]), tools=[None, text, None])
    with pytest.raises(InputError, match="tools is not a JSON list"):
        made.queries()

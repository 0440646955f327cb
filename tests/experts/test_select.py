"""Weaknesses of herds that were made to have them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import InputError
from herdwise.core.outcomes import OutcomeTable
from herdwise.encoding.base import ENCODERS
from herdwise.experts.select import find_weaknesses, telling_words

TOPICS = {
    "sums": "add the numbers {} and {} to a total",
    "birds": "which feather has a wren or a heron near pond {} {}",
    "law": "may a tenant sue the landlord over clause {} {}",
}


def table_of(quality: dict[str, list[float]], herd: Herd, n: int = 30, **values: Any) -> OutcomeTable:
    """``n`` queries per topic; quality: topic -> one value per candidate, NaN = not run."""
    texts = [form.format(i, i * 7) for form in TOPICS.values() for i in range(n)]
    topics = [topic for topic in TOPICS for _ in range(n)]
    pairs = [
        (q, c, quality[topic][c])
        for q, topic in enumerate(topics)
        for c in range(len(herd))
        if not np.isnan(quality[topic][c])
    ]
    return OutcomeTable(
        herd=herd,
        query_ids=[str(i) for i in range(len(texts))],
        texts=texts,
        benchmarks=topics,
        splits=["train"] * len(texts),
        query_index=np.array([p[0] for p in pairs], dtype=np.int32),
        candidate_index=np.array([p[1] for p in pairs], dtype=np.int32),
        sample=np.zeros(len(pairs), dtype=np.int32),
        values={"quality": np.array([p[2] for p in pairs]), **values},
    )


SMALL_AND_LARGE = Herd([Candidate("ant", active_params_b=1.0), Candidate("bull", active_params_b=70.0)])


def find(table: OutcomeTable, **options: Any) -> dict[str, Any]:
    vectors = ENCODERS.create("tfidf").fit(table.texts).encode(table.texts)
    found = find_weaknesses(table, vectors, n_clusters=3, **options)
    assert all(len(w.benchmarks) == 1 for w in found), "the topics are easy to tell apart"
    return {next(iter(w.benchmarks)): w for w in found}


def test_the_cluster_with_the_most_lost_quality_comes_first() -> None:
    table = table_of({"sums": [1, 1], "birds": [0.5, 0.6], "law": [0, 0.1]}, SMALL_AND_LARGE)
    found = find(table)
    assert list(found) == ["law", "birds", "sums"]
    law = found["law"]
    assert (law.best_candidate, law.n) == ("bull", 30)
    assert law.best_quality == pytest.approx(0.1)
    assert law.lost_quality == pytest.approx(0.9 / 3)
    assert law.unsolved == 1.0
    assert "low quality" in law.reasons
    assert found["sums"].reasons == []


def test_words_and_examples_tell_what_the_cluster_is_about() -> None:
    found = find(table_of({"sums": [1, 1], "birds": [0, 0], "law": [0, 0]}, SMALL_AND_LARGE))
    assert {"tenant", "landlord"} <= set(found["law"].words)
    assert "tenant" not in found["birds"].words
    assert len(found["law"].examples) == 3
    assert all("tenant" in example for example in found["law"].examples)


def test_a_cluster_that_only_one_costly_candidate_gets_right_is_named() -> None:
    found = find(table_of({"sums": [1, 1], "birds": [1, 1], "law": [0, 1]}, SMALL_AND_LARGE))
    law = found["law"]
    assert (law.lone_candidate, law.lone_share, law.cost, law.cost_kind) == (
        "bull",
        1.0,
        70.0,
        "active_params",
    )
    assert law.reasons == ["lone candidate"]
    assert found["sums"].lone_candidate is None


def test_the_cheapest_alone_being_right_is_no_weakness() -> None:
    found = find(table_of({"sums": [1, 1], "birds": [1, 1], "law": [1, 0]}, SMALL_AND_LARGE))
    assert (found["law"].lone_candidate, found["law"].reasons) == ("ant", [])


def test_a_best_candidate_that_costs_far_more_than_the_typical_one_is_named() -> None:
    herd = Herd([Candidate(n, active_params_b=s) for n, s in (("ant", 1), ("bee", 2), ("bull", 70))])
    found = find(table_of({"sums": [1, 1, 1], "birds": [1, 1, 1], "law": [0.4, 0.4, 0.9]}, herd))
    assert "high cost" in found["law"].reasons
    assert found["sums"].reasons == []


def test_an_unknown_cost_stays_unknown() -> None:
    herd = Herd([Candidate("ant"), Candidate("bull")])
    law = find(table_of({"sums": [1, 1], "birds": [1, 1], "law": [0, 1]}, herd))["law"]
    assert law.cost is None
    assert law.reasons == []


def test_a_candidate_that_ran_little_is_not_the_best() -> None:
    table = table_of({"sums": [0.5, np.nan], "birds": [0.5, np.nan], "law": [0.5, 1.0]}, SMALL_AND_LARGE)
    [everything] = find_weaknesses(table, np.ones((90, 2), dtype=np.float32), n_clusters=1)
    assert (everything.best_candidate, everything.best_quality) == ("ant", 0.5)
    assert everything.oracle == pytest.approx((0.5 + 0.5 + 1.0) / 3)


def test_queries_without_an_outcome_are_left_out() -> None:
    table = table_of({"sums": [1, 1], "birds": [np.nan, np.nan], "law": [0, 0]}, SMALL_AND_LARGE)
    found = find_weaknesses(table, ENCODERS.create("tfidf").fit(table.texts), n_clusters=2)
    assert sum(w.n for w in found) == 60
    assert all("birds" not in w.benchmarks for w in found)


def test_shares_add_up_and_the_same_seed_gives_the_same_clusters() -> None:
    table = table_of({"sums": [1, 0.2], "birds": [0.3, 1], "law": [0, 0]}, SMALL_AND_LARGE)
    encoder = ENCODERS.create("tfidf").fit(table.texts)
    first, again = (find_weaknesses(table, encoder, n_clusters=8, seed=3) for _ in range(2))
    assert first == again
    assert sum(w.share for w in first) == pytest.approx(1.0)


def test_more_clusters_than_distinct_queries_make_no_empty_ones() -> None:
    table = table_of({"sums": [1, 1], "birds": [1, 1], "law": [0, 0]}, SMALL_AND_LARGE, n=1)
    found = find_weaknesses(table, np.eye(3, dtype=np.float32)[[0, 0, 1]], n_clusters=24)
    assert sorted(w.n for w in found) == [1, 2]


def test_nothing_graded_and_wrong_shapes_are_refused() -> None:
    nothing = {topic: [np.nan, np.nan] for topic in TOPICS}
    with pytest.raises(InputError, match="no query has a graded outcome"):
        find_weaknesses(table_of(nothing, SMALL_AND_LARGE), np.ones((90, 2)))
    with pytest.raises(InputError, match="2 vectors for 90 queries"):
        find_weaknesses(table_of({topic: [1, 1] for topic in TOPICS}, SMALL_AND_LARGE), np.ones((2, 2)))


def test_telling_words_are_frequent_here_and_rare_elsewhere() -> None:
    inside = Counter({"tenant": 30, "the": 30, "once": 1})
    everywhere = inside + Counter({"the": 300, "heron": 50})
    assert telling_words(inside, everywhere, 5, n_outside=300) == ["tenant"]


def test_text_without_blanks_has_words_too() -> None:
    table = table_of({"sums": [1, 1], "birds": [1, 1], "law": [0, 0]}, SMALL_AND_LARGE)
    chinese = [f"鲸鱼在海里游泳{i}" if "tenant" in text else text for i, text in enumerate(table.texts)]
    found = find(replace(table, texts=chinese))
    assert "鲸鱼" in found["law"].words

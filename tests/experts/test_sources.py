"""Where examples come from, and a shipped model as the judge of labels."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from herdwise.backends.nano.model import NanoModel
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import UnknownNameError
from herdwise.core.money import Price
from herdwise.core.outcomes import OutcomeTable
from herdwise.encoding.base import ENCODERS
from herdwise.experts.examples import Example, write_examples
from herdwise.experts.families import FAMILIES, split_of
from herdwise.experts.sources import Lesson, estimate, from_family, from_file, recorded_examples
from herdwise.experts.supervise import believed
from herdwise.experts.trial import held_back
from herdwise.experts.weakness import Target, choose_target

BIRDS = [
    f"which feather has the {bird} number {i} at the pond"
    for bird in ("wren", "heron", "stork")
    for i in range(30)
]
LAWS = [
    f"may a tenant of house {i} sue the {who} over a clause"
    for who in ("landlord", "city", "bank")
    for i in range(30)
]


@pytest.fixture
def table() -> OutcomeTable:
    """One candidate that knows the law and no birds; every third bird has no reference."""
    texts = BIRDS + LAWS
    n = len(texts)
    return OutcomeTable(
        herd=Herd([Candidate("lawyer")]),
        query_ids=[f"q{i}" for i in range(n)],
        texts=texts,
        benchmarks=["served"] * n,
        splits=[None] * n,
        references=[None if i % 3 == 0 and i < len(BIRDS) else "a" for i in range(n)],
        query_index=np.arange(n, dtype=np.int32),
        candidate_index=np.zeros(n, dtype=np.int32),
        sample=np.zeros(n, dtype=np.int32),
        values={"quality": np.r_[np.zeros(len(BIRDS)), np.ones(len(LAWS))]},
    )


@pytest.fixture
def target(table: OutcomeTable) -> Target:
    found = choose_target(table, ENCODERS.create("static"), n_clusters=2)
    assert found is not None
    return found


def test_the_target_is_the_weak_cluster_and_its_seeds_are_never_measured(
    table: OutcomeTable, target: Target
) -> None:
    back = dict(zip(table.query_ids, held_back(table.texts).tolist(), strict=True))
    birds = {f"q{i}" for i in range(len(BIRDS))}
    assert set(target.seeds) <= birds
    assert set(target.measured) <= birds
    assert set(target.seeds) | set(target.measured) == birds
    assert not any(back[id_] for id_ in [*target.seeds, *target.others])
    assert (target.related, len(target.others)) == ([], sum(not back[f"q{i}"] for i in range(90, 180)))
    assert all(back[id_] for id_ in target.measured)


def test_a_herd_without_a_weak_cluster_has_no_target(table: OutcomeTable) -> None:
    good = replace(table, values={"quality": np.ones(table.n_outcomes)}, _cache={})
    assert choose_target(good, ENCODERS.create("static"), n_clusters=2) is None
    named = choose_target(good, ENCODERS.create("static"), n_clusters=2, cluster=1)
    assert named is not None
    assert named.weakness.cluster == 1


def test_a_familys_training_items_come_with_the_clusters_own_known_answers(
    table: OutcomeTable, target: Target, tmp_path: Path
) -> None:
    given = from_family("plurals", 50, seed=3)(target, table, tmp_path)
    own = recorded_examples(target, table)
    assert given[: len(own)] == own
    assert {e.source for e in own} == {"recorded"}
    assert len(own) == sum(int(id_[1:]) % 3 != 0 for id_ in target.seeds)
    made = {e.query: e for e in given[len(own) :]}
    items = list(FAMILIES["plurals"].items("train", 50, seed=3))
    assert all(split_of(item) == "train" for item in items)
    assert [made[item.query].answer for item in items] == [item.answer for item in items]
    with pytest.raises(UnknownNameError, match="no family"):
        from_family("nonsense", 5)


def test_a_files_examples_are_named_by_the_file_where_they_name_no_source(
    table: OutcomeTable, target: Target, tmp_path: Path
) -> None:
    path = tmp_path / "mine.jsonl"
    write_examples(path, [Example("a?", "b"), Example("c?", "d", source="web")])
    given = from_file(path)(target, table, tmp_path)
    assert [e.source for e in given[-2:]] == ["mine.jsonl", "web"]


def test_the_estimate_counts_prompts_and_answers_and_knows_no_price_that_nobody_stated(
    table: OutcomeTable, target: Target
) -> None:
    lesson = Lesson(n=100, samples=3, max_tokens=50)
    priced = estimate(target, table, Candidate("t", price=Price(1.0, 2.0)), lesson)
    assert priced.n_asks == 10 + 300
    assert priced.most_usd is not None
    assert priced.most_usd > 310 * 50 * 2.0 / 1e6
    assert estimate(target, table, Candidate("t"), lesson).most_usd is None


def test_a_model_believes_right_labels_and_doubts_wrong_ones_where_it_knows_better() -> None:
    model = NanoModel.load(str(files("herdwise") / "data" / "nano" / "roman"))
    items = list(FAMILIES["roman"].items("dev", 60, seed=1))
    right = [Example(item.query, item.answer) for item in items]
    wrong = [Example(item.query, items[i - 7].answer) for i, item in enumerate(items)]
    mixed = [i for i, item in enumerate(items) if items[i - 7].answer != item.answer]
    assert len(mixed) > 40
    # Judged together: what it is sure of is told by the labels that it agrees with.
    p_right, p_wrong = np.split(np.exp(believed(model, [*right, *wrong])), 2)
    assert (p_right <= 1).all()
    assert np.median(p_right) > 0.9
    assert np.median(p_wrong[mixed]) < 0.1
    assert believed(model, [Example("x" * 5000, "y")]).tolist() == [-np.inf]

"""A router learns fusion where answers were recorded, saves it, and serves it to other herds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.outcomes import OutcomeTable
from herdwise.core.query import Query
from herdwise.routing.router import Router

QUERY = Query("Question 7 about the sea?")


def recorded(n: int = 800) -> OutcomeTable:
    """``ann`` is often right, ``bob`` and his twin ``bill`` err together, ``cid`` never answers."""
    rng = np.random.default_rng(5)
    truth = rng.choice(list("ABC"), n)
    wrong = rng.choice(list("ABC"), (n, 2))
    ann = np.where(rng.random(n) < 0.75, truth, wrong[:, 0])
    bob = np.where(rng.random(n) < 0.6, truth, wrong[:, 1])
    answers = np.stack([ann, bob, bob, np.full(n, None)], axis=1).astype(object)
    quality = (answers == truth[:, None]).astype(float)
    m = 4
    return OutcomeTable(
        herd=Herd(Candidate(name) for name in ("ann", "bob", "bill", "cid")),
        query_ids=[f"q{i}" for i in range(n)],
        texts=[f"Question {i} about the {w}?" for i, w in enumerate(rng.choice(["sky", "sea"], n))],
        benchmarks=["b"] * n,
        splits=[None] * n,
        query_index=np.repeat(np.arange(n), m),
        candidate_index=np.tile(np.arange(m), n),
        sample=np.zeros(n * m, dtype=np.int64),
        values={"quality": quality.ravel()},
        answers=answers.ravel(),
        name="twins",
    )


@pytest.fixture(scope="module")
def router() -> Router:
    return Router.fit(recorded(), predictor="ridge")


def believed(router: Router, **said: str) -> dict[str, float]:
    belief = router.belief(QUERY, router.estimate_one(QUERY))
    assert belief is not None
    for name, value in said.items():
        belief = belief.observe(router.herd.index(name), value)
    return {value: p for value, p in belief.posterior().items() if value is not None}


def test_the_better_candidate_is_believed_more(router: Router) -> None:
    assert believed(router, ann="A")["A"] > believed(router, bob="A")["A"]
    p = believed(router, ann="A", bob="B")
    assert p["A"] > p["B"]


def test_twins_do_not_count_twice(router: Router) -> None:
    """Two votes of one opinion outvote nobody who is better than that opinion."""
    p = believed(router, ann="A", bob="B", bill="B")
    assert p["A"] > p["B"]


def test_a_saved_router_believes_the_same(router: Router, tmp_path: Path) -> None:
    router.save(tmp_path / "router")
    assert (tmp_path / "router" / "fusion.safetensors").is_file()
    again = Router.load(tmp_path / "router")
    told, before = believed(again, ann="A", bob="B"), believed(router, ann="A", bob="B")
    assert told == pytest.approx(before, abs=1e-6)


def test_a_router_saved_before_there_was_fusion_still_loads(router: Router, tmp_path: Path) -> None:
    replace(router, fusion=None).save(tmp_path / "old")
    manifest = json.loads((tmp_path / "old" / "manifest.json").read_text())
    assert "fusion" not in manifest
    old = Router.load(tmp_path / "old")
    assert old.fusion is None
    assert old.belief(QUERY, old.estimate_one(QUERY)) is None


def test_without_answers_nothing_is_learned_of_them() -> None:
    assert Router.fit(replace(recorded(), answers=None), predictor="ridge").fusion is None


def test_another_herd_names_the_same_candidates_by_other_positions(router: Router) -> None:
    other = router.adapt(
        Herd([Candidate("new", quality=0.5), Candidate("bob"), Candidate("ann2", like="ann")])
    )
    p = believed(other, ann2="A", bob="B")
    assert p["A"] > p["B"]
    # A candidate of whom nothing was recorded sways nothing that is known.
    with_stranger = believed(other, ann2="A", bob="B", new="B")
    assert with_stranger["A"] == pytest.approx(p["A"])


def test_a_part_of_the_herd_is_believed_as_in_the_whole(router: Router) -> None:
    part = router.restrict(["bob", "ann"])
    p = believed(part, ann="A", bob="B")
    assert p["A"] > p["B"]


def probes(name: str, like: str, agree: float, n: int = 80) -> OutcomeTable:
    """Outcomes of a new candidate on recorded queries, that follow those of ``like`` so often."""
    table = recorded()
    rng = np.random.default_rng(8)
    rows = np.sort(rng.choice(table.n_queries, n, replace=False))
    theirs = table.matrix()[rows, table.herd.index(like)]
    own = np.where(rng.random(n) < agree, theirs, rng.random(n) < 0.5)
    return OutcomeTable(
        herd=Herd([Candidate(name)]),
        query_ids=[table.query_ids[i] for i in rows],
        texts=[table.texts[i] for i in rows],
        benchmarks=["b"] * n,
        splits=[None] * n,
        query_index=np.arange(n),
        candidate_index=np.zeros(n, dtype=np.int64),
        sample=np.zeros(n, dtype=np.int64),
        values={"quality": own.astype(float)},
        answers=None,
        name="probes",
    )


@pytest.fixture(scope="module")
def joined(router: Router) -> Router:
    """With a copy of ``ann`` that was enlisted from 80 of its outcomes."""
    return router.enlist(Candidate("dan"), probes("dan", "ann", 1.0))


def test_an_enlisted_candidate_has_a_voice(joined: Router) -> None:
    alone, ann = believed(joined, dan="A")["A"], believed(joined, ann="A")["A"]
    assert alone == pytest.approx(ann, abs=0.1)
    belief = joined.belief(QUERY, joined.estimate_one(QUERY))
    assert belief is not None
    assert belief.gain(np.array([joined.herd.index("dan")]))[0] > 0.3


def test_an_enlisted_copy_adds_next_to_nothing_to_its_original(joined: Router) -> None:
    ann, both = believed(joined, ann="A")["A"], believed(joined, ann="A", dan="A")["A"]
    independent = believed(joined, ann="A", bob="A")["A"]
    assert abs(both - ann) < 0.5 * (independent - ann)
    assert believed(joined, dan="A", ann="A")["A"] == pytest.approx(both, abs=1e-6), "in either order"


def test_an_enlisted_candidate_is_saved_with_its_voice(joined: Router, tmp_path: Path) -> None:
    joined.save(tmp_path / "router")
    again = Router.load(tmp_path / "router")
    for said in ({"dan": "A"}, {"dan": "A", "ann": "A", "bob": "B"}):
        assert believed(again, **said) == pytest.approx(believed(joined, **said), abs=1e-6)


def test_removing_an_enlisted_candidate_leaves_the_beliefs_of_before(router: Router, joined: Router) -> None:
    back = joined.remove("dan")
    assert back.fusion is not None
    assert believed(back, ann="A", bob="B") == pytest.approx(believed(router, ann="A", bob="B"), abs=1e-6)
    two = joined.enlist(Candidate("eve"), probes("eve", "bob", 0.9)).remove("dan")
    assert believed(two, eve="A", ann="B")["B"] > believed(two, eve="A", ann="B")["A"]
    assert believed(two, eve="A")["A"] < believed(two, ann="A")["A"]


def test_a_fusion_saved_before_it_took_in_the_enlisted_goes_on_without_them(
    router: Router, joined: Router
) -> None:
    old = replace(joined, fusion=router.fusion)
    assert believed(old, ann="A", dan="B")["A"] == pytest.approx(believed(router, ann="A")["A"], abs=1e-6)
    later = old.enlist(Candidate("eve"), probes("eve", "bob", 0.9))
    assert believed(later, ann="A", eve="B")["A"] == pytest.approx(believed(router, ann="A")["A"], abs=1e-6)
    assert later.remove("dan").fusion is router.fusion

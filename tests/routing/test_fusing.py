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

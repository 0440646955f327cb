"""Learning from a table whose texts are read where they are used, and what is bounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.outcomes import OutcomeTable
from herdwise.core.query import Query
from herdwise.routing import fitting, fusing
from herdwise.routing.neighbours import Neighbours
from herdwise.routing.router import Router
from herdwise.storage.outcomes import read_training_outcomes, write_outcomes
from herdwise.storage.stored_texts import StoredTexts

N = 120


def _table() -> OutcomeTable:
    spells = np.arange(N) % 2 == 0
    texts = [f"spell the word number {i}" if s else f"what is {i} plus {i}?" for i, s in enumerate(spells)]
    quality = np.stack([spells, ~spells], axis=1).astype(np.float32)
    return OutcomeTable(
        herd=Herd([Candidate(name="speller"), Candidate(name="counter")]),
        query_ids=[f"q{i}" for i in range(N)],
        texts=texts,
        benchmarks=["spelling" if s else "sums" for s in spells],
        splits=["train"] * N,
        query_index=np.repeat(np.arange(N, dtype=np.int32), 2),
        candidate_index=np.tile(np.arange(2, dtype=np.int32), N),
        sample=np.zeros(2 * N, dtype=np.int32),
        values={"quality": quality.ravel(), "output_chars": np.tile(np.float32([10, 30]), N)},
        answers=np.array(["A", "B"] * N, dtype=object),
    )


def test_a_table_that_does_not_hold_its_texts_teaches_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_outcomes(_table(), tmp_path / "outcomes")
    held = Router.fit(read_training_outcomes(folder), fusion=False)
    monkeypatch.setattr(fitting, "_BATCH", 50)
    table = read_training_outcomes(folder, held_bytes=0)
    assert isinstance(table.texts, StoredTexts)
    stored = Router.fit(table, fusion=False)
    queries = [Query(text="spell the word tree"), Query(text="what is 3 plus 4?")]
    np.testing.assert_allclose(stored.estimate(queries).quality, held.estimate(queries).quality, atol=1e-5)
    assert stored.facts == held.facts
    assert [n.text for n in stored.explain(queries[0])] == [n.text for n in held.explain(queries[0])]


def test_encoding_reports_all_queries_once_it_is_done() -> None:
    told: list[tuple[int, int]] = []

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "encode":
            told.append((done, total))

    Router.fit(_table(), fusion=False, progress=progress)
    assert told[-1] == (N, N)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_of_many_queries_a_sample_is_kept_for_explanations() -> None:
    table = _table()
    X = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)
    near = Neighbours.fit(X, table, "quality", most=30)
    assert near.vectors.shape == (30, 4)
    assert near.quality.shape == (30, 2)
    for id_, benchmark, text in near.texts:
        place = table.query_ids.index(id_)
        assert (benchmark, text) == (table.benchmarks[place], table.texts[place])
    assert len({id_ for id_, _, _ in near.texts}) == 30


def test_fusion_is_learned_from_a_sample_of_many_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusing, "MOST_QUERIES", 100)
    router = Router.fit(_table())
    assert router.fusion is not None
    assert router.fusion.speaks_.all()

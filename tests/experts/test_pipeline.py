"""From a weakness to an expert that is tried: real training, a real HTTP herd, changed inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from herdwise.backends.embedded import Embedded
from herdwise.backends.nano.folder import read_config
from herdwise.backends.openai_compatible import OpenAICompatible
from herdwise.config.tree import CandidateNode, Config
from herdwise.config.wiring import build_herd
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.decision import Estimates, Goals
from herdwise.core.errors import ArtefactError, InputError
from herdwise.core.outcomes import OutcomeTable
from herdwise.core.query import Query
from herdwise.experts.examples import Example, write_examples
from herdwise.experts.finetune import TrainingSettings
from herdwise.experts.manifest import Manifest
from herdwise.experts.order import Order, entry_of
from herdwise.experts.pipeline import make
from herdwise.experts.proving import ProofSettings, prove
from herdwise.experts.sources import from_file
from herdwise.routing.constraints import HerdFacts, admit
from herdwise.routing.router import Router

CODES = {"heron": "K4", "wren": "B7", "stork": "Z1", "finch": "Q9"}
PLACES = ("lake", "barn", "cliff", "marsh", "river", "wood", "field", "pond", "shore", "hill")
BIRDS = [(f"code of the {bird} at the {place} {n}", code)
         for bird, code in CODES.items() for place in PLACES for n in (1, 2, 3)]  # fmt: skip
SUMS = [(f"add up the numbers {a} and {b} for me", str(a + b)) for a in range(2, 22) for b in range(1, 7)]
HERD = Herd([Candidate("clerk", active_params_b=7.0), Candidate("poet", active_params_b=7.0)])
TINY = TrainingSettings(
    width=32, layers=2, heads=2, max_context=64, steps=150, batch=32, lr=6e-3, checkpoint_s=0.2
)


def answer(body: Mapping[str, Any]) -> str:
    """The herd adds, and knows no codes."""
    asked = body["messages"][-1]["content"]
    return dict(SUMS).get(asked, "I cannot say")


def table() -> OutcomeTable:
    """Sums that the clerk gets right and the poet does not; codes that nobody knows."""
    rows = SUMS + BIRDS
    n = len(rows)
    right = np.zeros((n, 2))
    right[: len(SUMS), 0] = 1
    return OutcomeTable(
        herd=HERD,
        query_ids=[str(i) for i in range(n)],
        texts=[text for text, _ in rows],
        benchmarks=["sums"] * len(SUMS) + ["codes"] * len(BIRDS),
        splits=[None] * n,
        references=[reference for _, reference in rows],
        query_index=np.repeat(np.arange(n, dtype=np.int32), 2),
        candidate_index=np.tile(np.arange(2, dtype=np.int32), n),
        sample=np.zeros(2 * n, dtype=np.int32),
        values={"quality": right.ravel()},
        name="made",
    )


@pytest.fixture
def order(tmp_path: Path, threaded_upstream: Callable[..., Any]) -> Order:
    up = threaded_upstream(models=("m",), answer=answer)
    data = tmp_path / "data.jsonl"
    write_examples(
        data,
        [Example(f"code of the {bird} at the {place} {n}", code)
         for bird, code in CODES.items() for place in PLACES for n in range(4, 14)],
    )  # fmt: skip
    return Order(
        name="coder",
        out=tmp_path / "coder",
        table=table(),
        herd=HERD,
        source=from_file(data),
        source_inputs={"data": 1},
        reach=lambda name: OpenAICompatible(name, up.base_url, model="m"),
        reach_expert=lambda folder: Embedded("coder", folder=folder),
        training=TINY,
        clusters=2,
        proof=ProofSettings(predictor="ridge", n_probes=40),
    )


def test_a_herd_without_a_weakness_ends_the_chain_with_a_word(order: Order) -> None:
    good = order.table
    rows = np.flatnonzero(np.array(good.benchmarks) == "sums")
    made = make(replace(order, table=good.take(rows)))
    assert (made.status, made.step, made.entry) == ("nothing to gain", "select", None)
    assert "nothing to gain" in made.words
    with pytest.raises(InputError, match="in the herd already"):
        make(replace(order, name="clerk"))


def test_an_entry_states_the_context_so_that_long_queries_go_elsewhere(nano_folder: Path) -> None:
    expert = Candidate("coder", context_tokens=read_config(nano_folder).max_context)
    entry = entry_of(expert, nano_folder)
    node = msgspec.convert(entry, CandidateNode)
    herd = build_herd(Config(candidates=[node, CandidateNode(name="clerk", context_tokens=8192)]))
    unknown = np.full(2, np.nan)
    known = Estimates(np.full(2, 0.5), None, unknown, unknown, unknown)
    long = Query("x" * 4 * read_config(nano_folder).max_context)
    admitted, removed = admit(HerdFacts(herd), long, known, Goals())
    assert admitted.tolist() == [False, True]
    assert removed["coder"].startswith("context_tokens")
    assert admit(HerdFacts(herd), Query("IX?"), known, Goals())[0].all()


def test_an_expert_that_knows_what_the_herd_does_not_is_admitted_and_nothing_is_done_twice(
    order: Order,
) -> None:
    pytest.importorskip("torch", reason="needs the extra train")
    made = make(order)
    assert made.status == "admitted", made.words
    assert made.target is not None
    assert set(made.target.weakness.benchmarks) == {"codes"}
    assert made.verdict is not None
    assert made.verdict.cluster_before == 0
    assert made.verdict.cluster_after > 0.8
    assert made.done == ["select", "synthesise", "curate", "fine-tune", "quantise", "gate"]
    assert made.entry is not None
    assert made.router is not None
    assert made.entry["options"]["folder"].endswith("model-int8")
    assert made.entry["context_tokens"] == TINY.max_context
    assert Router.load(made.router).herd.names == ["clerk", "poet", "coder"]
    # Nothing like a held-back query was learned from, and all that is known is kept for the next expert.
    figures = {step.name: step.figures for step in Manifest(order.out, "coder").steps}
    assert figures["curate"]["dropped"]["leak"] == 0
    again = make(order)
    assert (again.done, again.kept) == ([], made.done)
    assert again.verdict == made.verdict
    other = make(replace(order, proof=replace(order.proof, n_probes=30)))
    assert other.done == ["gate"]
    # A right answer that was mended, a price, other training: each begins anew where it counts.
    mended = [*(order.table.references or ())]
    mended[-1] = "K5"
    assert make(replace(order, table=replace(order.table, references=mended, _cache={}))).done[0] == "select"
    assert make(order).status == "admitted"
    dear = Herd([HERD["clerk"].replace(active_params_b=70.0), HERD["poet"]])
    assert make(replace(order, herd=dear)).done == ["gate"]
    longer = make(replace(order, training=replace(order.training, steps=160)))
    assert longer.done == ["fine-tune", "quantise", "gate"]
    assert longer.status == "admitted"
    with pytest.raises(ArtefactError, match="belongs to the expert 'coder'"):
        make(replace(order, name="other"))


def test_a_sabotaged_expert_is_refused(order: Order, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra train")
    wrong = dict(zip(CODES, [*CODES.values()][1:] + [*CODES.values()][:1], strict=True))
    data = tmp_path / "wrong.jsonl"
    write_examples(
        data,
        [Example(f"code of the {bird} at the {place} {n}", code, source="saboteur")
         for bird, code in wrong.items() for place in PLACES for n in range(4, 14)],
    )  # fmt: skip
    curation = replace(order.curation, source_weights={"recorded": 0.0})
    # An earlier model was admitted: nobody may enlist this one by what is left of it.
    (order.out / "router").mkdir(parents=True)
    (order.out / "candidate.json").write_text("{}")
    Manifest(order.out, order.name).run("select", {"of": "the earlier model"}, lambda: ({}, []))
    made = make(replace(order, source=from_file(data), curation=curation))
    assert (made.status, made.entry, made.router) == ("refused", None, None)
    assert made.verdict is not None
    assert made.verdict.expert_quality < 0.2
    assert not (order.out / "router").exists()
    assert not (order.out / "candidate.json").exists()


def test_what_is_on_record_under_the_experts_name_is_not_the_experts(order: Order, tmp_path: Path) -> None:
    # An earlier model of that name was always right; this one knows nothing.
    good = order.table
    n = good.n_queries
    herd = Herd([*HERD, Candidate("coder", active_params_b=7.0)])
    table = replace(
        good,
        herd=herd,
        query_index=np.concatenate([good.query_index, np.arange(n, dtype=np.int32)]),
        candidate_index=np.concatenate([good.candidate_index, np.full(n, 2, dtype=np.int32)]),
        sample=np.zeros(3 * n, dtype=np.int32),
        values={"quality": np.concatenate([good.values["quality"], np.ones(n)])},
        _cache={},
    )
    verdict, known = prove(
        table,
        HERD,
        Candidate("coder", active_params_b=7.0),
        lambda: order.reach("coder"),
        order.reach,
        tmp_path / "proof",
        settings=order.proof,
        cluster=[str(i) for i in range(len(SUMS), n)],
    )
    assert not verdict.admitted
    assert verdict.expert_quality == 0
    assert np.nanmax(known.restrict(["coder"]).matrix()[len(SUMS) :]) == 0

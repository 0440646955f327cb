"""Put an expert to the proof: ask it recorded queries, route with and without it, decide."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from herdwise.backends.base import Backend
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.decision import Goals
from herdwise.core.merge import merge
from herdwise.core.outcomes import OutcomeTable
from herdwise.experts.gate import Verdict, decide
from herdwise.experts.probing import gradable, items_of, probe
from herdwise.experts.trial import fit_router, held_back, try_out
from herdwise.routing.base import POLICIES

#: Called with (stage, done, total).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ProofSettings:
    """How an expert is tried.

    Args:
        goals: what routing is asked for.
        policy, policy_options: who is measured, where enough answers are on record; see ``trial.try_out``.
        encoder, predictor: of the routers that are compared, and of the one that is written.
        grader, grader_options: for answers that are asked for here.
        n_probes: queries of other clusters that the expert is asked, for the router to learn from.
        n_measured: queries that are measured, drawn from those held back.
        concurrency: asks at a time.
    """

    goals: Goals = field(default_factory=Goals)
    policy: str = "single"
    policy_options: dict[str, Any] = field(default_factory=dict)
    encoder: str = "static"
    predictor: str = "stack"
    grader: str = "exact"
    grader_options: dict[str, Any] = field(default_factory=dict)
    n_probes: int = 400
    n_measured: int = 2000
    concurrency: int = 4


def prove(
    table: OutcomeTable,
    herd: Herd,
    expert: Candidate,
    reach_expert: Callable[[], Backend],
    reach: Callable[[str], Backend],
    out: Path,
    *,
    settings: ProofSettings,
    seeds: Sequence[str] = (),
    cluster: Sequence[str] = (),
    identity: str = "",
    identify: Callable[[str], str] = str,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Verdict, OutcomeTable]:
    """Decide whether an expert may join, on queries that are held back from every fit.

    The expert is asked the measured queries, its cluster's others, and a sample of the rest; the herd is
    asked only where it is picked for a measured query that it has no graded answer to. What is on record
    under the expert's name is left out: it was another model's, or an earlier one of its own.

    Args:
        table: recorded outcomes of the herd.
        herd: as it is served now.
        expert: whom to try.
        reach_expert, reach: make backends of the expert, and of a candidate by its name.
        out: folder of the profiles; what was asked before is not asked again.
        seeds: ids of the queries that the expert was made for, and of those like them; it is asked them all.
        cluster: ids of the held-back queries that it was made for.
        identity: what stands behind the expert's name; what another model answered under it does not count.
        identify: what stands behind a name of the herd.
        seed: of the samples and of the bootstrap.

    Returns:
        The verdict, and the table with all that was asked.

    Raises:
        InputError: when no query has a reference, or there are too few to hold some back.
        HerdwiseError: when the expert answered nothing.
    """
    report = progress or (lambda _stage, _done, _total: None)
    policy = POLICIES.create(settings.policy, **settings.policy_options)
    table = table.restrict([name for name in table.herd.names if name != expert.name])
    ids = np.asarray(table.query_ids, dtype=object)
    back, graded = held_back(table.texts), gradable(table)
    rng = np.random.default_rng(seed)
    own = np.flatnonzero(graded & ~back & np.isin(ids, list(seeds)))
    others = np.setdiff1d(np.flatnonzero(graded & ~back), own)
    others = rng.permutation(others)[: settings.n_probes]
    measured = rng.permutation(np.flatnonzero(graded & back))[: settings.n_measured]
    asked = ids[np.concatenate([own, others, measured])].tolist()
    items = items_of(table, asked, settings.grader, settings.grader_options)
    mine = probe(
        expert,
        reach_expert,
        items,
        out / "probes" / _digest(expert.name, identity, [item.id for item in items]),
        identity=identity,
        concurrency=settings.concurrency,
        progress=lambda done, total: report("ask the expert", done, total),
    )
    whole = merge([table, mine])
    kept = np.setdiff1d(np.arange(table.n_queries), np.setdiff1d(np.flatnonzero(back), measured))
    trial = try_out(
        whole.take(kept),
        herd,
        expert,
        goals=settings.goals,
        policy=policy,
        encoder=settings.encoder,
        predictor=settings.predictor,
        seed=seed,
        progress=progress,
    )
    for name, missing in trial.unmeasured().items():
        behind = identity if name == expert.name else identify(name)
        items = items_of(table, missing, settings.grader, settings.grader_options)
        more = probe(
            expert if name == expert.name else herd[name],
            reach_expert if name == expert.name else lambda name=name: reach(name),  # type: ignore[misc]
            items,
            out / "asked" / _digest(name, behind, [i.id for i in items]),
            identity=behind,
            concurrency=settings.concurrency,
            progress=lambda done, total: report("ask the herd", done, total),
        )
        whole = merge([whole, more])
    return decide(trial.measured_on(whole), cluster=cluster, unanswered=0.0, seed=seed), whole


def save_router_with(
    table: OutcomeTable,
    herd: Herd,
    expert: Candidate,
    out: Path,
    verdict: Verdict,
    *,
    settings: ProofSettings,
    seed: int = 0,
    progress: Progress | None = None,
) -> None:
    """Learn a router of the herd with the expert from all that is known, and save it with the verdict."""
    router = fit_router(
        table,
        Herd([*herd, expert]),
        encoder=settings.encoder,
        predictor=settings.predictor,
        seed=seed,
        progress=progress,
    )
    router.save(out, figures={"gate": msgspec.to_builtins(verdict)})


def _digest(*parts: object) -> str:
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]

"""What a profile came to: an OutcomeTable, and figures per candidate."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from herdwise.answers.logprobs import read_logprobs
from herdwise.core.candidate import Herd
from herdwise.core.outcomes import OutcomeTable
from herdwise.profiling.benchmark import TRAIN_SHARE, Item
from herdwise.profiling.by_benchmark import BenchmarkFigures, by_benchmark, wilson
from herdwise.profiling.journal import Failed, Header, Record
from herdwise.profiling.plan import Plan
from herdwise.profiling.run import Run

_LIMITED = frozenset({"length", "max_tokens"})


@dataclass(frozen=True, slots=True)
class CandidateSummary:
    """One candidate's figures; None = unknown.

    Args:
        candidate: its name.
        n: answers that were graded or at least came back.
        quality: mean over items (samples of one item averaged first).
        low, high: 95% Wilson interval of it, over items.
        n_unread: answers in which none could be read.
        n_ungraded: answers without a quality: the judge failed, was not paid for, or could not be read.
        n_truncated: answers that hit the length limit.
        failures: kind of error -> pairs lost to it.
        n_not_asked: pairs left out: the candidate or its judge was given up, the budget was spent, or a
            conversation's turn before has no answer.
        gave_up: why it was given up.
        over_budget: whether its next ask did not fit the budget.
        latency_s: mean seconds per answer.
        output_tokens: mean tokens per answer.
        cost_usd: sum over all answers, earlier runs included; None when any is unknown.
    """

    candidate: str
    n: int
    quality: float | None
    low: float | None
    high: float | None
    n_unread: int
    n_ungraded: int
    n_truncated: int
    failures: dict[str, int]
    n_not_asked: int
    gave_up: str | None
    over_budget: bool
    latency_s: float | None
    output_tokens: float | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class JudgeSummary:
    """What a judge took; None = unknown.

    Args:
        judge: its name.
        n: replies, earlier runs included.
        gave_up: why it was given up.
        over_budget: whether its next question did not fit the budget.
        cost_usd: sum over all replies; None when any is unknown.
    """

    judge: str
    n: int
    gave_up: str | None
    over_budget: bool
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class ProfileSummary:
    """A whole profile's figures.

    Args:
        out: the outcome folder.
        n_items: items.
        n_outcomes: rows written.
        n_resumed: answers that an earlier run had brought already.
        torn: whether that run's last line was cut off, and asked again.
        splits: split -> items.
        budget_usd: the limit; None = none.
        spent_usd: by candidates and judges, earlier runs included, and what failed calls may have cost; None
            when any is unknown.
        candidates: one each, in the herd's order.
        judges: one each.
        benchmarks: one each.
        failures: every pair that has no row, or no judge's reply (kinds ``judge_...``), with its error; those
            not asked are counted only.
    """

    out: str
    n_items: int
    n_outcomes: int
    n_resumed: int
    torn: bool
    splits: dict[str, int]
    budget_usd: float | None
    spent_usd: float | None
    candidates: list[CandidateSummary]
    judges: list[JudgeSummary]
    benchmarks: list[BenchmarkFigures]
    failures: list[Failed]


def to_table(
    herd: Herd, items: Sequence[Item], record: Record, header: Header
) -> tuple[OutcomeTable, dict[tuple[str, str], str]]:
    """Answers and grades as an outcome table, and the first samples' texts by (query_id, candidate)."""
    row = {item.id: i for i, item in enumerate(items)}
    pairs = sorted(record.answers, key=lambda p: (row[p[0]], herd.index(p[1]), p[2]))
    answers = [record.answers[p] for p in pairs]
    grades = [record.grades.get(p) for p in pairs]
    columns: dict[str, list[float | int | None]] = {
        "quality": [None if g is None else g.quality for g in grades],
        "cost_usd": [a.cost_usd for a in answers],
        "latency_s": [a.latency_s for a in answers],
        "input_tokens": [a.input_tokens for a in answers],
        "output_tokens": [a.output_tokens for a in answers],
        "output_chars": [len(a.text) for a in answers],
    }
    told = [
        read_logprobs(a.tokens or [], None if g is None else g.answer)
        for a, g in zip(answers, grades, strict=True)
    ]
    columns["mean_logprob"] = [None if t is None else t.mean for t in told]
    columns["min_logprob"] = [None if t is None else t.minimum for t in told]
    columns["answer_logprob"] = [None if t is None else t.answer for t in told]
    table = OutcomeTable(
        herd=herd,
        query_ids=[item.id for item in items],
        texts=[item.text for item in items],
        benchmarks=[item.benchmark for item in items],
        splits=[item.split for item in items],
        categories=[i.category for i in items] if any(i.category for i in items) else None,
        references=[i.reference for i in items] if any(i.reference for i in items) else None,
        tools=_tools(items),
        query_index=np.array([row[p[0]] for p in pairs], dtype=np.int32),
        candidate_index=np.array([herd.index(p[1]) for p in pairs], dtype=np.int32),
        sample=np.array([p[2] for p in pairs], dtype=np.int32),
        values={
            name: np.array([np.nan if v is None else v for v in values], dtype=np.float64)
            for name, values in columns.items()
            if name == "quality" or any(v is not None for v in values)
        },
        answers=np.array([None if g is None else g.answer for g in grades], dtype=object),
        source=_source(items, header),
        name="profile",
    )
    texts = {(p[0], p[1]): a.text for p, a in zip(pairs, answers, strict=True) if p[2] == 0}
    return table, texts


def _tools(items: Sequence[Item]) -> list[str | None] | None:
    offered = [item.request.get("tools") for item in items]
    if not any(offered):
        return None
    return [msgspec.json.encode(tools).decode() if tools else None for tools in offered]


def _source(items: Sequence[Item], header: Header) -> str:
    graders = Counter(item.grader for item in items)
    return (
        f"# A profile of {len(header.candidates)} candidates on {header.n_items} items\n"
        f"Begun {header.started}; fingerprint {header.fingerprint}.\n"
        f"Candidates: {', '.join(header.candidates)}. Samples: {header.samples}."
        f" Sampling: {header.sampling or 'the candidates’ defaults'}.\n"
        f"Graders: {', '.join(f'{name} ({n})' for name, n in sorted(graders.items()))}."
        " An answer that refuses, is empty or cannot be read counts 0; a pair that failed has no row.\n"
        f"Items without a split of their own: {TRAIN_SHARE:.0%} train, the rest test, by the text's hash.\n"
    )


def summarise(
    plan: Plan, table: OutcomeTable, record: Record, run: Run, *, out: Path, n_resumed: int
) -> ProfileSummary:
    """Figures per candidate, judge and benchmark, and over all."""
    splits = Counter(split for split in table.splits if split is not None)
    return ProfileSummary(
        out=str(out),
        n_items=table.n_queries,
        n_outcomes=table.n_outcomes,
        n_resumed=n_resumed,
        torn=record.torn,
        splits=dict(sorted(splits.items())),
        budget_usd=run.budget.limit_usd,
        spent_usd=run.standing().spent_usd,
        candidates=[_candidate(plan, table, record, run, name) for name in table.herd.names],
        judges=[_judge(plan, record, run, name) for name in plan.judges],
        benchmarks=by_benchmark(table),
        failures=list(run.failures),
    )


def _candidate(plan: Plan, table: OutcomeTable, record: Record, run: Run, name: str) -> CandidateSummary:
    quality = table.matrix("quality")[:, table.herd.index(name)]
    mine = [a for (_, candidate, _), a in record.answers.items() if candidate == name]
    grades = [record.grades.get(p) for p in record.answers if p[1] == name]
    known = quality[np.isfinite(quality)]
    mean = float(known.mean(dtype=np.float64)) if len(known) else None
    low, high = (None, None) if mean is None else wilson(mean, len(known))
    lost = Counter(f.error for f in run.failures if f.candidate == name)
    n_lost = sum(n for kind, n in lost.items() if not kind.startswith("judge_"))
    return CandidateSummary(
        candidate=name,
        n=len(mine),
        quality=mean,
        low=low,
        high=high,
        n_unread=sum(g is not None and g.answer is None for g in grades),
        n_ungraded=sum(g is None or g.quality is None for g in grades),
        n_truncated=sum(a.finish_reason in _LIMITED for a in mine),
        failures=dict(lost),
        n_not_asked=table.n_queries * plan.samples - len(mine) - n_lost,
        gave_up=plan.askers[name].gave_up,
        over_budget=name in run.over_budget,
        latency_s=_mean([a.latency_s for a in mine]),
        output_tokens=_mean([a.output_tokens for a in mine]),
        cost_usd=_sum([a.cost_usd for a in mine]),
    )


def _judge(plan: Plan, record: Record, run: Run, name: str) -> JudgeSummary:
    replies = [r for r in record.replies.values() if r.judge == name]
    return JudgeSummary(
        judge=name,
        n=len(replies),
        gave_up=plan.judges[name].asker.gave_up,
        over_budget=name in run.over_budget,
        cost_usd=_sum([r.cost_usd for r in replies]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return math.fsum(known) / len(known) if known else None


def _sum(values: Sequence[float | None]) -> float | None:
    """The sum; unknown where nothing, or not all, is known."""
    known = [v for v in values if v is not None]
    return math.fsum(known) if known and len(known) == len(values) else None

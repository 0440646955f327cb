"""What a profile would take, before anything is asked: calls, tokens, USD, time. Unknown is said to be so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from herdwise.core.query import CHARS_PER_TOKEN
from herdwise.profiling.graders.base import AskingGrader
from herdwise.profiling.journal import Answered, Record, Replied
from herdwise.profiling.plan import Plan

#: Where the length of the answers is taken from: the mean of those recorded already, the max_tokens
#: limit (so it is an upper bound), or nowhere.
Basis = Literal["recorded", "limit", "unknown"]
#: So many recorded answers make a mean worth having.
_ENOUGH = 5
#: Tokens of a judge's question beside conversation, reference and answer.
_JUDGE_TOKENS = 150


@dataclass(frozen=True, slots=True)
class CandidateEstimate:
    """What one candidate's missing answers, or a judge's missing replies, would take; None = unknown.

    Args:
        candidate: its name.
        judges: whether these are the questions of graders.
        calls: asks that have no answer yet; of a judge, at most.
        input_tokens: estimated at four characters each; of a judge None until the answers' length is known.
        output_tokens: by ``basis``.
        basis: where that comes from.
        cost_usd: from the price and both.
        seconds: from the mean of those recorded, or the candidate's declared latency, and its concurrency.
    """

    candidate: str
    judges: bool
    calls: int
    input_tokens: int | None
    output_tokens: int | None
    basis: Basis
    cost_usd: float | None
    seconds: float | None


def estimate(plan: Plan, record: Record) -> list[CandidateEstimate]:
    """One per candidate in the herd's order, then one per judge; what is recorded already is not counted."""
    recorded = {name: [a for a in record.answers.values() if a.candidate == name] for name in plan.herd.names}
    estimates = [_candidate(plan, record, name, recorded[name]) for name in plan.herd.names]
    return [*estimates, *(_judge(plan, record, name, recorded) for name in plan.judges)]


def _candidate(plan: Plan, record: Record, name: str, recorded: Sequence[Answered]) -> CandidateEstimate:
    missing = [
        item
        for item in plan.items
        for sample in range(plan.samples)
        if (item.id, name, sample) not in record.answers
    ]
    mean = _mean_tokens(recorded)
    limits = [_limit(plan.request(item)) for item in missing]
    output, basis = _output(mean, limits)
    turns = [0.0 if item.after is None else _before(plan, item.after, mean) for item in missing]
    tokens = math.ceil(sum(_tokens(item.messages) for item in missing) + sum(turns))
    candidate = plan.herd[name]
    return CandidateEstimate(
        candidate=name,
        judges=False,
        calls=len(missing),
        input_tokens=tokens,
        output_tokens=output,
        basis=basis,
        cost_usd=candidate.price.cost_usd(tokens, output) if missing else 0.0,
        seconds=_seconds(len(missing), recorded, candidate.latency_s, plan.limits[name]),
    )


def _judge(
    plan: Plan, record: Record, name: str, recorded: Mapping[str, Sequence[Answered]]
) -> CandidateEstimate:
    replies = [r for r in record.replies.values() if r.judge == name]
    calls, tokens, limits = 0, 0.0, list[int | None]()
    means = {candidate: _mean_tokens(answers) for candidate, answers in recorded.items()}
    for item in plan.items:
        grader = plan.graders[item.id]
        if not isinstance(grader, AskingGrader) or grader.candidate != name:
            continue
        for candidate in plan.herd.names:
            pairs = [(item.id, candidate, sample) for sample in range(plan.samples)]
            graded = [p for p in pairs if p in record.grades and record.grades[p].by == plan.digests[item.id]]
            n = (len(pairs) - len(graded)) * grader.n_questions
            calls += n
            limits += [grader.max_tokens] * n
            length = means[candidate] if means[candidate] is not None else _limit(plan.request(item))
            before = 0.0 if item.after is None else _before(plan, item.after, means[candidate])
            reference = len(item.reference or "") / CHARS_PER_TOKEN
            own = _JUDGE_TOKENS + _tokens(item.messages) + reference + before
            tokens += n * (own + (math.nan if length is None else length))
    output, basis = _output(_mean_tokens(replies), limits)
    known = None if math.isnan(tokens) else math.ceil(tokens)
    judge = plan.judges[name].candidate
    return CandidateEstimate(
        candidate=name,
        judges=True,
        calls=calls,
        input_tokens=known,
        output_tokens=output,
        basis=basis,
        cost_usd=judge.price.cost_usd(known, output) if calls else 0.0,
        seconds=_seconds(calls, replies, judge.latency_s, plan.limits[name]),
    )


def _before(plan: Plan, item_id: str, mean: float | None) -> float:
    """Tokens of the turns before with their answers; an answer of unknown length counts as its limit."""
    item = plan.by_id[item_id]
    answer = mean if mean is not None else _limit(plan.request(item))
    before = 0.0 if item.after is None else _before(plan, item.after, mean)
    return before + _tokens(item.messages) + (answer or 0.0)


def _mean_tokens(recorded: Sequence[Answered | Replied]) -> float | None:
    lengths = [a.output_tokens for a in recorded if a.output_tokens is not None]
    return sum(lengths) / len(lengths) if len(lengths) >= _ENOUGH else None


def _limit(request: Mapping[str, Any]) -> int | None:
    limit = request.get("max_completion_tokens", request.get("max_tokens"))
    return limit if isinstance(limit, int) else None


def _output(mean: float | None, limits: Sequence[int | None]) -> tuple[int | None, Basis]:
    if mean is not None:
        return math.ceil(mean * len(limits)), "recorded"
    known = [limit for limit in limits if limit is not None]
    return (sum(known), "limit") if len(known) == len(limits) and known else (None, "unknown")


def _seconds(
    calls: int, recorded: Sequence[Answered | Replied], declared_s: float | None, at_a_time: int
) -> float | None:
    measured = [a.latency_s for a in recorded if a.latency_s is not None]
    each = sum(measured) / len(measured) if len(measured) >= _ENOUGH else declared_s
    if not calls:
        return 0.0
    return None if each is None else calls * each / min(at_a_time, calls)


def _tokens(messages: Sequence[Any]) -> float:
    chars = sum(len(m["content"]) if isinstance(m.get("content"), str) else len(str(m)) for m in messages)
    return math.ceil(chars / CHARS_PER_TOKEN)

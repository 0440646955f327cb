"""The ``herdwise`` object of an answer: the course of the decision, on request."""

from __future__ import annotations

from typing import Any

import msgspec

from herdwise.core.errors import HerdwiseError
from herdwise.routing.explain import explain
from herdwise.routing.ranker import Ranker
from herdwise.serving.course import Course

#: Nearest recorded queries that are shown.
NEIGHBOURS = 5


def explanation(course: Course, ranker: Ranker) -> dict[str, Any]:
    """Who was asked and why, as JSON values; None = unknown.

    Args:
        course: one that has ended.
        ranker: whose predictions it went by.
    """
    record = course.record(store_texts=False)
    told: dict[str, Any] = {
        "decision_id": course.id,
        "policy": course.policy,
        "origin": course.origin,
        "candidate": record.candidate,
        "reason": course.reason,
        "cost_usd": record.cost_usd,
        "usage": {"prompt_tokens": record.input_tokens, "completion_tokens": record.output_tokens},
        "latency_s": record.latency_s,
        "overhead_ms": None if record.overhead_s is None else round(record.overhead_s * 1000, 3),
        "goals": dict(course.goals),
        "attempts": [
            {
                "candidate": ask.candidate,
                "status": ask.status,
                "error": ask.error_kind,
                "latency_s": ask.latency_s,
                "cost_usd": ask.cost_usd,
                **_heard(course, ask.ask),
            }
            for ask in record.asks
        ],
        "ranking": None,
        "scores": [],
        "removed": {},
        "neighbours": [],
    }
    if course.belief is not None:
        # None stands for "none of those said"; JSON keys are texts.
        told["posterior"] = {v: p for v, p in course.belief.posterior().items() if v is not None}
    if course.cached is not None:
        told["cache"] = dict(course.cached)
    if course.origin not in {"none", "cache", "similar"}:
        situation = course.situation
        try:
            near = tuple(ranker.explain(situation.query, NEIGHBOURS))
        except HerdwiseError as error:  # the answer is there and paid for: it goes out without neighbours
            near = ()
            told["neighbours_error"] = error.message
        why = explain(situation, near)
        told |= {
            "ranking": why.reason,
            "limit_probability": why.limit_probability,
            "scores": msgspec.to_builtins(why.scores),
            "removed": dict(situation.removed),
            "neighbours": msgspec.to_builtins(why.neighbours),
        }
    return told


def _heard(course: Course, number: int) -> dict[str, Any]:
    """What an answer said in a consultation, and who led after it; nothing where nobody consulted."""
    heard = course.heard.get(number)
    return {} if heard is None else dict(msgspec.to_builtins(heard))

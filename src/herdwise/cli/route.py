"""``herdwise route``: how one query would be routed, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from herdwise.cli import console

if TYPE_CHECKING:
    from herdwise.core.decision import Goals, Preferences
    from herdwise.routing.base import Policy
    from herdwise.routing.explain import Explanation
    from herdwise.routing.ranker import Ranker


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def route(
        query: str = typer.Argument(help="The question to route."),
        config: Path | None = typer.Option(
            None, "--config", help="Route over this config's herd; herdwise.yaml unless --router is given."
        ),
        router: Path | None = typer.Option(None, "--router", help="Route over this saved router's herd."),
        candidates: str | None = typer.Option(None, help="Only these, comma-separated."),
        max_params_b: float | None = typer.Option(None, help="Most total parameters, billions."),
        max_active_params_b: float | None = typer.Option(None, help="Most active parameters, billions."),
        open_weights_only: bool = typer.Option(False, "--open-weights-only", help="Only open weights."),
        max_cost_usd: float | None = typer.Option(None, help="Most predicted USD for this query."),
        max_latency_s: float | None = typer.Option(None, help="Most predicted seconds."),
        max_output_tokens: float | None = typer.Option(None, help="Most predicted tokens of the answer."),
        limit_probability: float | None = typer.Option(
            None, help="How probable it must be that these three are kept, 0.01 to 0.99."
        ),
        licences: str | None = typer.Option(None, help="Only these licences, comma-separated."),
        released_after: str | None = typer.Option(None, help="First day of release, such as 2024-01-31."),
        tags: str | None = typer.Option(None, help="Tags a candidate must all carry, comma-separated."),
        cost_weight: float | None = typer.Option(
            None, help="Weight in utility = quality - cost_weight * cost."
        ),
        leave_margin: float | None = typer.Option(
            None,
            help="Once cost or preferences count, what a candidate predicted below the best single must be"
            " worth more.",
        ),
        cost: str | None = typer.Option(None, help="What cost means: usd, active_params, latency or calls."),
        min_quality: float | None = typer.Option(
            None, help="Where no expert is predicted that good, the generalist answers."
        ),
        min_quality_probability: float | None = typer.Option(
            None, help="How probable that must be of an expert, 0.01 to 0.99."
        ),
        generalist: str | None = typer.Option(None, help="The candidate that answers then."),
        prefer: list[str] = typer.Option(
            [],
            "--prefer",
            metavar="NAME=WEIGHT",
            help="A stated preference: quality, cost, size, latency, recency or brevity, such as size=0.2;"
            " may be given again.",
        ),
        k: int = typer.Option(5, "-k", min=0, help="How many of the nearest recorded queries to show."),
        as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
    ) -> None:
        """Show the ranking with predicted quality and cost, who is left out and why, and the pick."""
        from herdwise.cli.evaluate import refuse_impossible
        from herdwise.core.query import Query as QueryValue
        from herdwise.routing.base import Ask
        from herdwise.routing.explain import explain
        from herdwise.routing.ranker import opening

        ranker, goals, policy = _source(config, router)
        limits: dict[str, Any] = {
            "max_params_b": max_params_b,
            "max_active_params_b": max_active_params_b,
            "max_cost_usd": max_cost_usd,
            "max_latency_s": max_latency_s,
            "max_output_tokens": max_output_tokens,
            "open_weights_only": open_weights_only or None,
            "released_after": None if released_after is None else _day(released_after),
            "licences": _names(licences),
            "tags": _names(tags),
            "candidates": _names(candidates),
        }
        wishes: dict[str, Any] = {
            "cost_weight": cost_weight,
            "leave_margin": leave_margin,
            "cost_kind": None if cost is None else _cost_kind(cost),
            "min_quality": min_quality,
            "generalist": generalist,
        }
        probabilities = {
            "limit_probability": limit_probability,
            "min_quality_probability": min_quality_probability,
        }
        _refuse_out_of_range(limits | wishes)
        refuse_impossible(probabilities)
        goals = _stated(goals, wishes | probabilities, limits, _preferences(prefer, goals.preferences))
        asked = QueryValue(query)
        situation = opening(ranker, policy, asked, goals)
        step = policy.step(situation)
        pick = [situation.herd[i].name for i in step.candidates] if isinstance(step, Ask) else []
        found = explain(situation, tuple(ranker.explain(asked, k)) if k else ())
        if as_json:
            console.emit_json(
                {
                    "query": query,
                    "policy": policy.name,
                    "pick": pick,
                    "reason": found.reason,
                    "origin": found.origin,
                    "goals": goals,
                    "ranking": [s for s in found.scores if s.removed is None],
                    "removed": dict(situation.removed),
                    "neighbours": found.neighbours,
                    "limit_probability": found.limit_probability,
                }
            )
        else:
            _show(found, pick, policy)


def _source(config: Path | None, router: Path | None) -> tuple[Ranker, Goals, Policy]:
    from herdwise.core.decision import Goals as GoalsValue
    from herdwise.core.errors import ConfigError
    from herdwise.routing.base import POLICIES

    if router is not None:
        from herdwise.routing.router import Router

        if config is not None:
            raise ConfigError("both --router and --config are given.", remedy="Give one of them.")
        return Router.load(router), GoalsValue(), POLICIES.create("single")
    from herdwise.config.load import load
    from herdwise.config.wiring import build_goals, build_policies, build_ranker

    read = load(config or Path("herdwise.yaml"))
    return build_ranker(read), build_goals(read), build_policies(read)[read.policy.name]


def _stated(goals: Goals, wishes: dict[str, Any], limits: dict[str, Any], preferences: Preferences) -> Goals:
    """The config's goals, with what the command line states in their place."""
    from dataclasses import replace

    stated_limits = {name: value for name, value in limits.items() if value is not None}
    return goals.replace(
        **{name: value for name, value in wishes.items() if value is not None},
        constraints=replace(goals.constraints, **stated_limits),
        preferences=preferences,
    )


def _names(text: str | None) -> frozenset[str] | None:
    return None if text is None else frozenset(name.strip() for name in text.split(",") if name.strip())


def _day(text: str) -> Any:
    import datetime as dt

    from herdwise.core.errors import ConfigError

    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--released-after: {text!r} is no day.", remedy="Such as 2024-01-31.") from None


def _cost_kind(text: str) -> str:
    from herdwise.core.decision import COST_KINDS
    from herdwise.core.errors import ConfigError

    if text not in COST_KINDS:
        raise ConfigError(f"--cost: there is no cost {text!r}.", remedy=f"Known: {', '.join(COST_KINDS)}.")
    return text


def _preferences(stated: Sequence[str], base: Preferences) -> Preferences:
    from dataclasses import fields, replace

    from herdwise.core.errors import ConfigError

    known = [f.name for f in fields(base)]
    changes: dict[str, float] = {}
    for text in stated:
        name, _, weight = text.partition("=")
        try:
            changes[name.strip()] = float(weight)
        except ValueError:
            raise ConfigError(f"--prefer {text!r} is not NAME=WEIGHT.", remedy="Such as size=0.2.") from None
        if name.strip() not in known:
            raise ConfigError(
                f"--prefer: there is no preference {name.strip()!r}.", remedy=f"Known: {', '.join(known)}."
            )
        _refuse_out_of_range({f"prefer {name.strip()}": changes[name.strip()]})
    return replace(base, **changes)


def _refuse_out_of_range(stated: dict[str, Any]) -> None:
    from herdwise.core.errors import ConfigError

    for name, value in stated.items():
        most = 1.0 if name == "min_quality" else float("inf")
        if isinstance(value, float) and not (0 <= value <= most and value < float("inf")):
            remedy = (
                "Give a fraction from 0 to 1." if name == "min_quality" else "Give a number of 0 or more."
            )
            raise ConfigError(f"--{name.replace('_', '-')}: {value:g} is out of range.", remedy=remedy)


def _show(found: Explanation, pick: list[str], policy: Policy) -> None:
    trained = found.origin == "router"
    console.table(
        "Ranking" if trained else "Ranking by declared qualities (no trained router)",
        ["", "candidate", "predicted quality", "cost USD", "seconds", "utility", "left out"],
        [
            (
                "" if s.removed else position,
                s.candidate,
                _quality(s.quality, s.quality_std),
                None if s.cost_usd is None else f"{s.cost_usd:.6f}",
                None if s.latency_s is None else f"{s.latency_s:.2f}",
                None if s.utility is None else f"{s.utility:.3f}",
                s.removed or "",
            )
            for position, s in enumerate(found.scores, 1)
        ],
        left=(1, 6),
    )
    _show_pick(found, pick)
    if found.neighbours:
        console.table(
            "Nearest recorded queries",
            ["likeness", "benchmark", "query", f"{pick[0]} got" if pick else "got"],
            [
                (
                    f"{n.similarity:.2f}",
                    n.benchmark,
                    " ".join(n.text.split())[:80],
                    None if not pick or pick[0] not in n.outcomes else f"{n.outcomes[pick[0]]:.2f}",
                )
                for n in found.neighbours
            ],
            left=(1, 2),
        )
    console.show(f"{policy.name} asks {', '.join(pick) or 'nobody'}: {found.reason}.")


def _show_pick(found: Explanation, pick: list[str]) -> None:
    """What the pick's quality is the sum of, and what its call takes."""
    score = next((s for s in found.scores if pick and s.candidate == pick[0]), None)
    if score is None:
        return
    if score.parts and score.quality is not None:
        terms = " ".join(f"{name} {100 * value:+.1f}" for name, value in score.parts.items())
        console.show(f"{score.candidate}: {100 * score.quality:.1f}% = {terms}")
    if score.quality_interval is not None:
        low, high = score.quality_interval
        console.show(f"  expected quality within {100 * low:.1f}% to {100 * high:.1f}% (95%)")
    for kind, levels in score.at_most.items():
        told = ", ".join(f"{value:.4g} ({float(p):.0%})" for p, value in levels.items())
        console.show(f"  {kind} at most (of such calls): {told}")


def _quality(quality: float | None, std: float | None) -> str | None:
    if quality is None:
        return None
    return f"{100 * quality:.1f}%" + ("" if std is None else f" ± {100 * std:.1f}")

"""What is wrong with a config that reads well: upstreams, keys, models, what is unknown, router, ledger.

Costs no tokens and writes nothing.
"""

from __future__ import annotations

import asyncio
import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from herdwise.backends.base import Health
from herdwise.config.tree import CandidateNode, Config
from herdwise.config.wiring import (
    PLAIN,
    build_backends,
    build_goals,
    build_herd,
    build_policies,
    build_ranker,
    build_settings,
)
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import HerdwiseError
from herdwise.routing.constraints import ASSUMED_CONTEXT_TOKENS
from herdwise.routing.declared import PRIOR_QUALITY, DeclaredRouter
from herdwise.routing.router import Router

Level = Literal["ok", "warn", "fail"]
_LOCAL = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One check.

    Args:
        subject: a candidate's name, or the part of the config.
        check: what was looked at.
        level: ok; warn: it works, but something is unknown; fail.
        detail: what was found.
        remedy: what to do about it.
        upstream: whether the fault lies outside the config.
    """

    subject: str
    check: str
    level: Level
    detail: str
    remedy: str = ""
    upstream: bool = False


def exit_code(findings: list[Finding]) -> int:
    """0 nothing failed, 1 an upstream failed, 2 the config is at fault."""
    failed = [f for f in findings if f.level == "fail"]
    if any(not f.upstream for f in failed):
        return 2
    return 1 if failed else 0


async def examine(config: Config) -> list[Finding]:
    """Check everything; upstreams are asked at the same time.

    Raises:
        InputError: when a candidate's backend cannot be built from its settings.
    """
    backends = build_backends(config)
    try:
        healths = await asyncio.gather(*(backend.probe() for backend in backends.values()))
    finally:
        await asyncio.gather(*(backend.close() for backend in backends.values()))
    parts, ranker = _ranker(config)
    herd = build_herd(config) if ranker is None else ranker.herd
    found: list[Finding] = []
    for node, health in zip(config.candidates, healths, strict=True):
        found += _reach(node, health)
        found += _facts(herd[node.name])
        if ranker is not None:
            found.append(_ranked_by(herd[node.name], ranker))
    found += parts
    if ranker is not None:
        goals = build_goals(config)
        found.append(_tried("goals", "can be met", lambda: ranker.situation(PLAIN, goals)))
    found.append(_generalist(config, herd))
    found.append(_tried("policy", config.policy.name, lambda: build_policies(config)))
    found.append(_tried("server", f"address {config.server.host}", lambda: build_settings(config)))
    found.append(_ledger(config))
    return found


def _tried(subject: str, check: str, attempt: Callable[[], Any], detail: str = "") -> Finding:
    try:
        attempt()
    except HerdwiseError as error:
        return Finding(subject, check, "fail", error.message, error.remedy)
    return Finding(subject, check, "ok", detail)


def _ranker(config: Config) -> tuple[list[Finding], Router | DeclaredRouter | None]:
    try:
        ranker = build_ranker(config)
    except HerdwiseError as error:
        subject = "router" if config.router is not None else "candidates"
        return [Finding(subject, "fits the herd", "fail", error.message, error.remedy)], None
    if isinstance(ranker, DeclaredRouter):
        none = Finding(
            "router",
            "trained",
            "warn",
            "none: candidates rank by what they declare",
            "Make one: herdwise profile, herdwise train; then set `router:`.",
        )
        return [none], ranker
    facts = ranker.facts
    learned = f"{len(ranker.trained)} candidates learned from {facts.n_queries:,} queries"
    return [Finding("router", "fits the herd", "ok", learned)], ranker


def _reach(node: CandidateNode, health: Health) -> list[Finding]:
    where = node.base_url or node.backend
    found = [
        Finding(node.name, "reachable", "ok", where)
        if health.reachable
        else Finding(
            node.name,
            "reachable",
            "fail",
            health.detail,
            "Mend its `model` or `options`."
            if node.backend in {"recorded", "embedded"}
            else "Start its server, or mend its base_url or api_key.",
            upstream=True,
        )
    ]
    if node.base_url is not None or node.backend == "anthropic":
        found.append(_key(node))
    if health.reachable and (node.base_url is not None or health.models is not None):
        found.append(_model(node, health))
    return found


def _key(node: CandidateNode) -> Finding:
    if node.api_key or any(
        name.lower() in {"authorization", "api-key", "x-api-key"} for name in node.headers
    ):
        return Finding(node.name, "key", "ok", "set")
    if urlsplit(node.base_url or "").hostname in _LOCAL:
        return Finding(node.name, "key", "ok", "none, on this machine")
    remedy = "If it needs one: api_key: ${NAME}, and set NAME in the environment."
    return Finding(node.name, "key", "warn", "none, though it is another machine", remedy)


def _model(node: CandidateNode, health: Health) -> Finding:
    wanted = node.model or node.name
    if health.models is None:
        return Finding(node.name, "model", "warn", f"{wanted!r} could not be checked: {health.detail}")
    # Ollama lists "name:latest" for "name".
    if wanted in health.models or f"{wanted}:latest" in health.models:
        return Finding(node.name, "model", "ok", wanted)
    near = difflib.get_close_matches(wanted, health.models, n=1, cutoff=0.4)
    shown = ", ".join(health.models[:8]) + (", ..." if len(health.models) > 8 else "")
    return Finding(
        node.name,
        "model",
        "fail",
        f"the upstream does not know {wanted!r}",
        f"Did you mean {near[0]}?" if near else f"It lists: {shown or 'none'}.",
        upstream=True,
    )


def _facts(candidate: Candidate) -> list[Finding]:
    price, size = candidate.price, candidate.params_b
    found = [
        Finding(
            candidate.name,
            "price",
            "ok",
            f"{price.input_usd_per_mtok:g} in, {price.output_usd_per_mtok:g} out, USD per million tokens",
        )
        if price.known
        else Finding(
            candidate.name, "price", "warn", "unknown: it meets no cost limit", "Set both keys of `price`."
        )
    ]
    if size is None or candidate.active_params_b is None:
        missing = " and ".join(n for n in ("params_b", "active_params_b") if getattr(candidate, n) is None)
        detail = f"{missing} unknown: it meets no size limit"
        found.append(Finding(candidate.name, "size", "warn", detail, f"Set {missing}."))
    else:
        detail = f"{size:g} billion, {candidate.active_params_b:g} active"
        found.append(Finding(candidate.name, "size", "ok", detail))
    if candidate.context_tokens is None:
        detail = f"unknown: {ASSUMED_CONTEXT_TOKENS} tokens are assumed"
        found.append(Finding(candidate.name, "context", "warn", detail, "Set context_tokens."))
    else:
        found.append(Finding(candidate.name, "context", "ok", f"{candidate.context_tokens} tokens"))
    found.append(_abilities(candidate))
    return found


def _abilities(candidate: Candidate) -> Finding:
    """What requests may ask of it; one that is not stated is one that it is not asked for."""
    needs = {"tools": "tools", "json_schema": "a JSON schema", "modalities": "images or other media"}
    missing = [key for key in needs if getattr(candidate, key) is None]
    if not missing:
        able = [key for key in ("tools", "json_schema") if getattr(candidate, key)]
        return Finding(
            candidate.name, "abilities", "ok", ", ".join([*able, *sorted(candidate.modalities or ())])
        )
    what = " or ".join(needs[key] for key in missing)
    detail = f"{' and '.join(missing)} unknown: it gets no request with {what}"
    return Finding(candidate.name, "abilities", "warn", detail, f"Set {', '.join(missing)}.")


def _ranked_by(candidate: Candidate, ranker: Router | DeclaredRouter) -> Finding:
    learned = ranker.trained if isinstance(ranker, Router) else Herd([])
    if candidate.name in learned:
        return Finding(candidate.name, "quality", "ok", "learned")
    if candidate.like is not None and candidate.like in learned:
        return Finding(candidate.name, "quality", "ok", f"learned of {candidate.like}, which it is like")
    if candidate.quality is not None:
        return Finding(candidate.name, "quality", "ok", f"declared: {candidate.quality:g}")
    if candidate.like is not None:
        return Finding(candidate.name, "quality", "ok", f"like {candidate.like}")
    return Finding(
        candidate.name,
        "quality",
        "warn",
        f"unknown: {PRIOR_QUALITY:g} is assumed",
        "Set `quality` or `like`, or train a router.",
    )


def _generalist(config: Config, herd: Herd) -> Finding:
    name = config.goals.generalist
    if name is None:
        return Finding("goals", "generalist", "ok", "none: the best predicted candidate always answers")
    return _tried("goals", "generalist", lambda: herd.index(name), name)


def _ledger(config: Config) -> Finding:
    if not config.ledger.enabled:
        remedy = "Without it nothing can be learned from what is served."
        return Finding("ledger", "writable", "warn", "switched off", remedy)
    return _tried("ledger", "writable", lambda: _reach_ledger(config.ledger.url.reveal()))


def _reach_ledger(url: str) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    from herdwise.core.errors import ConfigError
    from herdwise.serving.ledger_engine import ledger_url, open_engine

    parsed = ledger_url(url)
    shown = parsed.render_as_string(hide_password=True)
    if parsed.get_backend_name() == "sqlite" and parsed.database is not None:
        file = Path(parsed.database)
        if file.exists():
            open_engine(url, create=False).dispose()
        place = file if file.exists() else next(p for p in file.parents if p.exists())
        if not os.access(place, os.W_OK) or not (file.is_file() or place.is_dir()):
            raise ConfigError(f"{shown} cannot be written.", remedy="Name another place: ledger.url.")
        return
    try:
        engine = create_engine(parsed)
        try:
            engine.connect().close()
        finally:
            engine.dispose()
    except (ImportError, SQLAlchemyError) as error:
        problem = getattr(error, "orig", None) or error
        raise ConfigError(
            f"{shown} cannot be reached: {problem}.",
            remedy="Check ledger.url, and that its driver is installed.",
        ) from error

"""``herdwise candidates``: the herd of a config, a router or an outcome folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from herdwise.cli import console

if TYPE_CHECKING:
    from herdwise.core.candidate import Candidate, Herd

#: A candidate's expected quality, and where that figure comes from.
Quality = tuple[float | None, str]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def candidates(
        config: Path | None = typer.Option(
            None, "--config", help="The herd of this config; herdwise.yaml unless another source is given."
        ),
        router: Path | None = typer.Option(None, "--router", help="The herd of this saved router."),
        outcomes: str | None = typer.Option(
            None, "--outcomes", help="The herd of this outcome folder or shipped name (mmlu_pro)."
        ),
        as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
    ) -> None:
        """List a herd: size, active size, open weights, price, context, quality."""
        from herdwise.core.errors import ConfigError

        if sum(source is not None for source in (config, router, outcomes)) > 1:
            raise ConfigError(
                "more than one source is given.", remedy="Give --config, --router or --outcomes."
            )
        if outcomes is not None:
            source = outcomes
            herd, quality = _of_outcomes(outcomes)
        elif router is not None:
            source = str(router)
            herd, quality = _of_router(router)
        else:
            config = config or Path("herdwise.yaml")
            source = str(config)
            herd, quality = _of_config(config)
        rows = [(c, *quality[c.name]) for c in herd]
        if as_json:
            console.emit_json({"source": source, "candidates": [_as_json(*row) for row in rows]})
            return
        console.table(
            f"{source}: {len(herd)} candidates",
            [
                "candidate",
                "params_b",
                "active",
                "open",
                "USD/Mtok",
                "context",
                "quality",
                "",
            ],
            [_as_row(*row) for row in rows],
            left=(0, 7),
        )


def _of_outcomes(name: str) -> tuple[Herd, dict[str, Quality]]:
    import numpy as np

    from herdwise.storage.outcomes import read_outcomes

    table = read_outcomes(name)
    for warning in table.warnings:
        console.warn(warning)
    found: dict[str, Quality] = {}
    for candidate, column in zip(table.herd, table.matrix().T, strict=True):
        graded = column[np.isfinite(column)]
        mean = float(graded.mean(dtype=np.float64)) if len(graded) else None
        found[candidate.name] = mean, f"mean of {len(graded):,} queries"
    return table.herd, found


def _of_router(path: Path) -> tuple[Herd, dict[str, Quality]]:
    from herdwise.routing.router import Router

    router = Router.load(path)
    means, enlisted = router.facts.mean_micro, router.facts.enlisted

    def origin(name: str) -> str:
        if name in enlisted:
            return f"estimated from {enlisted[name]['n_probes']:,.0f} outcomes"
        return "mean in training"

    return router.herd, {name: (means.get(name), origin(name)) for name in router.herd.names}


def _of_config(path: Path) -> tuple[Herd, dict[str, Quality]]:
    from herdwise.config.load import load
    from herdwise.config.wiring import build_ranker
    from herdwise.routing.declared import declared_quality
    from herdwise.routing.router import Router

    ranker = build_ranker(load(path))
    means = ranker.facts.mean_micro if isinstance(ranker, Router) else {}
    found: dict[str, Quality] = {}
    for candidate in ranker.herd:
        if candidate.name in means:
            found[candidate.name] = means[candidate.name], "mean in training"
        elif candidate.like in means:
            found[candidate.name] = means[candidate.like], f"mean in training of {candidate.like}"
        elif candidate.quality is not None:
            found[candidate.name] = candidate.quality, "declared"
        elif candidate.like is not None:
            found[candidate.name] = declared_quality(candidate), f"like {candidate.like}"
        else:
            found[candidate.name] = None, "unknown"
    return ranker.herd, found


def _as_row(candidate: Candidate, quality: float | None, origin: str) -> tuple[object, ...]:
    price = candidate.price
    return (
        candidate.name,
        candidate.params_b,
        candidate.active_params_b,
        {True: "yes", False: "no", None: None}[candidate.open_weights],
        f"{price.input_usd_per_mtok:g}, {price.output_usd_per_mtok:g}" if price.known else None,
        candidate.context_tokens,
        None if quality is None else f"{100 * quality:.1f}%",
        origin,
    )


def _as_json(candidate: Candidate, quality: float | None, origin: str) -> dict[str, object]:
    return {
        "candidate": candidate.name,
        "params_b": candidate.params_b,
        "active_params_b": candidate.active_params_b,
        "open_weights": candidate.open_weights,
        "input_usd_per_mtok": candidate.price.input_usd_per_mtok,
        "output_usd_per_mtok": candidate.price.output_usd_per_mtok,
        "context_tokens": candidate.context_tokens,
        "modalities": None if candidate.modalities is None else sorted(candidate.modalities),
        "tools": candidate.tools,
        "json_schema": candidate.json_schema,
        "licence": candidate.licence,
        "released": candidate.released,
        "tags": sorted(candidate.tags),
        "quality": quality,
        "quality_from": origin,
    }

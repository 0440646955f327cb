"""``herdwise tune``: the weight on cost that keeps a stated quality."""

from __future__ import annotations

from typing import Annotated

import typer

from herdwise.cli import console
from herdwise.cli import evaluate as options


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def tune(
        outcomes: options.Outcomes,
        keep_quality: Annotated[
            float,
            typer.Option(min=0.0, max=1.0, help="Share of the best single candidate's quality to keep."),
        ] = 0.99,
        cost: Annotated[
            str, typer.Option(help="What to save: usd, active_params, latency or calls.")
        ] = "usd",
        candidates: options.Candidates = None,
        quality_column: Annotated[str, typer.Option(help="quality or correct.")] = "quality",
        train_split: options.TrainSplit = "train",
        seed: Annotated[int, typer.Option(min=0, help="Seed of the folds.")] = 0,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    ) -> None:
        """Choose goals that save most cost while they keep the quality asked for."""
        from herdwise.core.decision import COST_KINDS, CostKind
        from herdwise.core.errors import ConfigError
        from herdwise.evaluation.operating import comparable, operating_point
        from herdwise.storage.outcomes import read_outcomes

        if cost not in COST_KINDS:
            raise ConfigError(f"there is no cost {cost!r}.", remedy=f"Known: {', '.join(COST_KINDS)}.")
        kind: CostKind = cost
        table = read_outcomes(outcomes)
        for warning in table.warnings:
            console.warn(warning)
        table = table.split(train_split)
        if candidates is not None:
            table = table.restrict([n.strip() for n in candidates.split(",") if n.strip()])
        part = comparable(table, kind, quality_column)
        left_out = [name for name in table.herd.names if name not in part.herd]
        point = operating_point(
            part,
            max_loss=1.0 - keep_quality,
            relative=True,
            kind=kind,
            quality_column=quality_column,
            seed=seed,
        )
        if as_json:
            console.emit_json({"point": point, "left_out": left_out})
            return
        for name in left_out:
            console.note(f"left out: {name} (quality or {cost} not on record)")
        change = f"{0.0 - 100 * point.loss:+.2f} points of quality"
        if point.cost_weight == 0.0:
            console.show(f"No weight saves {cost} and keeps {keep_quality:.1%} of the best single's quality.")
        else:
            console.show(f"Expected: {point.saving:.1%} less {cost} than the best single, {change}.")
        console.show("goals:")
        for name in ("cost_kind", "cost_weight", "leave_margin"):
            value = getattr(point, name)
            console.show(f"  {name}: {value if isinstance(value, str) else format(value, '.4g')}")
        if point.cost_weight:
            console.show(
                f"Measure it: herdwise evaluate --outcomes {outcomes} --cost {point.cost_kind}"
                f" --cost-weight {point.cost_weight:.4g} --leave-margin {point.leave_margin:.4g}"
            )

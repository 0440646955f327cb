"""``herdwise prune``: which few candidates carry the herd."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from herdwise.cli import console
from herdwise.cli import evaluate as options


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def prune(
        outcomes: options.Outcomes,
        max_candidates: Annotated[int, typer.Option("--max", min=1, help="Largest set to look for.")] = 10,
        min_share: Annotated[
            float, typer.Option(min=0.0, max=1.0, help="Of the whole herd's routed quality to keep.")
        ] = 0.97,
        quality_column: Annotated[str, typer.Option(help="quality or correct.")] = "quality",
        average: options.AverageName = "micro",
        cost: options.Cost = None,
        max_params_b: options.MaxParams = None,
        max_active_params_b: options.MaxActive = None,
        open_weights_only: options.OpenOnly = False,
        candidates: options.Candidates = None,
        train_split: options.TrainSplit = "train",
        test_split: options.TestSplit = "test",
        encoder: Annotated[str, typer.Option(help="Registered encoder.")] = "static",
        predictor: Annotated[str, typer.Option(help="Registered predictor.")] = "stack",
        seed: options.Seed = 0,
        out: Annotated[Path | None, typer.Option(help="Write a page with the picture here.")] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    ) -> None:
        """Choose the best 1 to N candidates by the quality that routing among them reaches."""
        from herdwise.core.decision import COST_KINDS, Constraints
        from herdwise.core.errors import ConfigError
        from herdwise.evaluation.averages import Average
        from herdwise.evaluation.prune import prune
        from herdwise.evaluation.report_prune import render_pruning, steps_table
        from herdwise.storage.outcomes import read_outcomes
        from herdwise.storage.whole_files import write_whole

        if out is not None and out.is_dir():
            raise ConfigError(f"{out} is a folder; the page is a file.", remedy="Choose another --out.")
        if out is not None and not out.parent.is_dir():
            raise ConfigError(f"there is no folder {out.parent}.", remedy="Make it, or choose another --out.")
        if cost is not None and cost not in COST_KINDS:
            raise ConfigError(f"there is no cost {cost!r}.", remedy=f"Known: {', '.join(COST_KINDS)}.")
        table = read_outcomes(outcomes)
        for warning in table.warnings:
            console.warn(warning)
        named = (
            None if candidates is None else frozenset(n.strip() for n in candidates.split(",") if n.strip())
        )
        with console.stages() as progress:
            found = prune(
                table,
                max_candidates=max_candidates,
                min_share=min_share,
                limits=Constraints(
                    max_params_b=max_params_b,
                    max_active_params_b=max_active_params_b,
                    open_weights_only=open_weights_only,
                    candidates=named,
                ),
                quality_column=quality_column,
                average=cast("Average", average),
                cost=cost,
                train_split=train_split,
                test_split=test_split,
                encoder=encoder,
                predictor=predictor,
                seed=seed,
                progress=progress,
            )
        if out is not None:
            write_whole(out, render_pruning(found).encode())
        if as_json:
            console.emit_json({"page": None if out is None else str(out), "pruning": found})
            return
        drawn = steps_table(found)
        console.table(f"{found.name}: {drawn.title}", drawn.columns, drawn.rows, left=drawn.left)
        for name, reason in found.excluded.items():
            console.note(f"left out: {name} ({reason})")
        if found.chosen is None:
            console.show(f"No set of up to {len(found.stages)} keeps {min_share:.0%}; raise --max.")
        else:
            kept = ",".join(found.stages[found.chosen - 1].kept)
            console.show(f"{found.chosen} keep {min_share:.0%} of the whole herd's routed quality:")
            console.show(f"  herdwise train --outcomes {outcomes} --candidates {kept} --out ROUTER")
        if out is not None:
            console.show(f"Wrote {out}")

"""``herdwise report``: the figures of ``herdwise evaluate`` as one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from herdwise.cli import console
from herdwise.cli import evaluate as options


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def report(
        outcomes: options.Outcomes,
        out: Annotated[Path, typer.Option(help="Where the page goes.")],
        router: options.RouterFolder = None,
        policy: options.PolicyName = "single",
        policy_option: options.PolicyOptions = None,
        policies: Annotated[
            str | None,
            typer.Option(
                help="Also draw the trade-offs of these, comma-separated: single,cascade,vote,consult."
            ),
        ] = None,
        max_params_b: options.MaxParams = None,
        max_active_params_b: options.MaxActive = None,
        open_weights_only: options.OpenOnly = False,
        candidates: options.Candidates = None,
        max_cost_usd: options.MaxCost = None,
        max_latency_s: options.MaxLatency = None,
        max_output_tokens: options.MaxOutput = None,
        limit_probability: options.LimitProbability = None,
        cost: options.Cost = None,
        cost_weight: options.CostWeight = 0.0,
        leave_margin: options.LeaveMargin = None,
        min_quality: options.MinQuality = None,
        min_quality_probability: options.MinQualityProbability = None,
        generalist: options.Generalist = None,
        average: options.AverageName = "micro",
        quality_column: options.QualityColumn = None,
        train_split: options.TrainSplit = "train",
        test_split: options.TestSplit = "test",
        reference: options.ReferenceName = None,
        encoder: options.EncoderName = None,
        encoder_option: options.EncoderOptions = None,
        predictor: options.PredictorName = None,
        seed: options.Seed = 0,
        open_it: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print one JSON object: the page's path and its figures.")
        ] = False,
    ) -> None:
        """Write an evaluation as one HTML page, curves and tables, that loads nothing from elsewhere."""
        from herdwise.core.errors import ConfigError
        from herdwise.evaluation.report import render
        from herdwise.storage.whole_files import write_whole

        if out.is_dir():
            raise ConfigError(f"{out} is a folder; the page is a file.", remedy="Choose another --out.")
        if not out.parent.is_dir():
            raise ConfigError(f"there is no folder {out.parent}.", remedy="Make it, or choose another --out.")
        found = options.measure(
            outcomes,
            router,
            policy=policy,
            policy_option=policy_option,
            policies=(policies or "").split(","),
            max_params_b=max_params_b,
            max_active_params_b=max_active_params_b,
            open_weights_only=open_weights_only,
            candidates=candidates,
            max_cost_usd=max_cost_usd,
            max_latency_s=max_latency_s,
            max_output_tokens=max_output_tokens,
            limit_probability=limit_probability,
            cost=cost,
            cost_weight=cost_weight,
            leave_margin=leave_margin,
            min_quality=min_quality,
            min_quality_probability=min_quality_probability,
            generalist=generalist,
            average=average,
            quality_column=quality_column,
            train_split=train_split,
            test_split=test_split,
            reference=reference,
            encoder=encoder,
            encoder_option=encoder_option,
            predictor=predictor,
            seed=seed,
        )
        write_whole(out, render(found).encode())
        if as_json:
            console.emit_json({"report": str(out), **found.as_json()})
        else:
            console.show(f"Wrote {out}")
        if open_it:
            import webbrowser

            webbrowser.open(out.resolve().as_uri())

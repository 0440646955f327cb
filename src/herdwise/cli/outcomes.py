"""``herdwise outcomes``: look at, check and convert outcome folders."""

from __future__ import annotations

import typer

from herdwise.cli import console


def register(app: typer.Typer) -> None:
    """Add the command."""
    group = typer.Typer(help="Look at and check recorded outcomes.", no_args_is_help=True)
    app.add_typer(group, name="outcomes")

    @group.command("describe")
    def describe(
        outcomes: str = typer.Argument(help="An outcome folder, or a shipped name such as mmlu_pro."),
        quality_column: str = typer.Option("quality", help="Column to describe: quality or correct."),
        split: str | None = typer.Option(None, help="Only this split."),
        as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
    ) -> None:
        """Queries, candidates, coverage, best single, oracle, and a table per benchmark."""
        from dataclasses import asdict

        from herdwise.evaluation.describe import describe as describe_table
        from herdwise.storage.outcomes import read_outcomes

        table = read_outcomes(outcomes)
        for warning in table.warnings:
            console.warn(warning)
        if split is not None:
            table = table.split(split)
        found = describe_table(table, quality_column)
        if as_json:
            console.emit_json(asdict(found))
            return
        console.show(
            f"{found.name}: {found.n_queries:,} queries, {found.n_candidates} candidates, "
            f"{found.n_outcomes:,} outcomes ({found.n_graded:,} graded)"
        )
        console.show(
            "splits: "
            + (", ".join(f"{k} {v:,}" for k, v in found.splits.items()) or "none")
            + f"; columns: {', '.join(found.columns)}"
        )
        if found.best_single is None:
            console.show(f"No candidate has a graded outcome in column {quality_column!r} everywhere.")
        else:
            console.show(
                f"best single: {found.best_single} {_percent(found.best_single_quality)}; oracle "
                f"{_percent(found.oracle_quality)} (over the {found.n_common:,} queries that all "
                f"{found.n_covered} candidates of at least 95% coverage ran)"
            )
        console.table(
            "Candidates",
            ["candidate", "coverage", quality_column, "params_b", "active_params_b", "open"],
            [
                (
                    c.candidate,
                    _percent(c.coverage),
                    _percent(c.quality),
                    c.params_b,
                    c.active_params_b,
                    c.open_weights,
                )
                for c in found.candidates
            ],
        )
        console.table(
            "Benchmarks",
            ["benchmark", "queries", "best single there", "its " + quality_column, "oracle"],
            [
                (b.benchmark, b.n, b.best_single, _percent(b.best_single_quality), _percent(b.oracle_quality))
                for b in found.benchmarks
            ],
            left=(0, 2),
        )

    @group.command("check")
    def check(
        outcomes: str = typer.Argument(help="An outcome folder."),
        as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
    ) -> None:
        """Validate a folder: exit code 0 when it conforms, 2 with file, column and row when not."""
        from herdwise.storage.outcomes import read_outcomes

        table = read_outcomes(outcomes)
        for row in range(0 if table.tools is None else table.n_queries):
            table.recorded_tools(row)  # read late by others: what is wrong with them is said now
        if as_json:
            console.emit_json(
                {
                    "valid": True,
                    "warnings": list(table.warnings),
                    "n_queries": table.n_queries,
                    "n_candidates": table.n_candidates,
                    "n_outcomes": table.n_outcomes,
                }
            )
            return
        for warning in table.warnings:
            console.warn(warning)
        console.show(
            f"{outcomes} conforms: {table.n_queries:,} queries, {table.n_candidates} candidates, "
            f"{table.n_outcomes:,} outcomes."
        )


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:.1f}%"

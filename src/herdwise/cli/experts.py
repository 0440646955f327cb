"""``herdwise experts``: find where the herd is weak, and make, try and enlist an expert for it."""

from __future__ import annotations

import typer

from herdwise.cli import console, experts_admit, experts_data, experts_make, experts_train
from herdwise.cli.experts_inputs import Ledger, Outcomes, Seed, read_tables

_EXAMPLE_CHARS = 110


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(no_args_is_help=True, help="Where the herd is weak, and what to do about it.")

    @group.command()
    def select(
        outcomes: Outcomes = None,
        ledger: Ledger = None,
        clusters: int = typer.Option(24, "--clusters", min=1, help="Clusters of queries to look at."),
        top: int = typer.Option(8, "--top", min=1, help="How many to show, the weakest first."),
        split: str = typer.Option("", "--split", help="train where there is one; all = every query."),
        quality_column: str = typer.Option("quality", "--quality-column", help="What counts as right."),
        encoder: str = typer.Option("static", "--encoder", help="Encoder that the clusters are made with."),
        seed: Seed = 0,
        as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
    ) -> None:
        """Cluster recorded queries and rank the clusters by the quality that an expert could add there."""
        import tempfile
        from pathlib import Path

        from herdwise.encoding.base import ENCODERS
        from herdwise.experts.select import find_weaknesses

        with tempfile.TemporaryDirectory() as folder:
            table = read_tables(outcomes or [], ledger, Path(folder), split)
            texts = list(table.texts)
        splits = {*table.splits}
        vectors = ENCODERS.create(encoder).fit(texts).encode(texts)
        found = find_weaknesses(table, vectors, n_clusters=clusters, quality_column=quality_column, seed=seed)
        shown = found[:top]
        lost = sum(w.lost_quality for w in found)
        if as_json:
            console.emit_json(
                {
                    "outcomes": [*(outcomes or []), *([ledger] if ledger else [])],
                    "split": splits.pop() if len(splits) == 1 else "all",
                    "n_queries": sum(w.n for w in found),
                    "n_clusters": len(found),
                    "lost_quality": lost,
                    "weaknesses": shown,
                }
            )
            return
        console.table(
            f"{len(found)} clusters of {sum(w.n for w in found)} queries;"
            f" {100 * lost:.1f} points are lost even if each went to its best candidate",
            ["#", "queries", "best candidate", "quality %", "oracle %", "lost points", "why", "words"],
            [
                (
                    w.cluster,
                    w.n,
                    w.best_candidate,
                    f"{100 * w.best_quality:.1f}",
                    f"{100 * w.oracle:.1f}",
                    f"{100 * w.lost_quality:.2f}",
                    ", ".join(w.reasons),
                    " ".join(w.words),
                )
                for w in shown
            ],
            left=(2, 6, 7),
        )
        for w in shown:
            console.show(f"\n# {w.cluster}: {' '.join(w.words[:4])}")
            for example in w.examples:
                line = " ".join(example.split())
                console.show(f"  - {line[:_EXAMPLE_CHARS]}{'...' if len(line) > _EXAMPLE_CHARS else ''}")

    for part in (experts_data, experts_train, experts_admit, experts_make):
        part.register(group)
    app.add_typer(group, name="experts")

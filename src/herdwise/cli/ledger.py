"""``herdwise ledger``: what was served, and how to learn from it."""

from __future__ import annotations

from pathlib import Path

import typer

from herdwise.cli import console
from herdwise.cli.ledger_inputs import CONFIG, LedgerConfig, LedgerUrl, ledger_url


def register(app: typer.Typer) -> None:
    """Add the command."""
    group = typer.Typer(help="Look at the ledger, and export it to learn from.", no_args_is_help=True)
    app.add_typer(group, name="ledger")

    @group.command("export")
    def export(
        out: Path = typer.Option(..., "--out", help="The outcome folder to write."),
        ledger: LedgerUrl = None,
        config: LedgerConfig = CONFIG,
        as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
    ) -> None:
        """Write the ledger as an outcome folder, ready for `herdwise train`. It may be in use."""
        from dataclasses import asdict

        from herdwise.core.errors import ConfigError
        from herdwise.serving.ledger_export import export_ledger, is_export

        if (out / "outcomes.parquet").exists() and not is_export(out):
            raise ConfigError(f"{out} holds outcomes that no ledger gave.", remedy="Choose another --out.")
        done = export_ledger(ledger_url(ledger, config), out)
        if as_json:
            console.emit_json({"out": str(out), **asdict(done)})
            return
        console.show(
            f"{out}: {done.queries:,} queries, {done.outcomes:,} outcomes, {done.graded:,} of them graded"
        )
        if done.without_text or done.without_answer:
            console.note(
                f"left out: {done.without_text:,} decisions without their text,"
                f" {done.without_answer:,} without an answer"
            )

    @group.command("prune")
    def prune(
        ledger: LedgerUrl = None,
        config: LedgerConfig = CONFIG,
        keep_texts_days: float | None = typer.Option(
            None, min=0, help="Erase prompts, answers and comments that are older; figures stay."
        ),
        keep_days: float | None = typer.Option(None, min=0, help="Delete decisions that are older."),
        dry_run: bool = typer.Option(False, "--dry-run", help="Only say what would go."),
        as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
    ) -> None:
        """Erase old texts, delete old decisions. The ledger may be in use."""
        from dataclasses import asdict

        from herdwise.core.errors import ConfigError
        from herdwise.serving.ledger_retention import prune_ledger

        if keep_texts_days is None and keep_days is None:
            raise ConfigError(
                "nothing is said of what may go.", remedy="Give --keep-texts-days, --keep-days or both."
            )
        done = prune_ledger(
            ledger_url(ledger, config), keep_texts_days=keep_texts_days, keep_days=keep_days, dry_run=dry_run
        )
        if as_json:
            console.emit_json({"dry_run": dry_run, **asdict(done)})
            return
        console.show(
            f"{'would erase' if dry_run else 'erased'} the texts of {done.texts:,} decisions and"
            f" {done.comments:,} comments;"
            f" {'would delete' if dry_run else 'deleted'} {done.decisions:,} decisions,"
            f" and all but the charge of {done.stripped:,}"
        )

    @group.command("show")
    def show(
        ledger: LedgerUrl = None,
        config: LedgerConfig = CONFIG,
        as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
    ) -> None:
        """Decisions, costs and grades in figures; no prompt is shown. It may be in use."""
        import datetime as dt
        from dataclasses import asdict

        from herdwise.serving.ledger_summary import summarise_ledger

        found = summarise_ledger(ledger_url(ledger, config))
        if as_json:
            console.emit_json(asdict(found))
            return

        def day(at: float | None) -> str:
            return "-" if at is None else dt.datetime.fromtimestamp(at, dt.UTC).isoformat(" ", "seconds")

        told = ", ".join(f"{n:,} {status}" for status, n in sorted(found.decisions.items())) or "no decisions"
        kinds = (("by the cache", found.cached), ("embeddings", found.embeddings))
        if of_them := ", ".join(f"{n:,} {what}" for what, n in kinds if n):
            told += f" ({of_them})"
        console.show(f"{told}; {found.feedback:,} feedback; {day(found.first_at)} to {day(found.last_at)}")
        console.table(
            "",
            ["candidate", "asks", "answered", "graded", "quality %", "known cost $", "unknown", "latency s"],
            [
                (
                    c.candidate,
                    c.asks,
                    c.answered,
                    c.graded,
                    None if c.quality is None else f"{100 * c.quality:.1f}",
                    f"{c.cost_usd:.6f}",
                    c.cost_unknown,
                    None if c.latency_s is None else f"{c.latency_s:.3f}",
                )
                for c in found.candidates
            ],
        )

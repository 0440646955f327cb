"""``herdwise doctor``: what is wrong with a config, and what to do about it."""

from __future__ import annotations

from pathlib import Path

import typer

from herdwise.cli import console


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def doctor(
        config: Path = typer.Option(Path("herdwise.yaml"), "--config", help="The config to check."),
        as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
    ) -> None:
        """Check a config: who can be reached, keys, models, what is unknown, router, ledger, address.

        Exit code 0 when nothing failed, 1 when an upstream did, 2 when the config is at fault.
        """
        import asyncio
        from collections import Counter

        from herdwise.config.doctor import examine, exit_code
        from herdwise.config.load import load

        findings = asyncio.run(examine(load(config)))
        counts = Counter(f.level for f in findings)
        code = exit_code(findings)
        if as_json:
            summary = {level: counts[level] for level in ("ok", "warn", "fail")}
            console.emit_json({"config": str(config), "exit_code": code, **summary, "findings": findings})
        else:
            console.table(
                f"{config}",
                ["", "what", "check", "found", "remedy"],
                [(f.level, f.subject, f.check, f.detail, f.remedy) for f in findings],
                left=(0, 1, 2, 3, 4),
            )
            console.show(f"{counts['ok']} ok, {counts['warn']} to know about, {counts['fail']} failed.")
        raise typer.Exit(code)

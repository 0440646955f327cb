"""``herdwise experts gate`` and ``enlist``: is the herd better with an expert, and its admission."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from herdwise.cli import console
from herdwise.cli.experts_inputs import (
    ConfigFile,
    Grader,
    GraderOption,
    Json,
    Ledger,
    Outcomes,
    PolicyName,
    Seed,
    check_config,
    read_entry,
    read_tables,
    wire,
)

if TYPE_CHECKING:
    from herdwise.config.tree import Config
    from herdwise.experts.enlist import Enlisted, Running
    from herdwise.experts.gate import Verdict

Endpoint = typer.Option(None, "--endpoint", help="Of the running herdwise; the config's address if left out.")
Reload = typer.Option(True, "--reload/--no-reload", help="Ask the running endpoint to go by it at once.")


def register(group: typer.Typer) -> None:
    """Add the commands."""

    @group.command()
    def gate(
        entry: Path = typer.Option(
            ..., "--entry", help="JSON or YAML file: the candidate as a config has it."
        ),
        out: Path = typer.Option(..., "--out", help="Folder: the verdict, and the router if admitted."),
        config: ConfigFile = Path("herdwise.yaml"),
        outcomes: Outcomes = None,
        ledger: Ledger = None,
        grader: Grader = "exact",
        grader_option: GraderOption = None,
        policy: PolicyName = None,
        probes: int = typer.Option(
            400, "--probes", min=0, help="Queries it is asked for the router to learn."
        ),
        measured: int = typer.Option(
            2000, "--measured", min=1, help="Held-back queries to measure on, at most."
        ),
        seed: Seed = 0,
        as_json: Json = False,
    ) -> None:
        """Try a candidate: it may join where the routed herd is surely better with it, or cheaper.

        Exit code 0 whether it is admitted or refused; --json says which.
        """
        import msgspec

        from herdwise.config.identity import identity
        from herdwise.config.load import load_candidate
        from herdwise.config.options import read_options
        from herdwise.config.wiring import build_backend, build_herd
        from herdwise.experts.examples import pretty
        from herdwise.experts.manifest import refuse_others
        from herdwise.experts.proving import ProofSettings, prove, save_router_with
        from herdwise.storage.whole_files import write_whole

        refuse_others(out, "verdict.json", ["router"])
        wired = wire(config)
        node = load_candidate(entry)
        expert = build_herd(msgspec.structs.replace(wired.config, candidates=[node]))[node.name]
        table = read_tables(outcomes or [], ledger, out)
        settings = ProofSettings(
            goals=wired.goals,
            **wired.policy(policy),
            encoder=wired.encoder,
            predictor=wired.predictor,
            grader=grader,
            grader_options=read_options(grader_option or []),
            n_probes=probes,
            n_measured=measured,
        )
        with console.stages() as progress:
            verdict, known = prove(
                table,
                wired.herd,
                expert,
                lambda: build_backend(node),
                wired.reach,
                out,
                settings=settings,
                identity=identity(node),
                identify=wired.identity,
                seed=seed,
                progress=progress,
            )
        write_whole(out / "verdict.json", pretty(verdict))
        if (out / "router").exists():
            shutil.rmtree(out / "router")  # that of an earlier verdict
        if verdict.admitted:
            save_router_with(known, wired.herd, expert, out / "router", verdict, settings=settings, seed=seed)
        if as_json:
            router = str(out / "router") if verdict.admitted else None
            console.emit_json({**msgspec.to_builtins(verdict), "router": router})
            return
        say_verdict(verdict)
        if verdict.admitted:
            console.show(
                f"Next: herdwise experts enlist --config {config} --entry {entry} --router {out}/router"
            )

    @group.command()
    def enlist(
        entry: Path = typer.Option(
            ..., "--entry", help="JSON or YAML file: the candidate as a config has it."
        ),
        router: Path = typer.Option(
            ..., "--router", help="A router of the herd with it; the gate writes one."
        ),
        config: ConfigFile = Path("herdwise.yaml"),
        endpoint: str | None = Endpoint,
        reload: bool = Reload,
        as_json: Json = False,
    ) -> None:
        """Write a candidate and its router into the config; the running endpoint takes them up at once.

        Where the endpoint refuses, or the config would not be served, everything stays as it was.
        """
        from herdwise.config.load import load
        from herdwise.experts.enlist import enlist as bring_in

        running = running_endpoint(load(config), endpoint) if reload else None
        done = bring_in(config, read_entry(entry), router, check=check_config, running=running)
        if as_json:
            console.emit_json(done)
            return
        say_enlisted(done)


def running_endpoint(config: Config, endpoint: str | None) -> Running:
    """The endpoint that serves a config.

    Raises:
        ConfigError: when the config has no admin key.
    """
    from herdwise.core.errors import ConfigError
    from herdwise.experts.enlist import Running

    if config.server.admin_key is None:
        raise ConfigError(
            "the config has no server.admin_key, so that a running endpoint cannot be asked to reload.",
            remedy="Set one and restart it, or give --no-reload and restart or SIGHUP it afterwards.",
        )
    url = endpoint or f"http://{config.server.host}:{config.server.port}"
    return Running(url, config.server.admin_key.reveal())


def say_verdict(verdict: Verdict) -> None:
    """The verdict, for people."""
    console.show(verdict.words)

    def percent(value: float | None) -> str | None:
        return None if value is None else f"{100 * value:.1f}"

    rows: list[tuple[object, ...]] = [
        (
            f"all {verdict.n} measured queries",
            percent(verdict.quality_before),
            percent(verdict.quality_after),
        ),
        (
            f"{verdict.n_cluster} of its cluster",
            percent(verdict.cluster_before),
            percent(verdict.cluster_after),
        ),
    ]
    console.table(
        f"Quality % of the routed herd, policy {verdict.policy}", ["", "without it", "with it"], rows
    )
    alone = percent(verdict.expert_quality)
    console.show(
        f"It would answer {100 * verdict.share:.1f}% of the queries"
        + ("." if alone is None else f"; alone it reaches {alone}% of its cluster.")
    )
    if verdict.policy_note:
        console.note(f"single was measured: {verdict.policy_note}.")
    if verdict.n_unmeasured:
        console.note(f"{verdict.n_unmeasured} queries were left out: an answer had no grade.")


def say_enlisted(done: Enlisted) -> None:
    """What was changed, for people."""
    console.show(f"{done.expert} joined the herd: {done.config} names it, and the router {done.router}.")
    console.show(f"The config as it was: {done.backup}")
    if done.reloaded is None:
        console.show("No endpoint was asked; the next start or SIGHUP goes by it.")
    else:
        console.show(f"The running endpoint serves {len(done.reloaded)} candidates now.")
    for key in done.needs_restart:
        console.warn(f"{key} has changed too; that takes effect after a restart")

"""``herdwise profile``: ask live candidates a benchmark, grade the answers, write an outcome folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from herdwise.cli import console

if TYPE_CHECKING:
    from herdwise.backends.base import Backend
    from herdwise.profiling.benchmark import Item
    from herdwise.profiling.profiler import Profiler
    from herdwise.profiling.summary import ProfileSummary

#: Where stderr is no terminal, a line of progress stands so often.
_TELL_S = 30.0


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def profile(
        benchmark: list[str] = typer.Option(
            [],
            "--benchmark",
            "--items",
            help="A JSONL file of items, or NAME:SOURCE, such as gsm8k:test.jsonl. May be repeated.",
        ),
        out: Path = typer.Option(
            ..., "--out", help="Outcome folder; an interrupted profile in it is resumed."
        ),
        config: Path = typer.Option(
            Path("herdwise.yaml"), "--config", help="The config with the candidates."
        ),
        grader: list[str] = typer.Option(
            [], "--grader", help="NAME or NAME:key=value, for items that name none. May be repeated."
        ),
        benchmark_option: list[str] = typer.Option(
            [], "--benchmark-option", help="key=value for each benchmark, such as split=test."
        ),
        candidates: str = typer.Option("", "--candidates", help="Only these, comma-separated."),
        concurrency: int = typer.Option(4, "--concurrency", min=1, help="Asks at a time per candidate."),
        samples: int = typer.Option(1, "--samples", min=1, help="Times each item is asked."),
        limit: int | None = typer.Option(None, "--limit", min=1, help="Only the first N of each benchmark."),
        sample: int | None = typer.Option(None, "--sample", min=1, help="Only N of each, drawn at random."),
        seed: int = typer.Option(0, "--seed", help="For --sample."),
        temperature: float | None = typer.Option(None, "--temperature", min=0, help="Sent with every ask."),
        max_tokens: int | None = typer.Option(None, "--max-tokens", min=1, help="Sent with every ask."),
        logprobs: bool = typer.Option(
            False,
            "--logprobs",
            help="Ask for token logprobs and record what they tell; not every upstream can.",
        ),
        budget_usd: float | None = typer.Option(
            None, "--budget-usd", min=0, help="Stop before more than that is spent, judges included."
        ),
        dry_run: bool = typer.Option(False, "--dry-run", help="Say what it would take, and ask nothing."),
        regrade: bool = typer.Option(
            False, "--regrade", help="Grade the recorded answers anew; ask no candidate."
        ),
        wrong: int = typer.Option(
            0, "--wrong", min=0, help="Show N answers per candidate that are not wholly right."
        ),
        as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
    ) -> None:
        """Ask every candidate every item, grade the answers, and write an outcome folder to train on.

        Run it again with the same arguments after an interruption, after failures, or with a larger
        budget: it asks only what has no answer yet.
        """
        import asyncio

        from herdwise.cli import profile_tables

        sampling = {"temperature": temperature, "max_tokens": max_tokens, "logprobs": logprobs or None}
        items = _items(benchmark, grader, benchmark_option, limit=limit, sample=sample, seed=seed)
        profiler, backends = _build(
            config,
            items,
            names=[name.strip() for name in candidates.split(",") if name.strip()],
            concurrency=concurrency,
            samples=samples,
            sampling={k: v for k, v in sampling.items() if v is not None},
            budget_usd=budget_usd,
        )
        if dry_run:
            profile_tables.show_estimate(profiler, out, as_json=as_json)
            return
        try:
            summary = asyncio.run(_run(profiler, backends, out, regrade=regrade))
        except KeyboardInterrupt:
            console.note(f"interrupted; what was answered is in {out}. Run the same command to go on.")
            raise typer.Exit(130) from None
        profile_tables.show_summary(summary, as_json=as_json)
        if wrong and not as_json:
            profile_tables.show_wrong(profiler, out, wrong)


def _items(
    sources: list[str],
    graders: list[str],
    pairs: list[str],
    *,
    limit: int | None,
    sample: int | None,
    seed: int,
) -> list[Item]:
    from herdwise.core.errors import ConfigError
    from herdwise.profiling.options import parse_pairs
    from herdwise.profiling.sources import parse_grader, read_benchmark, some

    if not sources:
        raise ConfigError("there is nothing to ask.", remedy="Give --benchmark NAME:SOURCE or a JSONL file.")
    grader, grader_options = parse_grader(graders)
    options = parse_pairs(pairs, "--benchmark-option")
    items: list[Item] = []
    for source in sources:
        read = read_benchmark(source, grader=grader, grader_options=grader_options, options=options)
        items += some(read, limit=limit, sample=sample, seed=seed)
    return items


def _build(
    config: Path,
    items: list[Item],
    *,
    names: list[str],
    concurrency: int,
    samples: int,
    sampling: dict[str, Any],
    budget_usd: float | None,
) -> tuple[Profiler, dict[str, Backend]]:
    from herdwise.config.identity import identity
    from herdwise.config.load import load
    from herdwise.config.wiring import build_backend, build_herd
    from herdwise.profiling.profiler import Profiler

    tree = load(config)
    everybody = build_herd(tree)
    herd = everybody.subset(names) if names else everybody
    asking = {str(item.options["candidate"]) for item in items if item.options.get("candidate")}
    nodes = {node.name: node for node in tree.candidates if node.name in herd or node.name in asking}
    backends = {name: build_backend(node) for name, node in nodes.items()}
    profiler = Profiler(
        herd,
        backends,
        items,
        samples=samples,
        sampling=sampling,
        concurrency={n: min(concurrency, node.max_concurrency or concurrency) for n, node in nodes.items()},
        identities={name: identity(node) for name, node in nodes.items()},
        judges=[candidate for candidate in everybody if candidate.name in asking],
        budget_usd=budget_usd,
    )
    return profiler, backends


async def _run(
    profiler: Profiler, backends: dict[str, Backend], out: Path, *, regrade: bool
) -> ProfileSummary:
    try:
        with console.progress("profile") as update:
            return await profiler.run(out, progress=_told(profiler, update), regrade=regrade)
    finally:
        for backend in backends.values():
            await backend.close()


def _told(profiler: Profiler, update: Any) -> Any:
    """Progress with money and time: beside the bar on a terminal, as a line now and then in a log."""
    import sys
    import time

    from herdwise.cli.profile_tables import told

    last_s = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last_s
        now_s = time.monotonic()
        if sys.stderr.isatty():
            standing = profiler.standing() if now_s - last_s >= 0.5 or done == total else None
            update(done, total, None if standing is None else told(standing))
            last_s = last_s if standing is None else now_s
            return
        update(done, total)
        standing = profiler.standing() if now_s - last_s >= _TELL_S else None
        if standing is not None:
            console.note(f"{done} of {total}: {told(standing)}")
            last_s = now_s

    return tell

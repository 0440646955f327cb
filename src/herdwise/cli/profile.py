"""``herdwise profile``: ask live candidates one's own items, grade the answers, write an outcome folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from herdwise.cli import console

if TYPE_CHECKING:
    from herdwise.profiling.profiler import Profiler
    from herdwise.profiling.summary import ProfileSummary

#: Failed pairs shown by name; all of them are in the journal and in --json.
_SHOWN = 5


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def profile(
        items: Path = typer.Option(..., "--items", help="JSONL file of items (docs/profiling.md)."),
        out: Path = typer.Option(
            ..., "--out", help="Outcome folder; an interrupted profile in it is resumed."
        ),
        config: Path = typer.Option(
            Path("herdwise.yaml"), "--config", help="The config with the candidates."
        ),
        candidates: str = typer.Option("", "--candidates", help="Only these, comma-separated."),
        concurrency: int = typer.Option(4, "--concurrency", min=1, help="Asks at a time per candidate."),
        samples: int = typer.Option(1, "--samples", min=1, help="Times each item is asked."),
        limit: int | None = typer.Option(None, "--limit", min=1, help="Only the first N items."),
        temperature: float | None = typer.Option(None, "--temperature", min=0, help="Sent with every ask."),
        max_tokens: int | None = typer.Option(None, "--max-tokens", min=1, help="Sent with every ask."),
        logprobs: bool = typer.Option(
            False,
            "--logprobs",
            help="Ask for token logprobs and record what they tell; not every upstream can.",
        ),
        dry_run: bool = typer.Option(False, "--dry-run", help="Say what it would take, and ask nothing."),
        as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
    ) -> None:
        """Ask every candidate every item, grade the answers, and write an outcome folder to train on.

        Run it again with the same arguments after an interruption, or after failures: it asks only what
        has no answer yet.
        """
        import asyncio

        sampling = {"temperature": temperature, "max_tokens": max_tokens, "logprobs": logprobs or None}
        options: dict[str, Any] = {
            "names": [name.strip() for name in candidates.split(",") if name.strip()],
            "concurrency": concurrency,
            "samples": samples,
            "limit": limit,
            "sampling": {k: v for k, v in sampling.items() if v is not None},
        }
        if dry_run:
            _say_estimate(_build(config, items, **options)[0], out, max_tokens, as_json=as_json)
            return
        try:
            summary = asyncio.run(_run(config, items, out, options))
        except KeyboardInterrupt:
            console.note(f"interrupted; what was answered is in {out}. Run the same command to go on.")
            raise typer.Exit(130) from None
        _say_summary(summary, as_json=as_json)


def _build(
    config: Path,
    items: Path,
    *,
    names: list[str],
    concurrency: int,
    samples: int,
    limit: int | None,
    sampling: dict[str, Any],
) -> tuple[Profiler, dict[str, Any]]:
    from herdwise.config.load import load
    from herdwise.config.wiring import build_backend, build_herd
    from herdwise.profiling.profiler import Profiler
    from herdwise.profiling.tasks.items import ItemsFile

    read = ItemsFile(items).items()[:limit]
    tree = load(config)
    herd = build_herd(tree)
    herd = herd.subset(names) if names else herd
    nodes = {node.name: node for node in tree.candidates if node.name in herd}
    backends = {name: build_backend(node) for name, node in nodes.items()}
    profiler = Profiler(
        herd,
        backends,
        read,
        samples=samples,
        sampling=sampling,
        concurrency={n: min(concurrency, node.max_concurrency or concurrency) for n, node in nodes.items()},
        identities={name: f"{node.backend} {node.model or name}" for name, node in nodes.items()},
    )
    return profiler, backends


async def _run(config: Path, items: Path, out: Path, options: dict[str, Any]) -> ProfileSummary:
    profiler, backends = _build(config, items, **options)
    try:
        with console.progress("profile") as update:
            return await profiler.run(out, progress=update)
    finally:
        for backend in backends.values():
            await backend.close()


def _say_estimate(profiler: Profiler, out: Path, max_tokens: int | None, *, as_json: bool) -> None:
    from herdwise.profiling.estimate import estimate

    rows = estimate(
        profiler.herd, profiler.items, profiler.recorded(out), samples=profiler.samples, max_tokens=max_tokens
    )
    calls = sum(r.calls for r in rows)
    costs = [r.cost_usd for r in rows]
    total = None if None in costs else sum(c for c in costs if c is not None)
    if as_json:
        console.emit_json(
            {
                "dry_run": True,
                "items": len(profiler.items),
                "calls": calls,
                "cost_usd": total,
                "candidates": rows,
            }
        )
        return
    of = {"recorded": "as so far", "limit": "at most", "unknown": ""}
    console.table(
        f"{calls} calls to make",
        ["candidate", "calls", "input tokens", "output tokens", "", "USD"],
        [
            (
                r.candidate,
                r.calls,
                r.input_tokens,
                _or_unknown(r.output_tokens),
                of[r.basis],
                _usd(r.cost_usd),
            )
            for r in rows
        ],
        left=(0, 4),
    )
    console.show(f"USD in all: {_usd(total)}.")
    if any(r.basis == "unknown" and r.calls for r in rows):
        console.show("The answers' length is unknown; --max-tokens bounds it.")


def _say_summary(summary: ProfileSummary, *, as_json: bool) -> None:
    if as_json:
        console.emit_json(summary)
        return
    if summary.n_resumed:
        console.note(f"resumed: {summary.n_resumed} answers were there already.")
    if summary.torn:
        console.note("the journal's last line had been cut off; that answer was asked for again.")
    rows = []
    for c in summary.candidates:
        failed = sum(c.failures.values())
        rows.append(
            (
                c.candidate,
                c.n,
                None if c.quality is None else f"{100 * c.quality:.1f}",
                None if c.low is None or c.high is None else f"{100 * c.low:.1f} to {100 * c.high:.1f}",
                c.n_unread,
                failed + c.n_not_asked,
                None if c.latency_s is None else f"{c.latency_s:.2f}",
                _usd(c.cost_usd),
            )
        )
    splits = ", ".join(f"{n} {split}" for split, n in summary.splits.items())
    console.table(
        f"{summary.n_items} items ({splits})",
        ["candidate", "answers", "quality %", "95%", "unread", "not run", "s", "USD"],
        rows,
    )
    for c in summary.candidates:
        if c.gave_up is not None:
            console.warn(f"{c.candidate} was given up, {c.n_not_asked} not asked: {c.gave_up}")
        if c.n_truncated:
            console.warn(f"{c.candidate}: {c.n_truncated} answers hit the length limit; see --max-tokens.")
    for failure in summary.failures[:_SHOWN]:
        console.warn(f"{failure.candidate} has no answer to {failure.item!r}: {failure.message}")
    if len(summary.failures) > _SHOWN:
        console.warn(f"and {len(summary.failures) - _SHOWN} more; --json and the journal have them all.")
    if summary.failures:
        console.note("run the same command again to ask only those that have no answer.")
    console.show(f"written to {summary.out}; next: herdwise train --outcomes {summary.out} --out ROUTER")


def _or_unknown(value: int | None) -> str:
    return "unknown" if value is None else str(value)


def _usd(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"

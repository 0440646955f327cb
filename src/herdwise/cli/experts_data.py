"""``herdwise experts synthesise`` and ``curate``: data for an expert to learn from."""

from __future__ import annotations

from pathlib import Path

import typer

from herdwise.cli import console
from herdwise.cli.experts_inputs import (
    ConfigFile,
    Json,
    Ledger,
    MaxRefused,
    Outcomes,
    Seed,
    SourceWeight,
    read_tables,
    source_weights,
    wire,
)

_SHOWN = 5
_SHOWN_CHARS = 90


def register(group: typer.Typer) -> None:
    """Add the commands."""

    @group.command()
    def synthesise(
        teacher: str = typer.Option(
            ..., "--teacher", help="Candidate of the config that writes and answers."
        ),
        out: Path = typer.Option(
            ..., "--out", help="Folder: examples.jsonl, and the journal of what was paid."
        ),
        config: ConfigFile = Path("herdwise.yaml"),
        outcomes: Outcomes = None,
        ledger: Ledger = None,
        cluster: int | None = typer.Option(
            None, "--cluster", help="Its number by select; the weakest if left out."
        ),
        clusters: int | None = typer.Option(None, "--clusters", min=2, help="Clusters to look at."),
        n: int = typer.Option(1000, "--n", min=1, help="New queries."),
        task: str = typer.Option("", "--task", help="What the queries are about, in words."),
        reasoning: bool = typer.Option(False, "--reasoning", help="Keep the steps to the answers too."),
        samples: int = typer.Option(
            1, "--samples", min=1, help="Answers per query; the most frequent counts."
        ),
        budget_usd: float | None = typer.Option(
            None, "--budget-usd", min=0, help="Most that it may cost in all."
        ),
        max_tokens: int = typer.Option(1024, "--max-tokens", min=1, help="Of a reply."),
        concurrency: int = typer.Option(4, "--concurrency", min=1, help="Asks at a time."),
        max_refused: MaxRefused = None,
        dry_run: bool = typer.Option(False, "--dry-run", help="Say what it would take, and ask nothing."),
        seed: Seed = 0,
        as_json: Json = False,
    ) -> None:
        """Have a teacher write queries like those of a weak cluster, and answer them.

        Run it again after an interruption: what was paid for is never asked again.
        """
        from herdwise.encoding.base import ENCODERS
        from herdwise.experts.examples import write_examples
        from herdwise.experts.set_aside import MAX_SHARE
        from herdwise.experts.sources import Lesson, estimate, from_teacher
        from herdwise.experts.weakness import choose_target

        wired = wire(config)
        candidate = wired.candidate(teacher)
        table = read_tables(outcomes or [], ledger, out)
        encoder = ENCODERS.create("static").fit(table.texts)
        target = choose_target(table, encoder, n_clusters=clusters, cluster=cluster, seed=seed)
        if target is None:
            _nothing("no cluster of the herd's queries is weak: nothing to gain.", as_json=as_json)
            return
        lesson = Lesson(
            n=n,
            task=task,
            reasoning=reasoning,
            samples=samples,
            budget_usd=budget_usd,
            max_tokens=max_tokens,
            concurrency=concurrency,
            max_refused=MAX_SHARE if max_refused is None else max_refused,
            seed=seed,
        )
        words = " ".join(target.weakness.words[:4])
        if dry_run:
            told = estimate(target, table, candidate, lesson)
            if as_json:
                console.emit_json({"dry_run": True, "asks": told.n_asks, "most_usd": told.most_usd})
                return
            usd = "unknown" if told.most_usd is None else f"{told.most_usd:.4f}"
            console.show(
                f"cluster {target.weakness.cluster} ({words}): {told.n_asks} asks of {teacher},"
                f" at most {usd} USD"
            )
            return
        with console.stages() as progress:
            source = from_teacher(
                candidate,
                lambda: wired.reach(teacher),
                lesson,
                identity=wired.identity(teacher),
                progress=progress,
                note=console.warn,
            )
            examples = source(target, table, out)
        write_examples(out / "examples.jsonl", examples)
        if as_json:
            console.emit_json(
                {
                    "status": "done",
                    "examples": len(examples),
                    "set_aside": len((out / "set_aside.jsonl").read_bytes().splitlines()),
                    "out": str(out / "examples.jsonl"),
                }
            )
            return
        console.show(f"{len(examples)} examples for cluster {target.weakness.cluster} ({words}) -> {out}")
        console.show(f"Next: herdwise experts curate --examples {out}/examples.jsonl --out curated.jsonl")

    @group.command()
    def curate(
        examples: list[Path] = typer.Option(..., "--examples", help="JSONL of examples; may be repeated."),
        out: Path = typer.Option(
            ..., "--out", help="JSONL of those that are kept; beside it, those dropped."
        ),
        outcomes: Outcomes = None,
        ledger: Ledger = None,
        held_out: list[str] = typer.Option(
            [], "--held-out", help="Outcome folder that is measured on: nothing like its queries is kept."
        ),
        config: ConfigFile = Path("herdwise.yaml"),
        voter: list[str] = typer.Option([], "--voter", help="Candidate whose answer must agree; repeatable."),
        min_votes: int = typer.Option(1, "--min-votes", min=1, help="Voters that must agree."),
        repeat_similarity: float = typer.Option(0.9, min=0.1, max=1, help="From which on queries repeat."),
        source_weight: SourceWeight = None,
        max_bytes: int = typer.Option(4000, "--max-bytes", min=1, help="Longest query with its answer."),
        seed: Seed = 0,
        as_json: Json = False,
    ) -> None:
        """Drop repeats, contradictions, leaks and answers that nobody else gives; weigh sources."""
        import msgspec

        from herdwise.experts.curate import CurateSettings
        from herdwise.experts.curate import curate as choose
        from herdwise.experts.examples import read_examples, write_examples
        from herdwise.experts.trial import held_back
        from herdwise.experts.voting import vote
        from herdwise.storage.outcomes import read_outcomes
        from herdwise.storage.whole_files import write_whole

        given = [example for path in examples for example in read_examples(path)]
        texts: list[str] = [text for name in held_out for text in read_outcomes(name).texts]
        if outcomes or ledger:
            table = read_tables(outcomes or [], ledger, out.parent)
            back = held_back(table.texts)
            texts += [text for text, held in zip(table.texts, back, strict=True) if held]
        votes = {}
        if voter:
            wired = wire(config)
            with console.stages() as progress:
                for name in voter:
                    votes[name] = vote(
                        wired.candidate(name),
                        lambda name=name: wired.reach(name),  # type: ignore[misc]
                        [example.query for example in given],
                        out.parent / f"{out.stem}.votes" / f"{name}.jsonl",
                        identity=wired.identity(name),
                        note=lambda text, name=name: console.warn(f"{name}: {text}"),  # type: ignore[misc]
                        progress=lambda done, total, name=name: progress(f"ask {name}", done, total),  # type: ignore[misc]
                    )
        settings = CurateSettings(
            max_bytes=max_bytes,
            repeat_similarity=repeat_similarity,
            min_votes=min_votes,
            source_weights=source_weights(source_weight or []),
        )
        found = choose(given, held_out=texts, votes=votes, settings=settings, seed=seed)
        write_examples(out, found.examples)
        dropped = out.with_name(f"{out.stem}.dropped.jsonl")
        write_whole(dropped, b"".join(msgspec.json.encode(each) + b"\n" for each in found.dropped))
        if as_json:
            console.emit_json(
                {
                    "kept": len(found.examples),
                    "dropped": found.counts,
                    "notes": found.notes,
                    "out": str(out),
                    "dropped_out": str(dropped),
                }
            )
            return
        console.show(f"{len(found.examples)} of {len(given)} examples are kept -> {out}")
        console.table("", ["dropped for", "examples"], list(found.counts.items()))
        for each in found.dropped[:_SHOWN]:
            console.show(f"  {each.why}: {' '.join(each.query.split())[:_SHOWN_CHARS]} ({each.detail[:80]})")
        console.show(f"All that was dropped: {dropped}")


def _nothing(words: str, *, as_json: bool) -> None:
    if as_json:
        console.emit_json({"status": "nothing to gain", "words": words})
    else:
        console.show(words)

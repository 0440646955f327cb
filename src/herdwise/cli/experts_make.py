"""``herdwise experts make``: from a weakness of the herd to an expert in it; or a whole herd by a recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from herdwise.cli import console
from herdwise.cli.experts_admit import Endpoint, Reload, running_endpoint, say_enlisted, say_verdict
from herdwise.cli.experts_inputs import (
    SERVED,
    Base,
    Batch,
    ConfigFile,
    Context,
    Grader,
    GraderOption,
    Heads,
    Json,
    Kind,
    Layers,
    Ledger,
    LoraRank,
    MaxRefused,
    Outcomes,
    PolicyName,
    Rate,
    Seed,
    SourceWeight,
    Steps,
    Threads,
    Width,
    Wired,
    check_config,
    embedded_backend,
    read_tables,
    source_weights,
    training_settings,
    wire,
)

if TYPE_CHECKING:
    from herdwise.experts.enlist import Enlisted
    from herdwise.experts.order import Made, Source
    from herdwise.experts.sources import Lesson

#: Tokens of a context that hold no text: marks of question, answer and end, and one to spare.
_MARKS = 4


def register(group: typer.Typer) -> None:
    """Add the command."""

    @group.command()
    def make(
        out: Path = typer.Option(..., "--out", help="Folder of the expert; an interrupted run is resumed."),
        name: str | None = typer.Option(None, "--name", help="Of the new candidate."),
        recipe: str | None = typer.Option(
            None, "--recipe", help="nano: train the shipped herd anew instead."
        ),
        workers: int = typer.Option(2, "--workers", min=1, help="With --recipe: models trained at a time."),
        config: ConfigFile = Path("herdwise.yaml"),
        outcomes: Outcomes = None,
        ledger: Ledger = None,
        teacher: str | None = typer.Option(None, "--teacher", help="Candidate that writes the examples."),
        examples: Path | None = typer.Option(None, "--examples", help="JSONL of examples, in its place."),
        family: str | None = typer.Option(
            None, "--family", help="Task family that gives them, in its place."
        ),
        n: int = typer.Option(2000, "--n", min=1, help="Examples that teacher or family give."),
        task: str = typer.Option("", "--task", help="What the queries are about, in words, for the teacher."),
        reasoning: bool = typer.Option(False, "--reasoning", help="Learn the steps to the answers too."),
        samples: int = typer.Option(1, "--samples", min=1, help="The teacher's answers per query."),
        budget_usd: float | None = typer.Option(None, "--budget-usd", min=0, help="Most for the teacher."),
        max_refused: MaxRefused = None,
        clusters: int | None = typer.Option(None, "--clusters", min=2, help="Clusters to look at."),
        cluster: int | None = typer.Option(None, "--cluster", help="Its number; the weakest if left out."),
        voter: list[str] = typer.Option([], "--voter", help="Candidate whose answer must agree; repeatable."),
        judge_steps: int = typer.Option(
            0, "--judge-steps", min=0, help="Steps of a half-sized judge that doubts examples; 0 = none."
        ),
        source_weight: SourceWeight = None,
        kind: Kind = "scratch",
        base: Base = None,
        width: Width = 96,
        layers: Layers = 4,
        heads: Heads = 4,
        context: Context = 192,
        steps: Steps = 2000,
        batch: Batch = 32,
        lr: Rate = 2e-3,
        threads: Threads = 1,
        lora_rank: LoraRank = 8,
        merge_with: list[Path] = typer.Option(
            [], "--merge-with", help="Model or adapter of the same base to fold in. May be repeated."
        ),
        merge_method: str = typer.Option("ties", "--merge-method", help="linear, task_arithmetic or ties."),
        int8: bool = typer.Option(True, "--int8/--float16", help="How the weights are stored."),
        grader: Grader = "exact",
        grader_option: GraderOption = None,
        policy: PolicyName = None,
        probes: int = typer.Option(
            400, "--probes", min=0, help="Queries it is asked for the router to learn."
        ),
        measured: int = typer.Option(
            2000, "--measured", min=1, help="Held-back queries to measure on, at most."
        ),
        join: bool = typer.Option(True, "--enlist/--no-enlist", help="Enlist it where it is admitted."),
        endpoint: str | None = Endpoint,
        reload: bool = Reload,
        seed: Seed = 0,
        as_json: Json = False,
    ) -> None:
        """Find the herd's worst weakness, make an expert for it, and enlist it where the herd gains by it.

        Exit code 0: enlisted, refused, or nothing to gain; the words and --json's status say which.
        """
        from herdwise.config.options import read_options
        from herdwise.core.errors import ConfigError
        from herdwise.experts.curate import CurateSettings
        from herdwise.experts.enlist import enlist
        from herdwise.experts.order import Order
        from herdwise.experts.pipeline import make as make_expert
        from herdwise.experts.proving import ProofSettings
        from herdwise.experts.set_aside import MAX_SHARE
        from herdwise.experts.sources import Lesson

        if recipe is not None:
            _by_recipe(recipe, out, seed, workers, as_json=as_json)
            return
        if merge_method not in {"linear", "task_arithmetic", "ties"}:
            raise ConfigError(
                f"there is no merging by {merge_method!r} here.",
                remedy="Known: linear, task_arithmetic, ties.",
            )
        if name is None:
            raise ConfigError("the expert has no name.", remedy="Give --name, or --recipe nano.")
        wired = wire(config)
        # What would fail in the end had better fail now.
        running = running_endpoint(wired.config, endpoint) if join and reload else None
        training = training_settings(
            kind, width, layers, heads, context, steps, batch, lr, threads, lora_rank, seed
        )
        judge = None
        if judge_steps:
            judge = replace(training, kind="scratch", width=max(8, width // 2), steps=judge_steps)
        with console.stages() as progress:
            source, told = _source(
                wired,
                examples,
                family,
                teacher,
                Lesson(
                    n=n,
                    task=task,
                    reasoning=reasoning,
                    samples=samples,
                    budget_usd=budget_usd,
                    max_refused=MAX_SHARE if max_refused is None else max_refused,
                    seed=seed,
                ),
                progress,
            )
            made = make_expert(
                Order(
                    name=name,
                    out=out,
                    table=read_tables(outcomes or [], ledger, out, once=True),
                    herd=wired.herd,
                    source=source,
                    source_inputs=told,
                    reach=wired.reach,
                    reach_expert=embedded_backend(name),
                    identify=wired.identity,
                    weak_in=() if ledger is None else (SERVED,),
                    training=training,
                    base=base,
                    curation=CurateSettings(
                        max_bytes=context - _MARKS,
                        # A teacher may wander; a file or a family was chosen by somebody.
                        min_relevance=CurateSettings().min_relevance if teacher is not None else None,
                        source_weights=source_weights(source_weight or []),
                    ),
                    voters=tuple(voter),
                    judge=judge,
                    merge_with=tuple(merge_with),
                    merge_method=merge_method,  # type: ignore[arg-type]
                    quantised=int8,
                    reasoning=reasoning,
                    clusters=clusters,
                    cluster=cluster,
                    proof=ProofSettings(
                        goals=wired.goals,
                        **wired.policy(policy),
                        encoder=wired.encoder,
                        predictor=wired.predictor,
                        grader=grader,
                        grader_options=read_options(grader_option or []),
                        n_probes=probes,
                        n_measured=measured,
                    ),
                    seed=seed,
                ),
                progress=progress,
            )
        joined = None
        if join and made.entry is not None and made.router is not None:
            joined = enlist(config, made.entry, made.router, check=check_config, running=running)
        _say(made, joined, out, as_json=as_json)


def _source(
    wired: Wired,
    examples: Path | None,
    family: str | None,
    teacher: str | None,
    lesson: Lesson,
    progress: Callable[[str, int, int], None],
) -> tuple[Source, dict[str, object]]:
    from herdwise.core.errors import ConfigError
    from herdwise.experts.examples import digest_of, read_examples
    from herdwise.experts.sources import from_family, from_file, from_teacher

    if sum(given is not None for given in (teacher, examples, family)) != 1:
        raise ConfigError(
            "what the expert learns from is not clear.",
            remedy="Give one of --teacher NAME, --examples FILE and --family NAME.",
        )
    if family is not None:
        return from_family(family, lesson.n, seed=lesson.seed), {"family": family, "n": lesson.n}
    if examples is not None:
        return from_file(examples), {"examples": digest_of(read_examples(examples))}
    asked = str(teacher)
    source = from_teacher(
        wired.candidate(asked),
        lambda: wired.reach(asked),
        lesson,
        identity=wired.identity(asked),
        progress=progress,
        note=console.warn,
    )
    deciding = ("n", "task", "reasoning", "samples", "budget_usd")
    return source, {"teacher": wired.identity(asked)} | {key: getattr(lesson, key) for key in deciding}


def _by_recipe(recipe: str, out: Path, seed: int, workers: int, *, as_json: bool) -> None:
    from herdwise.core.errors import UnknownNameError
    from herdwise.experts.recipe import MemberProgress, make_nano

    if recipe != "nano":
        raise UnknownNameError(f"there is no recipe {recipe!r}.", remedy="Known: nano.")
    with console.stages() as update:

        def progress(members: list[MemberProgress]) -> None:
            for member in members:
                update(member.name, member.step, member.steps)

        folders = make_nano(out, seed=seed, workers=workers, progress=lambda m: progress(list(m)))
    if as_json:
        console.emit_json({"status": "done", "models": {folder.name: str(folder) for folder in folders}})
        return
    console.show(f"{len(folders)} models -> {out}: {', '.join(folder.name for folder in folders)}")


def _say(made: Made, joined: Enlisted | None, out: Path, *, as_json: bool) -> None:
    status = "enlisted" if joined is not None else made.status
    if as_json:
        console.emit_json(
            {
                "status": status,
                "step": made.step,
                "words": made.words,
                "out": str(out),
                "weakness": None if made.target is None else made.target.weakness,
                "verdict": made.verdict,
                "entry": made.entry,
                "enlisted": joined,
                "steps_done": made.done,
                "steps_kept": made.kept,
            }
        )
        return
    if made.kept:
        console.note(f"done before: {', '.join(made.kept)}")
    if made.target is not None:
        w = made.target.weakness
        console.show(
            f"Weakness: cluster {w.cluster} ({' '.join(w.words[:4])}), {w.n} queries;"
            f" {w.best_candidate} is best there with {100 * w.best_quality:.1f}%."
        )
    if made.verdict is None:
        console.show(f"{made.step}: {made.words}")
        return
    say_verdict(made.verdict)
    if joined is not None:
        say_enlisted(joined)

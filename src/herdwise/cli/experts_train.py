"""``herdwise experts finetune``, ``merge``, ``quantise``, ``gguf``: from examples to a model."""

from __future__ import annotations

from pathlib import Path

import typer

from herdwise.cli import console
from herdwise.cli.experts_inputs import (
    Base,
    Batch,
    Context,
    Heads,
    Json,
    Kind,
    Layers,
    LoraRank,
    Rate,
    Seed,
    Steps,
    Threads,
    Width,
    training_settings,
)


def register(group: typer.Typer) -> None:
    """Add the commands."""

    @group.command()
    def finetune(
        examples: Path = typer.Option(..., "--examples", help="JSONL of examples."),
        out: Path = typer.Option(..., "--out", help="Model folder; an interrupted training is resumed."),
        held_out: Path | None = typer.Option(None, "--held-out", help="JSONL of examples to report on."),
        reasoning: bool = typer.Option(False, "--reasoning", help="Learn the steps to the answers too."),
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
        seed: Seed = 0,
        as_json: Json = False,
    ) -> None:
        """Train a nano model on examples: from scratch, or all of a base, or LoRA on it. Needs torch."""
        from herdwise.experts.examples import Example, read_examples
        from herdwise.experts.finetune import TrainingProgress
        from herdwise.experts.finetune import finetune as train

        def rows(found: list[Example]) -> list[tuple[str, str, float]]:
            return [(e.query, e.target(with_reasoning=reasoning), e.weight) for e in found if e.weight > 0]

        settings = training_settings(
            kind, width, layers, heads, context, steps, batch, lr, threads, lora_rank, seed
        )
        with console.stages() as update:

            def progress(at: TrainingProgress) -> None:
                update("fine-tune", at.step, at.steps)

            report = train(
                rows(read_examples(examples)),
                out,
                settings,
                base=base,
                held_out=None if held_out is None else rows(read_examples(held_out)),
                progress=progress,
            )
        if as_json:
            console.emit_json(report)
            return
        console.show(
            f"{report.n_params:,} parameters learned {report.n_items:,} examples in {report.steps:,} steps"
            f" ({report.cpu_s:.0f} CPU seconds, loss {report.loss:.3f}) -> {out}"
        )
        if report.held_out_exact is not None:
            console.show(
                f"{100 * report.held_out_exact:.1f}% of {report.n_held_out} held-out answers are exact."
            )

    @group.command()
    def merge(
        parts: list[Path] = typer.Argument(..., help="Model folders or LoRA adapters, made from the base."),
        base: Path = typer.Option(..., "--base", help="Model folder that all of them started from."),
        out: Path = typer.Option(..., "--out", help="Model folder; with emr, a folder of one per part."),
        method: str = typer.Option("ties", "--method", help="linear, task_arithmetic, ties or emr."),
        weight: list[float] = typer.Option([], "--weight", help="Of each part, in order; linear only."),
        scale: float | None = typer.Option(None, "--scale", help="Of the sum; task_arithmetic and ties."),
        density: float = typer.Option(0.2, "--density", min=0.01, max=1, help="Share that ties keeps."),
        as_json: Json = False,
    ) -> None:
        """Fold models that were fine-tuned from one base into one."""
        from herdwise.experts.merge_folders import merge_folders

        report = merge_folders(
            base,
            parts,
            out,
            method,  # type: ignore[arg-type]
            weights=weight or None,
            scale=scale,
            density=density,
        )
        if as_json:
            console.emit_json(report)
            return
        console.show(f"{len(report.parts)} parts merged by {report.method} -> {', '.join(report.folders)}")
        console.table(
            "Cosines of what the parts changed",
            ["", *(Path(part).name for part in report.parts)],
            [
                (Path(part).name, *(f"{value:.2f}" for value in row))
                for part, row in zip(report.parts, report.cosines, strict=True)
            ],
        )

    @group.command()
    def quantise(
        model: Path = typer.Argument(..., help="Model folder."),
        out: Path = typer.Option(..., "--out", help="Folder of the int8 model."),
        prompts: Path | None = typer.Option(
            None, "--examples", help="JSONL of examples whose queries both are asked."
        ),
        as_json: Json = False,
    ) -> None:
        """Store a model's weights as int8, a scale per row."""
        from herdwise.experts.examples import read_examples
        from herdwise.experts.quantise import quantise as shrink

        asked = [] if prompts is None else [example.query for example in read_examples(prompts)]
        report = shrink(model, out, prompts=asked)
        if as_json:
            console.emit_json(report)
            return
        console.show(
            f"{report.bytes_before:,} -> {report.bytes_after:,} bytes, rounding {100 * report.error:.2f}%"
            f" of the weights' size, {100 * report.worst_error:.2f}% in {report.worst} -> {out}"
        )
        if report.same_answers is not None:
            console.show(f"{100 * report.same_answers:.1f}% of {report.n_prompts} answers are the same.")

    @group.command()
    def gguf(
        model: Path = typer.Argument(..., help="Model folder."),
        out: Path = typer.Option(..., "--out", help="The GGUF file."),
        dtype: str = typer.Option("float16", "--dtype", help="Of the matrices: float16 or float32."),
        as_json: Json = False,
    ) -> None:
        """Write a nano model as a GGUF file, for llama.cpp and its like. Needs the package gguf."""
        from herdwise.core.errors import ConfigError
        from herdwise.experts.gguf_file import write_gguf

        if dtype not in {"float16", "float32"}:
            raise ConfigError(f"--dtype {dtype!r} is not known.", remedy="It is float16 or float32.")
        path = write_gguf(model, out, dtype=dtype)  # type: ignore[arg-type]
        told = {"file": str(path), "bytes": path.stat().st_size}
        if as_json:
            console.emit_json(told)
            return
        console.show(f"{told['bytes']:,} bytes -> {path}")

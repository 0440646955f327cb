"""``herdwise train``: learn a router from recorded outcomes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import typer

from herdwise.cli import console


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def train(
        outcomes: list[str] = typer.Option(
            ..., "--outcomes", help="Outcome folder or shipped name; give it again to learn from several."
        ),
        out: Path = typer.Option(..., "--out", help="Where the router folder goes."),
        train_split: str = typer.Option(
            "train", help="Split to learn from; 'all' for every query. A folder without splits is used whole."
        ),
        quality_column: str = typer.Option("quality", help="Column to learn: quality or correct."),
        candidates: str | None = typer.Option(None, help="Only these, comma-separated."),
        max_params_b: float | None = typer.Option(None, help="Only candidates of at most this total size."),
        max_active_params_b: float | None = typer.Option(
            None, help="Only candidates of at most this active size."
        ),
        open_weights_only: bool = typer.Option(False, "--open-weights-only", help="Only open weights."),
        encoder: str = typer.Option("static", help="Registered encoder."),
        predictor: str = typer.Option("stack", help="Registered predictor."),
        encoder_option: list[str] = typer.Option(
            [], help="key=value for the encoder, ${NAME} from the environment; may be given again."
        ),
        predictor_option: list[str] = typer.Option([], help="key=value for the predictor."),
        keep_texts: bool = typer.Option(
            True, help="Keep the beginnings of the queries in the router, to explain decisions by."
        ),
        fusion: bool = typer.Option(
            True, help="Learn what answers are worth, where the outcomes record them (auto/consult needs it)."
        ),
        seed: int = typer.Option(0, min=0, help="Seed of every random choice."),
        as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
    ) -> None:
        """Learn quality, cost and length of each candidate, and save a router."""
        import time
        from dataclasses import asdict

        from herdwise.config.options import read_options
        from herdwise.core.decision import Constraints
        from herdwise.core.merge import merge
        from herdwise.core.outcomes import OutcomeTable
        from herdwise.encoding.base import ENCODERS
        from herdwise.evaluation.selection import select_candidates
        from herdwise.prediction.base import PREDICTORS
        from herdwise.routing.router import Router
        from herdwise.storage.outcomes import read_texts, read_training_outcomes
        from herdwise.storage.router_folder import refuse_others

        refuse_others(out)
        tables: list[OutcomeTable] = []
        for name in outcomes:
            table = read_training_outcomes(name, quality_column, answers=fusion)
            for warning in table.warnings:
                console.warn(f"{name}: {warning}")
            tables.append(table.split(train_split) if train_split != "all" and table.split_names() else table)
        table = merge(tables)

        def completions(query_ids: Collection[str]) -> Mapping[tuple[str, str], str]:
            found: dict[tuple[str, str], str] = {}
            for name in reversed(outcomes):  # the first folder that has a query counts, as in merge
                found |= read_texts(name, query_ids)
            return found

        named = (
            None if candidates is None else frozenset(n.strip() for n in candidates.split(",") if n.strip())
        )
        limits = Constraints(
            max_params_b=max_params_b,
            max_active_params_b=max_active_params_b,
            open_weights_only=open_weights_only,
            candidates=named,
        )
        table, excluded = select_candidates(table, limits)
        started = time.perf_counter()
        with console.stages() as progress:
            router = Router.fit(
                table,
                encoder=ENCODERS.create(encoder, **read_options(encoder_option)),
                predictor=PREDICTORS.create(predictor, **read_options(predictor_option)),
                quality_column=quality_column,
                seed=seed,
                keep_texts=keep_texts,
                fusion=fusion,
                completions=completions,
                progress=progress,
            )
        seconds = time.perf_counter() - started
        excluded |= {
            name: f"no graded outcome in column {quality_column!r}"
            for name in table.herd.names
            if name not in router.herd
        }
        router.save(out)
        facts = router.facts
        if as_json:
            console.emit_json(
                {
                    "router": str(out),
                    "fit_s": round(seconds, 3),
                    "excluded": excluded,
                    "herd": router.herd.names,
                    "encoder": router.encoder.name,
                    "predictor": router.predictor.name,
                    "fusion": router.fusion is not None,
                    "signals": list(router.worth.kept_),
                    **asdict(facts),
                }
            )
            return
        herd = "1 candidate" if len(router.herd) == 1 else f"{len(router.herd)} candidates"
        console.show(
            f"Learned {herd} from {facts.n_queries:,} queries "
            f"({facts.n_outcomes:,} graded outcomes) in {seconds:.1f} s -> {out}"
        )
        if router.fusion is not None:
            console.show("Learned from recorded answers what each is worth: auto/consult can be asked for.")
        elif fusion:
            console.note("no fusion was learned: too few recorded answers of several candidates")
        if router.worth.kept_:
            console.show(f"Signals of an answer that tell right from wrong: {', '.join(router.worth.kept_)}.")
        for name, reason in excluded.items():
            console.note(f"left out: {name} ({reason})")
        console.show(f"Measure it: herdwise evaluate --outcomes {outcomes[0]} --router {out}")

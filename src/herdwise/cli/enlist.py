"""``herdwise enlist``: add, exchange or remove a candidate of a trained router, without training again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from herdwise.cli import console

if TYPE_CHECKING:
    from herdwise.core.candidate import Candidate
    from herdwise.core.outcomes import OutcomeTable
    from herdwise.routing.enlist import Admission
    from herdwise.routing.router import Router

_SHOWN_CHARS = 90
_ALIKE = 5


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def enlist(
        candidate: str | None = typer.Argument(None, help="Who is to join the herd."),
        router: Path = typer.Option(..., "--router", help="A trained router."),
        probe: int | None = typer.Option(
            None, "--probe", min=1, help="Say which N recorded queries to score first, and change nothing."
        ),
        outcomes: str | None = typer.Option(
            None,
            "--outcomes",
            help="Folder with the candidate's graded outcomes; with --probe, the training folder.",
        ),
        training: str | None = typer.Option(
            None, "--training", help="Training folder, for a router that keeps no queries."
        ),
        split: str = typer.Option("train", help="Split of the folders to use; 'all' for every query."),
        remove: str | None = typer.Option(
            None, "--remove", help="Take this one out of the herd; with CANDIDATE, exchange the two."
        ),
        out: Path | None = typer.Option(
            None,
            "--out",
            help="Where the router goes (default: in place); with --probe: items.jsonl to profile.",
        ),
        dry_run: bool = typer.Option(False, "--dry-run", help="Say what would be predicted; write nothing."),
        params_b: float | None = typer.Option(None, help="Total parameters, in billions."),
        active_params_b: float | None = typer.Option(None, help="Active parameters, in billions."),
        open_weights: bool | None = typer.Option(
            None, "--open-weights/--closed-weights", help="Its weights."
        ),
        price_in: float | None = typer.Option(None, min=0, help="USD per million input tokens."),
        price_out: float | None = typer.Option(None, min=0, help="USD per million output tokens."),
        as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
    ) -> None:
        """Admit a candidate from 10 to 100 scored queries; say which to score; remove or exchange one."""
        from herdwise.core.errors import ConfigError
        from herdwise.routing.router import Router

        if candidate is None and remove is None:
            raise ConfigError("nobody is named.", remedy="Name a CANDIDATE to enlist, or one to --remove.")
        known = Router.load(router)
        if probe is not None:
            if candidate is None:
                raise ConfigError("--probe needs the CANDIDATE that is to be scored.")
            _say_probes(known, candidate, probe, outcomes, split, out, remove, as_json=as_json)
            return
        if candidate is not None and outcomes is None:
            raise ConfigError(
                f"what {candidate!r} answered is missing.",
                remedy="Give its outcomes with --outcomes DIR, or ask with --probe N which queries to score.",
            )
        known = known if remove is None else known.remove(remove)
        admission = None
        if candidate is not None and outcomes is not None:
            facts = {"params_b": params_b, "active_params_b": active_params_b, "open_weights": open_weights}
            table = _read(outcomes, split)
            described = _described(table, candidate, facts, price_in, price_out)
            admission = known.consider(described, table, None if training is None else _read(training, split))
            known = known.admit(admission)
        written = None if dry_run else out or router
        if written is not None:
            known.save(written)
        if as_json:
            console.emit_json(_as_json(known, admission, remove, written))
        else:
            _say(known, admission, remove, written)


def _read(name: str, split: str) -> OutcomeTable:
    from herdwise.storage.outcomes import read_outcomes

    table = read_outcomes(name)
    for warning in table.warnings:
        console.warn(f"{name}: {warning}")
    return table.split(split) if split != "all" and table.split_names() else table


def _described(
    table: OutcomeTable,
    name: str,
    facts: dict[str, Any],
    price_in: float | None,
    price_out: float | None,
) -> Candidate:
    """What the folder tells of the candidate, and what the options add."""
    from herdwise.core.candidate import Candidate
    from herdwise.core.errors import ConfigError
    from herdwise.core.money import Price

    candidate = table.herd.get(name) or Candidate(name)
    candidate = candidate.replace(**{key: value for key, value in facts.items() if value is not None})
    if (price_in is None) != (price_out is None):
        raise ConfigError("half a price is no price.", remedy="Give both --price-in and --price-out.")
    return candidate if price_in is None else candidate.replace(price=Price(price_in, price_out))


# -- which queries to score ---------------------------------------------------------------------------


def _say_probes(
    router: Router,
    candidate: str,
    n: int,
    outcomes: str | None,
    split: str,
    out: Path | None,
    remove: str | None,
    *,
    as_json: bool,
) -> None:
    import numpy as np

    from herdwise.core.errors import ConfigError, InputError
    from herdwise.routing.enlist import choose_probes, recorded_by

    if candidate in router.trained and candidate != remove:
        raise InputError(
            f"candidate {candidate!r} is already in the herd.",
            remedy=f"To exchange it, add --remove {candidate}.",
        )
    table = None if outcomes is None else _read(outcomes, split)
    allowed = None
    if out is not None:
        if table is None or table.references is None or not any(table.references):
            raise ConfigError(
                "items to profile need whole texts and references to grade by.",
                remedy="Give --outcomes with a folder that has `reference`, or leave --out away.",
            )
        allowed = np.array([reference is not None for reference in table.references])
    recorded = recorded_by(router, table)
    rows = choose_probes(recorded, n, allowed=allowed).tolist()
    if len(rows) < n:
        console.warn(f"there are only {len(rows)} queries to choose from.")
    probes = [
        {"id": recorded.query_ids[i], "benchmark": recorded.benchmarks[i], "text": recorded.texts[i]}
        for i in rows
    ]
    if out is not None and table is not None:
        _write_items(out, table, rows)
    if as_json:
        console.emit_json(
            {
                "candidate": candidate,
                "items": None if out is None else str(out),
                "probes": probes,
            }
        )
        return
    console.table(
        f"Score {candidate} on these {len(probes)} queries, the most telling first",
        ["query", "benchmark", "text"],
        [(p["id"], p["benchmark"], " ".join(p["text"].split())[:_SHOWN_CHARS]) for p in probes],
        left=(0, 1, 2),
    )
    if out is not None:
        console.show(
            f"Wrote {out}. Ask it: herdwise profile --items {out} --candidates {candidate} --out DIR"
        )
    console.show(f"Then admit it: herdwise enlist {candidate} --router ROUTER --outcomes DIR")


def _write_items(path: Path, table: OutcomeTable, rows: list[int]) -> None:
    """Items for ``herdwise profile``, by the ids that the training outcomes have."""
    import msgspec

    from herdwise.core.errors import ConfigError
    from herdwise.storage.whole_files import write_whole

    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent}.", remedy="Make it, or choose another --out.")
    references = table.references or []
    lines = []
    for row in rows:
        reference = str(references[row])
        lettered = len(reference) == 1 and f"\n{reference}. " in f"\n{table.texts[row]}"
        item = {
            "id": table.query_ids[row],
            "question": table.texts[row],
            "answer": reference,
            "grader": "choice" if lettered else "exact",
            "benchmark": table.benchmarks[row],
            "split": "train",
        }
        lines.append(msgspec.json.encode(item) + b"\n")
    write_whole(path, b"".join(lines))


# -- what was found ------------------------------------------------------------------------------------


def _as_json(
    router: Router, admission: Admission | None, removed: str | None, written: Path | None
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "router": None if written is None else str(written),
        "herd": router.herd.names,
        "removed": removed,
        "enlisted": None,
    }
    if admission is not None:
        found["enlisted"] = {
            "candidate": admission.candidate.name,
            "n_probes": admission.n_probes,
            "quality": admission.level,
            "low": admission.low,
            "high": admission.high,
            "alike": dict(admission.alike[:_ALIKE]),
            "measured": admission.measured,
            "warnings": admission.warnings,
        }
    return found


def _say(router: Router, admission: Admission | None, removed: str | None, written: Path | None) -> None:
    if admission is not None:
        name, means = admission.candidate.name, router.facts.mean_micro
        for warning in admission.warnings:
            console.warn(warning)
        console.show(
            f"{name}: expected mean quality {100 * admission.level:.1f}%"
            f" (95%: {100 * admission.low:.1f} to {100 * admission.high:.1f}),"
            f" from {admission.n_probes} outcomes."
        )
        above = [other for other in router.herd.names if means.get(other, 0.0) > admission.level]
        console.show(f"{len(above)} of {len(router.herd) - 1} others are expected to be better.")
        console.table(
            "It answers most like",
            ["candidate", "probability %", "mean quality %"],
            [
                (other, f"{100 * share:.0f}", f"{100 * means[other]:.1f}" if other in means else None)
                for other, share in admission.alike[:_ALIKE]
            ],
        )
        known = ", ".join(admission.measured)
        console.show(
            f"Measured on the probes besides: {known}." if known else "No cost or length was measured."
        )
    if removed is not None:
        console.show(f"Removed {removed}.")
    if written is None:
        console.show("Dry run: nothing was written.")
    else:
        console.show(f"{len(router.herd)} candidates -> {written}")

"""What ``herdwise profile`` prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from herdwise.cli import console

if TYPE_CHECKING:
    from herdwise.profiling.profiler import Profiler
    from herdwise.profiling.run import Standing
    from herdwise.profiling.summary import ProfileSummary

#: Failed pairs shown by name; all of them are in the journal and in --json.
_SHOWN = 5
#: Characters of a text in a table.
_CELL = 80
_BASES = {"recorded": "as so far", "limit": "at most", "unknown": ""}


def told(standing: Standing) -> str:
    """Money and time of a run under way, for people."""
    spent = f"USD {_usd(standing.spent_usd)}"
    if standing.total_usd is not None:
        spent += f" of about {_usd(standing.total_usd)}"
    left = "" if standing.left_s is None else f", about {_duration(standing.left_s)} left"
    return spent + left


def show_estimate(profiler: Profiler, out: Path, *, as_json: bool) -> None:
    """The dry run's table."""
    from herdwise.profiling.estimate import estimate

    rows = estimate(profiler.plan, profiler.recorded(out))
    calls = sum(r.calls for r in rows)
    costs = [r.cost_usd for r in rows]
    total = None if None in costs else sum(c for c in costs if c is not None)
    times = [r.seconds for r in rows]
    seconds = None if None in times else max((t for t in times if t is not None), default=0.0)
    if as_json:
        console.emit_json(
            {
                "dry_run": True,
                "items": len(profiler.items),
                "calls": calls,
                "cost_usd": total,
                "seconds": seconds,
                "budget_usd": profiler.budget_usd,
                "candidates": rows,
            }
        )
        return
    console.table(
        f"{calls} calls to make",
        ["candidate", "calls", "input tokens", "output tokens", "", "USD", "time"],
        [
            (
                f"{r.candidate} (judge)" if r.judges else r.candidate,
                r.calls,
                _or_unknown(r.input_tokens),
                _or_unknown(r.output_tokens),
                _BASES[r.basis],
                _usd(r.cost_usd),
                "unknown" if r.seconds is None else _duration(r.seconds),
            )
            for r in rows
        ],
        left=(0, 4),
    )
    console.show(
        f"USD in all: {_usd(total)}. Time: {'unknown' if seconds is None else 'about ' + _duration(seconds)}."
    )
    if profiler.budget_usd is not None:
        fits = (
            "unknown whether they fit"
            if total is None
            else "fits"
            if total <= profiler.budget_usd
            else "too much"
        )
        console.show(f"Budget: {_usd(profiler.budget_usd)} USD, earlier runs included; this: {fits}.")
    if any(r.basis == "unknown" and r.calls for r in rows):
        console.show("The answers' length is unknown; --max-tokens bounds it.")


def show_summary(summary: ProfileSummary, *, as_json: bool) -> None:
    """The tables of a run that ended."""
    if as_json:
        console.emit_json(summary)
        return
    if summary.n_resumed:
        console.note(f"resumed: {summary.n_resumed} answers were there already.")
    if summary.torn:
        console.note("the journal's last line had been cut off; what it held was asked for again.")
    _candidates(summary)
    if len(summary.benchmarks) > 1:
        _benchmarks(summary)
    if summary.judges:
        rows = [(j.judge, j.n, _usd(j.cost_usd)) for j in summary.judges]
        console.table("judges", ["judge", "replies", "USD"], rows)
    console.show(f"USD in all: {_usd(summary.spent_usd)}.")
    _warnings(summary)
    for failure in summary.failures[:_SHOWN]:
        lacks = "was not judged on" if failure.error.startswith("judge_") else "has no answer to"
        console.warn(f"{failure.candidate} {lacks} {failure.item!r}: {failure.message}")
    if len(summary.failures) > _SHOWN:
        console.warn(f"and {len(summary.failures) - _SHOWN} more; --json and the journal have them all.")
    if summary.failures:
        console.note("run the same command again to ask only those that have no answer.")
    console.show(f"written to {summary.out}; next: herdwise train --outcomes {summary.out} --out ROUTER")


def show_wrong(profiler: Profiler, out: Path, n: int) -> None:
    """Some answers of each candidate that are not wholly right: what it, or the grader, gets wrong."""
    from herdwise.profiling.journal import read_journal
    from herdwise.profiling.profiler import JOURNAL

    record = read_journal(out / JOURNAL)
    for name in profiler.herd.names:
        rows: list[tuple[object, ...]] = []
        for (item, candidate, sample), grade in record.grades.items():
            answered = record.answers.get((item, candidate, sample))
            if candidate != name or answered is None or grade.quality == 1 or len(rows) == n:
                continue
            wanted = profiler.plan.by_id[item].reference
            said = grade.answer if grade.answer is not None else f"(unread) ...{answered.text[-_CELL:]}"
            quality = "ungraded" if grade.quality is None else f"{grade.quality:.2f}"
            rows.append((item, _cut(wanted), _cut(said), quality, _cut(grade.note)))
        if rows:
            columns = ["item", "reference", "answer", "quality", "note"]
            console.table(f"{name}: not wholly right", columns, rows, left=(0, 1, 2, 4))


def _cut(text: str | None) -> str | None:
    if text is None:
        return None
    flat = " ".join(text.split())
    return flat if len(flat) <= _CELL else f"{flat[: _CELL - 3]}..."


def _candidates(summary: ProfileSummary) -> None:
    rows = [
        (
            c.candidate,
            c.n,
            _percent(c.quality),
            _interval(c.low, c.high),
            c.n_unread,
            sum(n for kind, n in c.failures.items() if not kind.startswith("judge_")) + c.n_not_asked,
            None if c.latency_s is None else f"{c.latency_s:.3g}",
            _usd(c.cost_usd),
        )
        for c in summary.candidates
    ]
    splits = ", ".join(f"{n} {split}" for split, n in summary.splits.items())
    console.table(
        f"{summary.n_items} items ({splits})",
        ["candidate", "answers", "quality %", "95%", "unread", "not run", "s", "USD"],
        rows,
    )
    if len(summary.benchmarks) == 1 and len(summary.candidates) > 1:
        [figures] = summary.benchmarks
        if figures.oracle is not None:
            on = f"{figures.n_oracle} items that all have a grade on"
            console.show(f"Each item's best candidate (oracle): {_percent(figures.oracle)} % on the {on}.")


def _benchmarks(summary: ProfileSummary) -> None:
    rows: list[tuple[object, ...]] = []
    for figures in summary.benchmarks:
        rows += [
            (figures.benchmark, c.candidate, c.n, _percent(c.quality), _interval(c.low, c.high))
            for c in figures.candidates
        ]
        if len(figures.candidates) > 1 and figures.oracle is not None:
            rows.append((figures.benchmark, "oracle", figures.n_oracle, _percent(figures.oracle), None))
    console.table("by benchmark", ["benchmark", "candidate", "graded", "quality %", "95%"], rows, left=(0, 1))


def _warnings(summary: ProfileSummary) -> None:
    for c in summary.candidates:
        if c.gave_up is not None:
            console.warn(f"{c.candidate} was given up, {c.n_not_asked} not asked: {c.gave_up}")
        if c.n_truncated:
            console.warn(f"{c.candidate}: {c.n_truncated} answers hit the length limit; see --max-tokens.")
        if c.n_ungraded:
            console.warn(f"{c.candidate}: {c.n_ungraded} answers have no grade, and teach nothing.")
    for j in summary.judges:
        if j.gave_up is not None:
            console.warn(f"the judge {j.judge} was given up: {j.gave_up}")
        if any(c.candidate == j.judge for c in summary.candidates):
            console.warn(f"{j.judge} judged itself too; judges favour their own answers.")
    over = [c.candidate for c in summary.candidates if c.over_budget]
    over += [j.judge for j in summary.judges if j.over_budget and j.judge not in over]
    if over:
        n = sum(c.n_not_asked for c in summary.candidates)
        console.note(
            f"stopped at the budget of {_usd(summary.budget_usd)} USD ({', '.join(over)}), {n} not asked;"
            " run the same command with a larger one to go on."
        )


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:.1f}"


def _interval(low: float | None, high: float | None) -> str | None:
    return None if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def _or_unknown(value: int | None) -> str:
    return "unknown" if value is None else str(value)


def _usd(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:.4f}" if value >= 0.1 or value == 0 else f"{value:.8f}".rstrip("0")

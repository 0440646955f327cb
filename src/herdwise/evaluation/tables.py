"""An evaluation as tables for people, in percent: the command prints them, the report sets them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from herdwise.core.decision import CostKind
from herdwise.evaluation.figures import Evaluation

#: Unit of each kind of cost, per query.
COST_UNITS: dict[CostKind, str] = {
    "usd": "USD",
    "active_params": "billion active parameters",
    "latency": "s",
    "calls": "calls",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table; ``left`` names the left-aligned columns, a None cell is unknown."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | None]]
    left: tuple[int, ...] = (0,)


def headline(e: Evaluation) -> Table:
    """Router against its references."""
    gap = None if e.router.gap_recovered is None else f"{100 * e.router.gap_recovered:.1f}%"
    rows: list[Sequence[str | None]] = [
        ("random", percent(e.random.quality), None, None, None),
    ]
    if e.cheapest is not None:
        rows.append((f"cheapest: {e.cheapest.candidate}", percent(e.cheapest.quality), None, None, None))
    rows += [
        (
            f"best single: {e.best_single.candidate}",
            percent(e.best_single.quality),
            span(e.best_single.low, e.best_single.high),
            None,
            None,
        ),
        (
            f"router ({e.policy})",
            percent(e.router.quality),
            span(e.router.low, e.router.high),
            f"{100 * e.router.gain:+.1f} ({100 * e.router.gain_low:+.1f} to {100 * e.router.gain_high:+.1f})",
            gap,
        ),
        ("oracle (hindsight)", percent(e.oracle.quality), None, None, None),
    ]
    return Table(
        f"Quality on {e.n_test:,} held-out queries ({e.average} mean of {e.quality_column})",
        ("", "quality", "95% interval", "points over best single", "gap recovered"),
        rows,
    )


def benchmarks(e: Evaluation) -> Table:
    """Each benchmark, and both averages of the same picks."""
    rows: list[Sequence[str | None]] = [
        (name, f"{b.n:,}", percent(b.router), percent(b.best_single), percent(b.oracle))
        for name, b in e.benchmarks.items()
    ]
    rows += [
        (
            label,
            f"{e.n_test - e.n_test_unanswered:,}",
            percent(m.router),
            percent(m.best_single),
            percent(m.oracle),
        )
        for label, m in (("mean over queries (micro)", e.micro), ("mean over benchmarks (macro)", e.macro))
    ]
    return Table("Benchmarks", ("benchmark", "queries", "router", "best single", "oracle"), rows)


def economy(e: Evaluation) -> Table:
    """What routing costs, and how far its predictions can be trusted."""
    r = e.router
    return Table(
        "Cost and decisions",
        ("figure", "value"),
        [
            ("calls per query", f"{r.calls_per_query:.2f}"),
            ("effective size, billion active parameters", number(r.effective_params_b)),
            ("cost per query, USD", number(r.cost_usd)),
            (f"AIQ over {COST_UNITS[e.cost_kind]}, router", percent(r.aiq)),
            (f"AIQ over {COST_UNITS[e.cost_kind]}, zero router", percent(e.zero_router.aiq)),
            ("calibration error (ECE, 15 bins)", None if r.ece is None else f"{r.ece:.3f}"),
            ("confidence tells right from wrong (AUROC)", None if r.auroc is None else f"{r.auroc:.3f}"),
            ("quality of the most trusted half", percent(r.accuracy_at_half_coverage)),
            (
                "calibration error of the confidence",
                None if r.confidence_ece is None else f"{r.confidence_ece:.3f}",
            ),
            ("one decision, microseconds, p50 / p99", f"{r.decision_us_p50:.0f} / {r.decision_us_p99:.0f}"),
        ],
    )


def picks(e: Evaluation, most: int | None = None) -> Table:
    """Candidates: asked always, and how often the router's answer was its; at most ``most`` of them."""
    ranked = sorted(e.candidates, key=lambda c: (-e.router.picked.get(c.candidate, 0.0), -c.quality))
    shown = ranked[:most]
    return Table(
        "Candidates" if len(shown) == len(ranked) else f"Candidates, the first {most} of {len(ranked)}",
        ("candidate", "answers", "quality when asked always", f"cost ({COST_UNITS[e.cost_kind]})"),
        [
            (c.candidate, percent(e.router.picked.get(c.candidate, 0.0)), percent(c.quality), number(c.cost))
            for c in shown
        ],
    )


def excluded(e: Evaluation) -> Table | None:
    """Who takes no part, and why."""
    if not e.excluded:
        return None
    return Table("Left out", ("candidate", "reason"), list(e.excluded.items()), left=(0, 1))


def reference(e: Evaluation) -> Table | None:
    """The Herd paper's figures."""
    f = e.reference
    if f is None:
        return None
    return Table(
        f"Beside {f.candidate}, which reaches {percent(f.quality)} on {f.n:,} queries (micro)",
        ("figure", "router", "some other candidate"),
        [
            ("answers as well, within 5 points", percent(f.as_well), percent(f.as_well_some_candidate)),
            (
                f"right where {f.candidate} misses ({percent(f.missed)} of the queries)",
                percent(f.missed_router),
                percent(f.missed_some_candidate),
            ),
            (
                f"times smaller than {f.candidate} (effective size)",
                None if f.size_ratio is None else f"{f.size_ratio:.2f}",
                None,
            ),
        ],
    )


def policies(e: Evaluation) -> Table:
    """What several policies make of their options."""
    rows: list[Sequence[str | None]] = [
        (
            curve.policy,
            point.setting,
            percent(point.quality),
            f"{point.calls:.2f}",
            number(point.active_params_b),
        )
        for curve in e.policies
        for point in curve.points
    ]
    columns = ("policy", "setting", "quality", "calls per query", "billion active parameters per query")
    return Table("Policies on the same questions", columns, rows, left=(0, 1))


def pair(e: Evaluation) -> Table | None:
    """RouteLLM's figures of a two-candidate herd."""
    p = e.pair
    if p is None:
        return None
    return Table(
        f"{p.strong} (strong) and {p.weak} (weak)",
        ("figure", "value"),
        [
            ("share of queries sent to strong", percent(p.strong_share)),
            ("performance gap recovered (PGR)", percent(p.pgr)),
            ("average over all shares (APGR; blind choice 50%)", percent(p.apgr)),
            ("strong calls for half of the gap, CPT(50%)", percent(p.cpt_50)),
            ("strong calls for four fifths of it, CPT(80%)", percent(p.cpt_80)),
        ],
    )


def all_tables(e: Evaluation, most_candidates: int | None = None) -> list[Table]:
    """Every table that has something to say, in reading order."""
    candidates = picks(e, most_candidates)
    several = policies(e) if e.policies else None
    made = (headline(e), benchmarks(e), economy(e), several, candidates, reference(e), pair(e), excluded(e))
    return [table for table in made if table is not None]


def percent(fraction: float | None) -> str | None:
    """One decimal."""
    return None if fraction is None else f"{100 * fraction:.1f}%"


def span(low: float, high: float) -> str:
    """An interval of fractions, in percent."""
    return f"{100 * low:.1f} to {100 * high:.1f}%"


def number(value: float | None) -> str | None:
    """Three significant digits."""
    return None if value is None else f"{value:.3g}"

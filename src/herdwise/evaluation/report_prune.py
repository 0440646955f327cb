"""A pruning as one HTML page that loads nothing from elsewhere, in the style of the report."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template

from herdwise.evaluation.prune import Pruning, Reach, Stage
from herdwise.evaluation.report import _TOP, _Drawing, _rows_scale, _section
from herdwise.evaluation.tables import COST_UNITS, Table, number, percent


def render_pruning(pruning: Pruning) -> str:
    """The whole page."""
    p = pruning
    page = Template((files("herdwise.evaluation") / "report.html").read_text(encoding="utf-8"))
    held_out = "" if p.n_test is None else f", measured once on {p.n_test:,} held-out ones"
    left_out = "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in p.excluded.items())
    return page.substitute(
        title=escape(f"Which candidates carry {p.name or 'the herd'}"),
        subtitle=escape(
            f"{p.n_candidates} candidates; sets chosen on {p.n_train:,} queries by out-of-fold predictions"
            f"{held_out}; {p.average} mean of {p.quality_column}. A query goes to whom of the kept candidates"
            " is predicted best."
        ),
        cards=_cards(p),
        body="\n".join(
            [
                _section("Routed quality as the herd grows", _ladder(p, "routed"), steps_table(p)),
                "<h2>What hindsight could reach with the same candidates</h2>",
                _ladder(p, "oracle"),
                f'<h2>Left out</h2>\n<ul class="notes">{left_out}</ul>' if left_out else "",
            ]
        ),
    )


def steps_table(pruning: Pruning) -> Table:
    """One row per size, the whole herd last."""
    p = pruning
    test = p.whole_test is not None
    rows: list[list[str | None]] = []
    for stage in p.stages:
        row: list[str | None] = [f"{len(stage.kept)}", _change(stage)]
        row += [percent(stage.train.routed), _points(stage.routed_gain), percent(stage.train.share)]
        if stage.test is not None:
            row += [percent(stage.test.routed), percent(stage.test.share)]
        final = stage.test or stage.train
        row += [percent(stage.train.oracle), _points(stage.oracle_gain), _cost(final)]
        rows.append(row)
    whole: list[str | None] = [
        f"{p.n_candidates}",
        "the whole herd",
        percent(p.whole_train.routed),
        None,
        "100.0%",
    ]
    whole += [percent(p.whole_test.routed), "100.0%"] if p.whole_test is not None else []
    whole += [percent(p.whole_train.oracle), None, _cost(p.whole_test or p.whole_train)]
    columns = ["size", "added", "train", "gain", "share"]
    columns += ["test", "share"] if test else []
    columns += ["oracle", "gain", "cost"]
    title = (
        f"{p.n_candidates} candidates. Train: out of fold on {p.n_train:,} queries, which sets were chosen"
        f" on; oracle and both gains (points) likewise. Cost: mean per query, {COST_UNITS[p.cost_kind]}."
    )
    return Table(title, columns, [*rows, whole], left=(1,))


def _cards(p: Pruning) -> str:
    chosen = None if p.chosen is None else p.stages[p.chosen - 1]
    whole = p.whole_test or p.whole_train
    few = whole if chosen is None else chosen.test or chosen.train
    where = "held out" if p.whole_test is not None else "out of fold"
    cards = (
        (
            "Candidates needed",
            "more" if chosen is None else f"{len(chosen.kept)} of {p.n_candidates}",
            f"to keep {p.min_share:.0%} on the training queries",
        ),
        ("They route to", percent(few.routed), f"{few.share:.1%} of the whole herd, {where}"),
        ("Whole herd", percent(whole.routed), f"{p.n_candidates} candidates, {where}"),
        (
            "Best single",
            percent((p.stages[0].test or p.stages[0].train).routed),
            ", ".join(p.stages[0].kept),
        ),
    )
    return "\n".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value or '')}<small>{escape(note)}</small></dd></div>"
        for name, value, note in cards
    )


def _ladder(p: Pruning, what: str) -> str:
    """One rung per size: a ring out of fold, a filled mark held out, the whole herd as lines."""

    def of(reach: Reach) -> float:
        return reach.routed if what == "routed" else reach.oracle

    whole = p.whole_test or p.whole_train
    line = p.min_share * whole.routed if what == "routed" else None
    values = [of(r) for s in p.stages for r in (s.train, s.test) if r is not None] + [of(whole)]
    values += [] if line is None else [line]
    step = 30
    marks = "Ring: out of fold on the training queries. " + (
        "Filled: held out. " if p.whole_test is not None else ""
    )
    drawing = _Drawing(
        _TOP + step * len(p.stages) + 52,
        "Routed quality by number of candidates" if what == "routed" else "Oracle by number of candidates",
        marks
        + ("Solid line: the whole herd" if what == "routed" else "Solid line: the whole herd's oracle")
        + ("." if line is None else f"; dashed: {p.min_share:.0%} of it.")
        + (" Bold: the smallest set that keeps it on the training queries." if line is not None else ""),
    )
    names = [f"{len(stage.kept)}: {_change(stage)}" for stage in p.stages]
    # The scale leaves a strip below the rungs for the ticks; the drawing another one for the lines' names.
    drawing.height -= 22
    x = _rows_scale(drawing, names, min(values), max(values), room=60)
    bottom = drawing.height - 30
    drawing.height += 22
    drawing.line("router-line", x(of(whole)), _TOP, x(of(whole)), bottom)
    drawing.text(x(of(whole)), bottom + 38, "whole herd", "axis", "middle")
    if line is not None:
        drawing.line("blind-line", x(line), _TOP, x(line), bottom)
        far = abs(x(line) - x(of(whole))) > 90
        drawing.text(x(line), bottom + 38, f"{p.min_share:.0%}" if far else "", "axis", "middle")
    for rung, stage in enumerate(p.stages):
        at = _TOP + step * (rung + 0.5)
        drawing.mark("dot", x(of(stage.train)), at, f"out of fold {percent(of(stage.train))}", 6.5)
        shown = stage.train if stage.test is None else stage.test
        if stage.test is not None:
            css = "router" if what == "routed" else "oracle"
            drawing.mark(css, x(of(stage.test)), at, f"held out {percent(of(stage.test))}", 4.5)
        weight = "700" if what == "routed" and len(stage.kept) == p.chosen else "400"
        label = percent(of(shown)) or ""
        drawing.add("text", "", label, x=x.end + 12, y=round(at + 4, 1), font_weight=weight)
    return drawing.figure()


def _change(stage: Stage) -> str:
    """Who came and who went against the size before."""
    came = " + ".join(stage.added) or "-"
    return came + "".join(f", without {name}" for name in stage.dropped)


def _points(gain: float) -> str:
    return f"{100 * gain:+.1f}"


def _cost(reach: Reach) -> str | None:
    return number(reach.cost)

"""An evaluation as one HTML page that loads nothing from elsewhere: curves, charts, tables.

The only file that draws. The SVG is built by hand, its colours come from the page's style (light and
dark), and the figures of every drawing stand in a table beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from importlib.resources import files
from string import Template

from herdwise.evaluation.figures import CurvePoint, Evaluation, TradeOff
from herdwise.evaluation.tables import COST_UNITS, Table, percent, span
from herdwise.evaluation.tables import benchmarks as benchmark_table
from herdwise.evaluation.tables import economy as economy_table
from herdwise.evaluation.tables import excluded as excluded_table
from herdwise.evaluation.tables import headline as headline_table
from herdwise.evaluation.tables import pair as pair_table
from herdwise.evaluation.tables import picks as picks_table
from herdwise.evaluation.tables import policies as policies_table
from herdwise.evaluation.tables import reference as reference_table

_WIDTH, _MARGIN, _TOP = 860.0, 24.0, 16.0
#: Lines of policies that the page's style tells apart, by colour and by dashes.
_POLICY_STYLES = 5
_CHAR = 7.3  # mean width of a character at 13 px, generous


def render(evaluation: Evaluation) -> str:
    """The whole page."""
    e = evaluation
    page = Template((files("herdwise.evaluation") / "report.html").read_text(encoding="utf-8"))
    sections = [
        _section("Router and references", _intervals(e), headline_table(e)),
        _section("Cost and quality", _curve(e), economy_table(e)),
        *(_section("Policies", _policies(e), policies_table(e)) for _ in e.policies[:1]),
        _section("Benchmarks", _per_benchmark(e) if len(e.benchmarks) > 1 else "", benchmark_table(e)),
        _section("Candidates", "", picks_table(e)),
    ]
    further = (reference_table(e), pair_table(e), excluded_table(e))
    sections += [_section(table.title, "", table) for table in further if table is not None]
    if e.warnings:
        notes = "".join(f"<li>{escape(note)}</li>" for note in e.warnings)
        sections.append(f'<h2>Notes</h2>\n<ul class="notes">{notes}</ul>')
    return page.substitute(
        title=escape(f"Routing on {e.name or 'recorded outcomes'}"),
        subtitle=escape(
            f"{e.n_candidates} candidates; learned from {e.n_train:,} queries, measured on {e.n_test:,}"
            f" held-out ones; {e.average} mean of {e.quality_column}; policy {e.policy};"
            f" cost weight {e.cost_weight:g}. Intervals are paired bootstrap, 95%."
        ),
        cards=_cards(e),
        body="\n".join(sections),
    )


def _cards(e: Evaluation) -> str:
    r, best = e.router, e.best_single
    cards = (
        ("Router", percent(r.quality), span(r.low, r.high)),
        ("Best single", percent(best.quality), best.candidate),
        ("Gain, points", f"{100 * r.gain:+.1f}", f"{100 * r.gain_low:+.1f} to {100 * r.gain_high:+.1f}"),
        ("Gap recovered", percent(r.gap_recovered) or "undefined", f"oracle {percent(e.oracle.quality)}"),
    )
    return "\n".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value or '')}<small>{escape(note)}</small></dd></div>"
        for name, value, note in cards
    )


def _section(title: str, drawing: str, table: Table) -> str:
    def cell(tag: str, position: int, text: str | None) -> str:
        scope = "" if tag == "td" else ' scope="row"' if tag == "th" else ' scope="col"'
        side = ' class="left"' if position in table.left else ""
        return f"<{tag[:2]}{scope}{side}>{'-' if text is None else escape(text)}</{tag[:2]}>"

    head = "".join(cell("thead", i, name) for i, name in enumerate(table.columns))
    body = "\n".join(
        "<tr>" + "".join(cell("td" if i else "th", i, text) for i, text in enumerate(row)) + "</tr>"
        for row in table.rows
    )
    caption = "" if table.title == title else f"<caption>{escape(table.title)}</caption>"
    return (
        f'<h2>{escape(title)}</h2>\n{drawing}\n<div class="scroll"><table>{caption}\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


# -- drawings -----------------------------------------------------------------------------------------


class _Scale:
    """Values to pixels, between round ticks."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        if high - low < 1e-9:
            low, high = low - 0.01, high + 0.01
        rough = (high - low) / 5
        magnitude = 10.0 ** math.floor(math.log10(rough))
        step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        self.ticks = [round(i * step, 12) for i in range(first, last + 1)]
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        share = (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        return round(self.start + share * (self.end - self.start), 1)


class _Drawing:
    """An SVG under way; ``css`` names a class of the page's style."""

    def __init__(self, height: float, title: str, caption: str) -> None:
        self.height, self.title, self.caption = height, title, caption
        self.parts: list[str] = []

    def add(self, tag: str, css: str, inner: str = "", **attributes: float | str) -> None:
        given = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
        self.parts.append(f'<{tag} class="{css}"{given}>{inner}</{tag}>')

    def text(self, x: float, y: float, words: str, css: str = "", anchor: str = "start") -> None:
        self.add("text", css, escape(words), x=round(x, 1), y=round(y, 1), text_anchor=anchor)

    def line(self, css: str, x1: float, y1: float, x2: float, y2: float) -> None:
        self.add("line", css, x1=x1, y1=y1, x2=x2, y2=y2)

    def mark(self, css: str, x: float, y: float, tip: str, radius: float = 5.5) -> None:
        """A diamond for the oracle, a circle for the others: shapes differ, not only colours."""
        title = f"<title>{escape(tip)}</title>"
        if css == "oracle":
            self.add("path", css, title, d=f"M{x} {y - 7}L{x + 7} {y}L{x} {y + 7}L{x - 7} {y}Z")
        else:
            self.add("circle", css, title, cx=x, cy=y, r=radius)

    def figure(self) -> str:
        return (
            f'<figure><svg viewBox="0 0 {_WIDTH:g} {self.height:g}" role="img"'
            f' aria-label="{escape(self.title)}">\n' + "\n".join(self.parts) + "\n</svg>"
            f"<figcaption>{escape(self.caption)}</figcaption></figure>"
        )


def _curve(e: Evaluation) -> str:
    """Cost against quality: fixed candidates, the zero router's hull, the router's sweep and hull."""
    if not e.curves.zero_router_hull:
        return (
            f"<p>No curve: the only cost known for every candidate ({e.cost_kind}) is the same for all.</p>"
        )
    fixed = [(c.candidate, c.cost, c.quality) for c in e.candidates if c.cost is not None]
    costs = [cost for _, cost, _ in fixed] + [p.cost for p in e.curves.router]
    qualities = [quality for _, _, quality in fixed] + [p.quality for p in e.curves.router]
    drawing = _Drawing(
        440,
        "Quality over mean cost per query, router and fixed candidates",
        "Solid: the router under a range of cost weights (dots), and their hull. Dashed: the zero router,"
        " the hull of the fixed candidates (rings), had by mixing them blindly. AIQ, the mean height over the"
        f" fixed candidates' costs: router {percent(e.router.aiq) or 'unknown'},"
        f" zero router {percent(e.zero_router.aiq) or 'unknown'}.",
    )
    bottom, unit = drawing.height - 52, COST_UNITS[e.cost_kind]
    # From zero unless that would squeeze every point into one corner.
    cheapest = min(costs)
    x = _Scale(0.0 if cheapest < 0.4 * max(costs) else cheapest, max(costs), 64, _WIDTH - _MARGIN)
    y = _Scale(min(qualities), max(qualities), bottom, _TOP)
    for tick in y.ticks:
        drawing.line("grid", x.start, y(tick), x.end, y(tick))
        drawing.text(x.start - 8, y(tick) + 4, f"{100 * tick:g}%", "axis", "end")
    for tick in x.ticks:
        drawing.text(x(tick), bottom + 18, f"{tick:g}", "axis", "middle")
    drawing.line("frame", x.start, bottom, x.end, bottom)
    drawing.text((x.start + x.end) / 2, drawing.height - 8, f"mean cost per query, {unit}", "axis", "middle")

    dearest = max(cost for _, cost, _ in fixed)
    for css, hull in (("blind-line", e.curves.zero_router_hull), ("router-line", e.curves.router_hull)):
        if hull:
            flat = [] if hull[-1].cost >= dearest else [CurvePoint(dearest, hull[-1].quality)]
            drawing.add(
                "polyline", css, points=" ".join(f"{x(p.cost)},{y(p.quality)}" for p in (*hull, *flat))
            )
    on_hull = {(p.cost, p.quality) for p in e.curves.zero_router_hull}
    _name_points(
        drawing,
        [(name, x(c), y(q)) for name, c, q in fixed if (c, q) in on_hull or name == e.best_single.candidate],
        [(x(c), y(q)) for c, q in zip(costs, qualities, strict=True)],
        bottom,
    )
    for name, cost, quality in fixed:
        drawing.mark("dot", x(cost), y(quality), f"{name}: {percent(quality)} at {cost:.3g} {unit}")
    for point in e.curves.router:
        tip = f"cost weight {point.cost_weight:.3g}: {percent(point.quality)} at {point.cost:.3g} {unit}"
        drawing.mark("router", x(point.cost), y(point.quality), tip, 3.5)
    return drawing.figure()


def _policies(e: Evaluation) -> str:
    """Quality over calls and over active parameters per query, a line per policy, side by side."""
    axes: list[tuple[str, Callable[[TradeOff], float | None]]] = [
        ("calls per query", lambda p: p.calls),
        ("billion active parameters per query", lambda p: p.active_params_b),
    ]
    shown = [p for curve in e.policies for p in curve.points]
    axes = [(name, of) for name, of in axes if shown and all(of(p) is not None for p in shown)]
    if not axes:
        return "<p>No policy answered every query.</p>"
    levels = [p.quality for p in shown] + [e.best_single.quality]
    drawing = _Drawing(
        420,
        "Quality over calls and over active parameters per query, by policy",
        "One point per setting of a policy; both axes count everybody asked. The dashed level is the best"
        f" single candidate, {e.best_single.candidate}.",
    )
    bottom, width = drawing.height - 84, _WIDTH / len(axes)
    y = _Scale(min(levels), max(levels), bottom, _TOP)
    for number, (name, of) in enumerate(axes):
        left = number * width
        reached = [of(p) or 0.0 for p in shown]
        x = _Scale(0.0, max(reached), left + 60, left + width - _MARGIN)
        for tick in y.ticks:
            drawing.line("grid", x.start, y(tick), x.end, y(tick))
            drawing.text(x.start - 8, y(tick) + 4, f"{100 * tick:g}%", "axis", "end")
        for tick in x.ticks:
            drawing.text(x(tick), bottom + 18, f"{tick:g}", "axis", "middle")
        drawing.text((x.start + x.end) / 2, bottom + 38, name, "axis", "middle")
        drawing.line("blind-line", x.start, y(e.best_single.quality), x.end, y(e.best_single.quality))
        for place, curve in enumerate(e.policies):
            css = f"policy{place % _POLICY_STYLES}"
            points = sorted((of(p) or 0.0, p.quality, p.setting) for p in curve.points)
            line = " ".join(f"{x(at)},{y(quality)}" for at, quality, _ in points)
            drawing.add("polyline", f"{css} policy-line", points=line)
            for at, quality, setting in points:
                tip = f"{curve.policy} {setting}: {percent(quality)} at {at:.3g} {name}"
                drawing.mark(css, x(at), y(quality), tip, 3.5)
    at_x = 60.0
    for place, curve in enumerate(e.policies):
        css = f"policy{place % _POLICY_STYLES}"
        drawing.line(f"{css} policy-line", at_x, drawing.height - 18, at_x + 34, drawing.height - 18)
        drawing.mark(css, at_x + 17, drawing.height - 18, curve.policy, 3.5)
        drawing.text(at_x + 42, drawing.height - 14, curve.policy)
        at_x += 70 + _CHAR * len(curve.policy)
    return drawing.figure()


def _name_points(
    drawing: _Drawing,
    named: Sequence[tuple[str, float, float]],
    marks: Sequence[tuple[float, float]],
    bottom: float,
) -> None:
    """Names beside their points, at the nearest place that covers neither another name nor a mark."""
    placed: list[tuple[float, float, float]] = []

    def free(left: float, right: float, base: float) -> bool:
        inside = left >= 66 and right <= _WIDTH and _TOP + 12 <= base <= bottom - 6
        return (
            inside
            and not any(abs(base - y) < 17 and left < b and a < right for a, b, y in placed)
            and not any(left - 7 < x < right + 7 and base - 19 < y < base + 9 for x, y in marks)
        )

    for name, at_x, at_y in sorted(named, key=lambda item: item[2]):
        width = _CHAR * len(name)
        places = [
            (at_x + 12 if right else at_x - 12 - width, at_y + down)
            for distance in range(20, 240, 4)
            for down in (distance, 8 - distance)
            for right in (True, False)
        ]
        left, base = next((p for p in places if free(p[0], p[0] + width, p[1])), places[0])
        placed.append((left, left + width, base))
        after = left > at_x
        edge = left - 3 if after else left + width + 3
        drawing.line("leader", at_x, at_y, round(edge, 1), round(base - 4, 1))
        drawing.text(edge + (3 if after else -3), base, name, "", "start" if after else "end")


def _intervals(e: Evaluation) -> str:
    """One row per reference on one scale, with the intervals where there are any."""
    rows: list[tuple[str, float, tuple[float, float] | None, str]] = [
        ("random", e.random.quality, None, "dot"),
        (e.best_single.candidate, e.best_single.quality, (e.best_single.low, e.best_single.high), "blind"),
        ("router", e.router.quality, (e.router.low, e.router.high), "router"),
        ("oracle", e.oracle.quality, None, "oracle"),
    ]
    ends = [end for _, quality, ci, _ in rows for end in (quality, *((quality,) if ci is None else ci))]
    step = 38
    drawing = _Drawing(
        _TOP + step * len(rows) + 30,
        "Mean quality of random choice, best single candidate, router and oracle",
        "Mean quality on the held-out queries, with 95% intervals. The oracle knows the outcomes.",
    )
    x = _rows_scale(drawing, [name for name, *_ in rows], min(ends), max(ends), room=60)
    for number, (_, quality, ci, css) in enumerate(rows):
        at = _TOP + step * (number + 0.5)
        if ci is not None:
            drawing.line(f"{css}-whisker", x(ci[0]), at, x(ci[1]), at)
        drawing.mark(css, x(quality), at, f"{quality:.1%}")
        drawing.text(x(ci[1] if ci is not None else quality) + 12, at + 4, f"{quality:.1%}")
    return drawing.figure()


def _per_benchmark(e: Evaluation) -> str:
    """Best single, router and oracle on each benchmark."""
    values = [v for b in e.benchmarks.values() for v in (b.router, b.best_single, b.oracle)]
    step = 30
    drawing = _Drawing(
        _TOP + step * len(e.benchmarks) + 30,
        "Best single candidate, router and oracle on each benchmark",
        f"Ring: best single ({e.best_single.candidate}). Filled: router. Diamond: oracle.",
    )
    x = _rows_scale(drawing, list(e.benchmarks), min(values), max(values), room=0)
    for number, b in enumerate(e.benchmarks.values()):
        at = _TOP + step * (number + 0.5)
        drawing.line("frame", x(min(b.best_single, b.router)), at, x(b.oracle), at)
        drawing.mark("oracle", x(b.oracle), at, f"oracle {percent(b.oracle)}")
        drawing.mark("dot", x(b.best_single), at, f"best single {percent(b.best_single)}", 6.5)
        drawing.mark("router", x(b.router), at, f"router {percent(b.router)}", 4.5)
    return drawing.figure()


def _rows_scale(drawing: _Drawing, names: Sequence[str], low: float, high: float, *, room: float) -> _Scale:
    """Names at the left, a percent scale beside them; ``room`` is kept free at the right."""
    shown = [name if len(name) <= 34 else name[:33] + "…" for name in names]
    left = 26 + _CHAR * max(len(name) for name in shown)
    bottom = drawing.height - 30
    x = _Scale(low, high, left, _WIDTH - _MARGIN - room)
    for tick in x.ticks:
        drawing.line("grid", x(tick), _TOP, x(tick), bottom)
        drawing.text(x(tick), bottom + 18, f"{100 * tick:g}%", "axis", "middle")
    step = (bottom - _TOP) / len(shown)
    for number, name in enumerate(shown):
        drawing.text(left - 14, _TOP + step * (number + 0.5) + 4, name, "", "end")
    return x

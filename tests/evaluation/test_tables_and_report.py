"""What people read: tables in percent, and the page that loads nothing from elsewhere."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

from herdwise.core.decision import Constraints, Goals
from herdwise.evaluation.evaluate import evaluate
from herdwise.evaluation.figures import Evaluation
from herdwise.evaluation.report import render
from herdwise.evaluation.tables import all_tables, headline, picks

_VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Every element must close in order; keeps tags, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def count(self, tag: str, css: str) -> int:
        return sum(name == tag and attributes.get("class") == css for name, attributes in self.tags)


@pytest.fixture
def found(make_outcomes: Callable[..., Any]) -> Evaluation:
    """Three candidates of known cost on two benchmarks, with a reference left out of the herd."""
    table = make_outcomes(
        {
            "small<1>": [1.0, 0.0, 1.0, 0.0],
            "large": [1.0, 1.0, 1.0, 1.0],
            "odd": [0.0, 1.0, 0.0, 0.0],
            "huge": [1.0, 1.0, 1.0, 1.0],
        },
        split=["train", "train", "test", "test"],
        benchmark=["x", "y", "x", "y"],
        candidates={
            name: {"active_params_b": size, "params_b": size}
            for name, size in (("small<1>", 1.0), ("large", 8.0), ("odd", 2.0), ("huge", 90.0))
        },
    )
    limits = Goals(constraints=Constraints(max_params_b=10.0))
    return evaluate(table, predictor="mean", goals=limits, reference="huge")


def test_tables_show_percent_and_leave_the_unknown_empty(found: Evaluation) -> None:
    rows = {row[0]: row[1:] for row in headline(found).rows}
    assert rows["best single: large"][0] == "100.0%"
    assert rows["oracle (hindsight)"] == ("100.0%", None, None, None)
    assert rows["router (single)"][2:] == ("+0.0 (+0.0 to +0.0)", None)
    assert rows["cheapest: small<1>"][0] == "50.0%"


def test_candidates_stand_in_the_order_of_their_picks(found: Evaluation) -> None:
    assert [row[:2] for row in picks(found).rows] == [
        ("large", "100.0%"),
        ("small<1>", "0.0%"),
        ("odd", "0.0%"),
    ]


def test_every_row_of_every_table_fills_its_columns(found: Evaluation) -> None:
    tables = all_tables(found)
    assert {"Left out", "Benchmarks"} < {table.title for table in tables}
    for table in tables:
        assert all(len(row) == len(table.columns) for row in table.rows)


def test_the_page_loads_nothing_from_elsewhere(found: Evaluation) -> None:
    html = render(found)
    page = Page(html)
    assert page.open == []
    assert not {"script", "link", "img", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    assert not any({"src", "href", "xlink:href"} & set(attributes) for _, attributes in page.tags)
    assert not re.search(r"https?:|//|@import|url\(", html)


def test_the_page_holds_every_table_and_escapes_names(found: Evaluation) -> None:
    html = render(found)
    words = " ".join(Page(html).words)
    assert "<1>" not in html
    for table in all_tables(found):
        for row in table.rows:
            assert all(cell is None or cell in words for cell in row)


def test_the_curve_marks_every_candidate_and_every_weight(found: Evaluation) -> None:
    page = Page(render(found))
    # Rings: three candidates in the curve, random above it, best single once per benchmark.
    assert page.count("circle", "dot") == 3 + 1 + 2
    # Dots: one per weight, the router among its references, and once per benchmark.
    assert page.count("circle", "router") == len(found.curves.router) + 1 + 2
    assert page.count("polyline", "router-line") == page.count("polyline", "blind-line") == 1


def test_drawings_have_a_name_for_those_who_cannot_see_them(found: Evaluation) -> None:
    drawings = [attributes for tag, attributes in Page(render(found)).tags if tag == "svg"]
    assert len(drawings) == 3
    assert all(d["role"] == "img" and d["aria-label"] for d in drawings)


def test_both_light_and_dark_are_served(found: Evaluation) -> None:
    html = render(found)
    defined = set(re.findall(r"(--[a-z]+):", html))
    used = set(re.findall(r"var\((--[a-z]+)\)", html))
    dark = html[html.index("prefers-color-scheme: dark") :]
    assert used <= defined
    assert used <= set(re.findall(r"(--[a-z]+):", dark[: dark.index("}")]))


def test_without_a_cost_the_page_says_so_instead_of_drawing(make_outcomes: Callable[..., Any]) -> None:
    table = make_outcomes({"a": [1.0, 1.0], "b": [0.0, 1.0]}, split=["train", "test"])
    html = render(evaluate(table, predictor="mean"))
    assert "No curve" in html
    assert "<polyline" not in html


def test_policies_share_one_picture_with_calls_and_sizes_on_its_axes(
    make_outcomes: Callable[..., Any],
) -> None:
    n = 12
    right = [1.0 if i % 3 else 0.0 for i in range(n)]
    table = make_outcomes(
        {"small": right, "large": [1.0] * n},
        split=["train", "test"] * (n // 2),
        candidates={"small": {"active_params_b": 1.0}, "large": {"active_params_b": 8.0}},
        answers={"small": ["A" if q else "B" for q in right], "large": ["A"] * n},
    )
    found = evaluate(table, predictor="mean", policies=("single", "cascade", "vote"))
    assert [curve.policy for curve in found.policies] == ["single", "cascade", "vote"]
    asked_both = max(found.policies[2].points, key=lambda point: point.calls)
    assert (asked_both.calls, asked_both.active_params_b) == (2.0, 9.0)
    page = Page(render(found))
    for place, curve in enumerate(found.policies):
        # A line on each of two axes, a dot per setting on each, and one dot in the legend.
        assert page.count("polyline", f"policy{place} policy-line") == 2
        assert page.count("circle", f"policy{place}") == 2 * len(curve.points) + 1
    words = "".join(page.words)
    assert "calls per query" in words
    assert "billion active parameters per query" in words

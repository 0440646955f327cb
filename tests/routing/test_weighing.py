"""Signals beside votes: evidence moves what is believed, as one answer's in all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from herdwise.answers.signals import read_signals
from herdwise.core.query import Query
from herdwise.routing.base import Answer
from herdwise.routing.declared import DeclaredRouter
from herdwise.routing.free_votes import FreeVotes, free_only, stands_for_more
from herdwise.routing.hearing import hear, marked, read_value
from herdwise.routing.plain_votes import PlainVotes
from herdwise.routing.router import Router
from herdwise.routing.weighing import WeighedBelief, weighed


def odds(p: float) -> float:
    return p / (1.0 - p)


def test_one_answers_odds_are_moved_by_its_evidence() -> None:
    told, belief = hear(PlainVotes(np.array([0.6])), [], 0, 0, value="A", evidence=-0.8)
    assert isinstance(told, Answer)
    assert belief is not None
    assert told.trust == pytest.approx(belief.best()[1])
    assert odds(belief.best()[1]) == pytest.approx(odds(0.6) * np.exp(-0.8))


def test_evidence_of_several_counts_as_one_answers() -> None:
    votes = PlainVotes(np.array([0.6, 0.6, 0.6])).observe(0, "A").observe(1, "A")
    answers = [Answer(0, 0, "", "A", evidence=-0.8), Answer(1, 1, "", "A", evidence=-0.4)]
    belief = weighed(votes, answers)
    assert odds(belief.best()[1]) == pytest.approx(odds(votes.best()[1]) * np.exp(-0.6))


def test_evidence_can_turn_a_tie_and_the_trust_follows() -> None:
    votes = PlainVotes(np.array([0.6, 0.6])).observe(0, "A").observe(1, "B")
    belief = weighed(votes, [Answer(0, 0, "", "A", evidence=-1.0), Answer(1, 1, "", "B")])
    assert belief.best()[0] == "B"
    assert belief.trust(0) < belief.trust(1)
    assert sum(belief.posterior().values()) < 1


def test_without_evidence_a_belief_is_left_as_it_is() -> None:
    votes = PlainVotes(np.array([0.6])).observe(0, "A")
    assert weighed(votes, [Answer(0, 0, "", "A")]) is votes


def test_a_weighed_belief_goes_on_hearing() -> None:
    start: Any = weighed(
        PlainVotes(np.array([0.6, 0.7])).observe(0, "A"), [Answer(0, 0, "", "A", evidence=-1.0)]
    )
    assert isinstance(start, WeighedBelief)
    after = start.observe(1, "B")
    assert after.trust(1) == pytest.approx(after.posterior()["B"])
    assert start.observe(1, None).posterior() == start.posterior()
    assert (
        start.gain(np.array([1])) == PlainVotes(np.array([0.6, 0.7])).observe(0, "A").gain(np.array([1]))
    ).all()


def test_a_router_learns_what_lengths_tell_and_keeps_it(
    make_outcomes: Callable[..., Any], tmp_path: Any
) -> None:
    draw = np.random.default_rng(0)
    n = 400
    length = np.exp(draw.normal(5.0, 0.5, size=(2, n)))
    right = (draw.random((2, n)) < np.where(length > np.exp(5.0), 0.2, 0.8)).astype(float)
    table = make_outcomes(
        {name: row.tolist() for name, row in zip(("ant", "bee"), right, strict=True)},
        text=[f"question {i} of {'sums' if i % 2 else 'words'}" for i in range(n)],
        output_chars={name: row.tolist() for name, row in zip(("ant", "bee"), length, strict=True)},
    )
    router = Router.fit(table, predictor="ridge", keep_texts=False)
    assert router.worth.kept_ == ("length",)
    signals = read_signals("It is so.")
    long, short = (router.evidence(0, signals, chars, None) for chars in (400, 60))
    assert long < -0.5 < 0.5 < short
    router.save(tmp_path / "router")
    again = Router.load(tmp_path / "router")
    assert again.evidence(0, signals, 400, None) == pytest.approx(long)
    # Of another herd, by column; what is recorded tells the same as what is live.
    assert again.restrict(["bee"]).evidence(0, signals, 60, None) == pytest.approx(
        router.evidence(1, signals, 60, None)
    )
    recorded = router.evidences(table)
    assert recorded.shape == (n, 2)
    assert recorded[length.T > 300].mean() < 0 < recorded[length.T < 80].mean()


def test_before_anything_is_learned_priors_speak() -> None:
    from herdwise.core.candidate import Candidate, Herd

    ranker = DeclaredRouter(Herd([Candidate("ant", quality=0.5)]))
    assert ranker.evidence(0, read_signals("It is (B). I'm only 30% sure."), 30, None) < 0
    assert ranker.evidence(0, read_signals("It is (B)."), 10, None) == 0


ESSAY = "Water boils sooner on a mountain, since the air above it weighs less and presses less. " * 3


def test_free_text_has_a_value_that_stands_for_all_of_it() -> None:
    query = Query("Why does water boil sooner on a mountain?")
    value, missing = read_value(query, ESSAY)
    other, _ = read_value(query, ESSAY + "So pasta takes longer.")
    assert missing == ""
    assert value is not None
    assert stands_for_more(value)
    assert len(value) < 100
    assert value != other
    assert read_value(query, "<think>hm</think>" + ESSAY) == (value, "")
    assert not stands_for_more(read_value(query, ESSAY + "\nThe answer is pressure.")[0])
    assert not stands_for_more("text: red")


def test_programs_that_differ_in_layout_have_one_value() -> None:
    query = Query("Write a Python function that adds two numbers.")
    one, _ = read_value(query, "```python\ndef f(a, b):\n    return a+b\n```")
    two, _ = read_value(query, "Sure!\n```\ndef f(a, b):\n  # add\n  return (a + b)\n```\nThat is it.")
    assert one == two
    assert stands_for_more(one)


def test_free_texts_that_differ_say_nothing_against_each_other() -> None:
    a, b = marked("text", "one"), marked("text", "two")
    votes = FreeVotes(np.array([0.6, 0.8, 0.9, np.nan])).observe(0, a).observe(1, b)
    assert votes.best() == (b, pytest.approx(0.8))
    assert votes.trust(0) == pytest.approx(0.6)
    assert votes.gain(np.array([2, 3])).tolist() == pytest.approx([0.1, 0.0])
    assert votes.observe(3, a).posterior()[a] == pytest.approx(0.6)
    doubted = FreeVotes.of(np.array([0.6, 0.8]), [Answer(0, 1, "", b, evidence=-2.0), Answer(1, 0, "", a)])
    assert doubted.best()[0] == a
    assert FreeVotes(np.array([0.5])).best() == (None, 0.0)


def test_only_free_texts_are_free() -> None:
    text = Answer(0, 0, "", marked("text", "one"))
    assert free_only([text, Answer(1, 1, "", None)])
    assert not free_only([text, Answer(1, 1, "", "B")])
    assert not free_only([Answer(1, 1, "", None)])

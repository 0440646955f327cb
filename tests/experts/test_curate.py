"""Filters of examples: each drops what it is for, says why, and leaves the rest alone."""

from __future__ import annotations

import numpy as np
import pytest

from herdwise.core.errors import InputError
from herdwise.encoding.base import ENCODERS
from herdwise.experts.curate import Curated, CurateSettings, curate, weighted
from herdwise.experts.examples import Example

BIRDS = [
    f"Which bird with {a} wings nests near the {b} in spring?"
    for a in ("brown", "black", "long", "short")
    for b in ("lake", "cliff", "marsh", "barn", "river")
]
LAWS = [
    f"May a {a} cancel the contract after {b} under the tenancy law?"
    for a in ("tenant", "landlord", "court", "lawyer")
    for b in ("notice", "a breach", "renewal", "sale", "death")
]


def examples(*texts: str, answer: str = "yes", source: str = "teacher") -> list[Example]:
    return [Example(text, answer, source=source) for text in texts]


def why(found: Curated) -> list[tuple[str, str]]:
    return [(d.query, d.why) for d in found.dropped]


def test_what_is_measured_on_is_not_learned_from_even_when_it_is_written_a_little_differently() -> None:
    given = examples(*BIRDS[:3])
    found = curate(given, held_out=[BIRDS[1].replace("Which bird", "Which birds") + " "])
    assert why(found) == [(BIRDS[1], "leak")]
    assert [e.query for e in found.examples] == [BIRDS[0], BIRDS[2]]


def test_repeats_are_dropped_but_the_first_and_the_detail_names_it() -> None:
    found = curate(examples(BIRDS[0], BIRDS[0].upper(), BIRDS[7]))
    assert why(found) == [(BIRDS[0].upper(), "repeat")]
    assert BIRDS[0] in found.dropped[0].detail


def test_of_two_answers_to_one_query_neither_is_believed_and_of_three_the_majority() -> None:
    two = [Example("a or b?", "a"), Example("A or  b?", "b"), Example("c?", "c")]
    assert [e.query for e in curate(two).examples] == ["c?"]
    three = [Example("a or b?", "a"), Example("a or b?", "b"), Example("a or b?", "a.")]
    found = curate(three)
    assert [e.answer for e in found.examples] == ["a"]
    assert found.counts["contradiction"] == 1
    assert found.counts["repeat"] == 1


def test_an_answer_that_no_voter_gives_is_dropped_and_one_without_votes_stays() -> None:
    given = [Example("2 + 2?", "5"), Example("3 + 3?", "6"), Example("never asked?", "7")]
    votes = {"small": {"2 + 2?": "4", "3 + 3?": "6"}, "large": {"2 + 2?": "four", "3 + 3?": "9"}}
    found = curate(given, votes=votes)
    assert why(found) == [("2 + 2?", "disagreement")]
    assert "large: four" in found.dropped[0].detail
    strict = curate(given, votes=votes, settings=CurateSettings(min_votes=2))
    assert [e.query for e in strict.examples] == ["never asked?"]


def test_queries_of_another_kind_are_dropped_by_the_classifier() -> None:
    encoder = ENCODERS.create("static")
    given = examples(
        "Which bird with grey wings nests near the pond?", "May a tenant cancel the lease under the law?"
    )
    found = curate(given, of_this_kind=BIRDS, of_other_kinds=LAWS, encoder=encoder)
    assert found.auroc is not None
    assert found.auroc > 0.95
    assert why(found) == [(given[1].query, "off topic")]


def test_a_classifier_that_tells_nothing_is_not_used_and_that_is_said() -> None:
    mixed = [*BIRDS[::2], *LAWS[::2]], [*BIRDS[1::2], *LAWS[1::2]]
    found = curate(
        examples(*BIRDS[:2]),
        of_this_kind=mixed[0],
        of_other_kinds=mixed[1],
        encoder=ENCODERS.create("static"),
        settings=CurateSettings(min_auroc=0.9),
    )
    assert found.dropped == []
    assert "AUROC" in found.notes[0]


def test_answers_that_a_model_does_not_believe_are_dropped() -> None:
    given = examples("one?", "two?", "three?")
    found = curate(given, score=lambda kept: np.log([0.9 if e.query != "two?" else 0.01 for e in kept]))
    assert why(found) == [("two?", "unlikely")]
    with pytest.raises(InputError, match="a score per example"):
        curate(given, score=lambda kept: np.full(len(kept), np.nan))


def test_empty_and_too_long_examples_are_dropped() -> None:
    given = [Example("q?", " "), Example("long?", "x" * 100), Example("fine?", "yes")]
    found = curate(given, settings=CurateSettings(max_bytes=50))
    assert why(found) == [("q?", "empty"), ("long?", "too long")]


def test_sources_weigh_as_told_and_the_mean_weight_is_one() -> None:
    given = [Example("a", "1", source="web"), Example("b", "2", source="web"), Example("c", "3", source="us")]
    made = weighted(given, {"us": 4.0})
    assert [e.weight for e in made] == [0.5, 0.5, 2.0]
    assert [e.query for e in weighted(given, {"web": 0.0})] == ["c"]
    with pytest.raises(InputError, match="negative"):
        weighted(given, {"web": -1.0})


def test_nothing_to_choose_from_is_refused() -> None:
    with pytest.raises(InputError, match="no example"):
        curate([])

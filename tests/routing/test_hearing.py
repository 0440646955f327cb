"""What is read of an answer, what a policy is told of it, and what is believed without learning."""

from __future__ import annotations

import numpy as np
import pytest

from herdwise.core.query import Query
from herdwise.routing.base import Answer, Failure
from herdwise.routing.hearing import hear, read_value
from herdwise.routing.plain_votes import PlainVotes
from herdwise.routing.served_belief import ServedBelief

LETTERED = Query("Which one?\nA. red\nB. blue\nC. green")


@pytest.mark.parametrize(
    ("query", "text", "reason", "expected"),
    [
        (LETTERED, "Surely the answer is (B).", "stop", ("B", "")),
        (LETTERED, "blue", "stop", ("B", "")),
        (LETTERED, "I never knew. Vitamin C helps, though.", "stop", (None, "unreadable")),
        (LETTERED, "I'm sorry, but I can't help with that.", "stop", (None, "refused")),
        (LETTERED, "  ", "stop", (None, "empty")),
        (LETTERED, "The answer is (B). And as to the oth", "length", ("B", "")),
        (Query("How far?"), "It is far.\nThe answer is **1,000 m**.", "stop", ("1,000 m", "")),
        (Query("How far?"), "Well, first one has to", "length", (None, "truncated")),
        (Query("How far?", max_output_tokens=5), "Well, one has to", "length", ("well, one has to", "")),
        (Query("x", json_schema=True), '```json\n{"b": 1, "a": [2]}\n```', "stop", ('{"a":[2],"b":1}', "")),
        (Query("Is it far?"), "Yes, it is.", "stop", ("yes", "")),
        (Query("Is it far?"), "No.", "stop", ("no", "")),
        (Query("Is it far?"), "It depends.", "stop", ("it depends", "")),
        (Query("How far?"), "Yes, very.", "stop", ("yes, very", "")),
        (Query("x", json_schema=True), '{"b": 1', "stop", (None, "malformed")),
    ],
)  # fmt: skip
def test_a_value_is_read_or_the_reason_is_told(
    query: Query, text: str, reason: str, expected: tuple[str | None, str]
) -> None:
    assert read_value(query, text, reason) == expected


def test_a_value_that_says_the_same_as_an_earlier_one_is_given_its_wording() -> None:
    first = Answer(0, 0, "", "1,000 m")
    told, belief = hear(None, [first], 1, 1, value="1000")
    assert isinstance(told, Answer)
    assert (told.value, told.trust, belief) == ("1,000 m", None, None)


def test_an_answer_that_is_none_becomes_a_failure_that_the_belief_knows_of() -> None:
    start = PlainVotes(np.array([0.6, 0.6]))
    told, after = hear(start, [], 0, 1, value=None, missing="refused", text="I can't help with that.")
    assert isinstance(told, Failure)
    assert (told.kind, told.returnable) == ("refused", True)
    assert after is not None
    assert after.best() == (None, 0.0)


def test_trust_is_that_of_the_value_once_heard() -> None:
    told, after = hear(PlainVotes(np.array([0.7, 0.6])), [], 0, 0, value="A")
    assert isinstance(told, Answer)
    assert told.trust == pytest.approx(0.7)
    again, _ = hear(after, [told], 1, 1, value="A")
    assert isinstance(again, Answer)
    assert again.trust is not None
    assert again.trust > 0.9


def test_one_plain_vote_is_believed_as_far_as_it_was_predicted() -> None:
    votes = PlainVotes(np.array([0.7, 0.6, 0.4])).observe(0, "A")
    assert votes.best() == ("A", pytest.approx(0.7))
    assert votes.posterior() == {"A": pytest.approx(0.7)}


def test_plain_votes_weigh_by_log_odds() -> None:
    # One of 0.8 against one of 0.5, ten alternatives: odds of 36 to 9.
    p = PlainVotes(np.array([0.8, 0.5])).observe(0, "A").observe(1, "B").posterior()
    assert p["A"] / p["B"] == pytest.approx((0.8 / 0.2) / (0.5 / 0.5))


def test_the_gain_of_a_plain_vote_is_what_the_likeliest_value_gains_on_average() -> None:
    rng = np.random.default_rng(0)
    q, n = np.array([0.5, 0.6, 0.4]), 10
    votes = PlainVotes(q, alternatives=n).observe(0, "0").observe(2, "1")
    told = votes.gain(np.array([1]))[0]
    # Draw the truth from the posterior, and candidate 1's answer given the truth.
    p = votes.posterior()
    rest = (1 - sum(p.values())) / (n - 2)
    truth = rng.choice(n, size=20_000, p=[p["0"], p["1"], *[rest] * (n - 2)])
    wrong = (truth + rng.integers(1, n, len(truth))) % n
    said = np.where(rng.random(len(truth)) < q[1], truth, wrong)
    after = {s: votes.observe(1, str(s)).best()[0] for s in range(n)}
    rise = np.mean([after[s] == str(t) for s, t in zip(said.tolist(), truth.tolist(), strict=True)])
    assert told == pytest.approx(rise - votes.best()[1], abs=0.015)


class TestServedBelief:
    """Positions of the herd served over columns learned."""

    belief = ServedBelief(
        PlainVotes(np.array([0.8, 0.6])), np.array([1, -1, 0, 0]), np.array([0.6, 0.9, 0.8, 0.8])
    )

    def test_a_candidate_speaks_for_its_own_column(self) -> None:
        assert self.belief.observe(2, "A").best() == ("A", pytest.approx(0.8))
        assert self.belief.observe(0, "A").best() == ("A", pytest.approx(0.6))

    def test_two_of_one_column_are_one_opinion(self) -> None:
        once = self.belief.observe(2, "A")
        assert once.observe(3, "A").best() == once.best()
        assert once.gain(np.array([3]))[0] == 0.0

    def test_a_stranger_sways_nothing_that_is_known(self) -> None:
        known = self.belief.observe(2, "A")
        both = known.observe(1, "B")
        assert both.posterior()["A"] == pytest.approx(known.posterior()["A"])
        assert 0 < both.trust(1) <= 1 - both.posterior()["A"] + 1e-9

    def test_a_stranger_alone_is_believed_as_predicted(self) -> None:
        assert self.belief.observe(1, "B").trust(1) == pytest.approx(0.9)

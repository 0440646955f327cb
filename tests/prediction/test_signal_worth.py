"""What signals are worth: learned where they help, by priors where nothing is recorded, else nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from herdwise.answers.signals import read_signals
from herdwise.prediction.signal_features import SIGNALS, recorded_length, signal_matrix, signal_row
from herdwise.prediction.signal_worth import SignalWorth

PLACE = {name: k for k, name in enumerate(SIGNALS)}


def recorded(
    n: int = 600, m: int = 3, *, slope: float = -1.2, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signals, quality and predictions; length tells by ``slope``, hedges tell nothing."""
    draw = np.random.default_rng(seed)
    signals = np.full((n, m, len(SIGNALS)), np.nan, dtype=np.float32)
    length = draw.normal(size=(n, m))
    signals[:, :, PLACE["length"]] = 5.0 + np.arange(m) + 0.5 * length
    signals[:, :, PLACE["hedges"]] = draw.integers(0, 3, size=(n, m))
    odds = np.array([0.5, 0.0, -0.5])[:m] + draw.normal(size=(n, 1))
    p = 1.0 / (1.0 + np.exp(-odds - slope * length))
    return signals, (draw.random((n, m)) < p).astype(float), 1.0 / (1.0 + np.exp(-odds))


def row(**known: float) -> np.ndarray:
    values = np.full(len(SIGNALS), np.nan, dtype=np.float32)
    for name, value in known.items():
        values[PLACE[name]] = value
    return values


@pytest.fixture(scope="module")
def learned() -> SignalWorth:
    signals, quality, predicted = recorded()
    return SignalWorth().fit(signals, quality, predicted, np.arange(len(signals)), length="output_chars")


def test_a_signal_that_helps_is_kept_and_one_that_does_not_is_dropped(learned: SignalWorth) -> None:
    assert learned.kept_ == ("length",)
    assert learned.evidence(0, row(hedges=3.0)) == 0.0, "hedges were recorded, and told nothing"


def test_length_counts_beside_what_is_usual_of_its_candidate(learned: SignalWorth) -> None:
    assert learned.evidence(0, row(length=5.75)) < -0.5, "long for the first"
    assert learned.evidence(2, row(length=5.75)) > 0.5, "short for the third"
    assert abs(learned.evidence(1, row(length=6.0))) < 0.4


def test_the_evidence_is_what_the_signals_were_made_to_tell(learned: SignalWorth) -> None:
    signals, quality, predicted = recorded(seed=9)
    evidence = learned.evidences(signals, np.arange(3))
    with_it = 1.0 / (1.0 + np.exp(-np.log(predicted / (1 - predicted)) - evidence))
    assert ((with_it - quality) ** 2).mean() < ((predicted - quality) ** 2).mean() - 0.02


def test_signals_that_tell_nothing_change_nothing() -> None:
    signals, quality, predicted = recorded(slope=0.0)
    worth = SignalWorth().fit(signals, quality, predicted, np.arange(len(signals)))
    assert worth.kept_ == ()
    assert not worth.evidences(signals, np.arange(3)).any()


def test_what_was_never_recorded_counts_by_its_prior(learned: SignalWorth) -> None:
    for worth in (SignalWorth(), learned):
        sure, unsure = (worth.evidence(0, row(stated=s)) for s in (3.5, -0.5))
        assert sure > 0 > unsure
        assert worth.evidence(0, row(repetition=0.9)) < -0.5
    assert SignalWorth().evidence(-1, row(length=9.0)) == 0.0


def test_a_stranger_is_judged_by_what_holds_for_all_but_not_by_its_length(learned: SignalWorth) -> None:
    assert learned.evidence(-1, row(length=9.0)) == 0.0
    assert learned.evidence(-1, row(stated=-0.5)) < 0
    assert learned.evidence(99, row(length=9.0)) == 0.0


def test_evidence_is_bounded_and_nothing_known_is_nothing_told(learned: SignalWorth) -> None:
    assert learned.evidence(0, row(length=99.0, stated=-4.0, repetition=1.0)) == -2.0
    assert learned.evidence(0, row()) == 0.0


def test_equal_questions_stay_together_so_that_copies_prove_nothing() -> None:
    draw = np.random.default_rng(4)
    signals, quality = np.full((40, 3, len(SIGNALS)), np.nan, dtype=np.float32), draw.random((40, 3)).round()
    signals[:, :, 0] = draw.normal(5.0, 1.0, (40, 3))
    many = np.tile(np.arange(40), 50)
    worth = SignalWorth().fit(signals[many], quality[many], np.full((2000, 3), 0.5), many)
    apart = SignalWorth().fit(signals[many], quality[many], np.full((2000, 3), 0.5), np.arange(2000))
    assert worth.gains_["length"][0] < apart.gains_["length"][0]
    assert worth.gains_["length"][1] > 3 * apart.gains_["length"][1]


def test_a_saved_one_tells_the_same(learned: SignalWorth) -> None:
    options, arrays = learned.state()
    again = SignalWorth.from_state(options, arrays)
    signals, *_ = recorded(seed=5)
    np.testing.assert_array_equal(
        again.evidences(signals, np.arange(3)), learned.evidences(signals, np.arange(3))
    )
    assert (again.kept_, again.length_, again.gains_) == (learned.kept_, "output_chars", learned.gains_)


def test_a_router_of_before_a_signal_was_known_counts_it_by_its_prior(learned: SignalWorth) -> None:
    options, arrays = learned.state()
    gone = PLACE["stated"]
    older = {
        "centre_": np.delete(arrays["centre_"], gone, axis=1),
        "spread_": np.delete(arrays["spread_"], gone, axis=1),
        "weights_": np.delete(arrays["weights_"], gone + 2, axis=1),
    }
    names = [name for name in options["signals"] if name != "stated"]
    again = SignalWorth.from_state({**options, "signals": names}, older)
    assert again.evidence(0, row(stated=-0.5)) == pytest.approx(SignalWorth().evidence(0, row(stated=-0.5)))
    assert again.evidence(0, row(length=5.75)) == pytest.approx(learned.evidence(0, row(length=5.75)))


def test_a_live_answer_and_its_record_have_the_same_signals(make_outcomes: Callable[..., Any]) -> None:
    text = "Perhaps (B). Confidence: 60%"
    table = make_outcomes({"ant": [1.0]}, answers={"ant": ["B"]}, output_chars={"ant": [float(len(text))]})
    live = signal_row(read_signals(text, value="B"), len(text))
    for completions in ({("q0", "ant"): text}, {("q0", "ant"): text, ("q9", "bee"): "nobody's"}):
        np.testing.assert_array_equal(signal_matrix(table, completions)[0, 0], live)
    assert live[PLACE["stated"]] == pytest.approx(np.log(1.5))


def test_columns_tell_what_no_text_is_at_hand_for(make_outcomes: Callable[..., Any]) -> None:
    table = make_outcomes(
        {"ant": [1.0, 0.0]}, output_tokens={"ant": [20.0, None]}, answer_logprob={"ant": [-0.5, None]}
    )
    assert recorded_length(table, None) == "output_tokens"
    found = signal_matrix(table, None, "output_tokens")
    assert found[0, 0, PLACE["length"]] == pytest.approx(np.log(20))
    assert found[0, 0, PLACE["answer_logprob"]] == -0.5
    assert np.isnan(found[1]).all()
    assert recorded_length(make_outcomes({"ant": [1.0]}), None) is None

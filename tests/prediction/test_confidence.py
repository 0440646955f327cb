from __future__ import annotations

import numpy as np
import pytest

from herdwise.prediction.confidence import Confidence
from herdwise.prediction.softmax import softmax

M = 10


def _rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores twice too sure where all are heard, right where one is; leads of no worth; the right one."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((n, 4)) * 1.5
    n_heard = rng.integers(1, M + 1, size=n)
    far = np.log1p(n_heard) / np.log1p(M)
    p = softmax(truth, axis=1)
    drawn = (rng.random(n)[:, None] > np.cumsum(p, axis=1)).sum(axis=1)
    right = np.zeros((n, 4))
    right[np.arange(n), np.minimum(drawn, 3)] = 1.0
    unsaid = np.zeros((n, 4), dtype=bool)
    unsaid[:, 3] = True
    return truth * (0.4 + 1.6 * far**2)[:, None], unsaid, n_heard, rng.standard_normal(n), right


def _gap(p: np.ndarray, right: np.ndarray) -> float:
    top = p[:, :3].argmax(axis=1)
    rows = np.arange(len(p))
    said, was = p[rows, top], right[rows, top]
    parts = np.array_split(np.argsort(said), 8)
    return sum(abs(float((said[part] - was[part]).sum())) for part in parts) / len(p)


@pytest.mark.parametrize("heard", [1, M])
def test_scores_that_are_too_sure_of_many_and_too_modest_of_few_become_frequencies(heard: int) -> None:
    confidence = Confidence(M).fit(*_rows(6000, 0))
    score, unsaid, n_heard, lead, right = _rows(12000, 1)
    some = n_heard == heard
    score, unsaid, n_heard, lead, right = (part[some] for part in (score, unsaid, n_heard, lead, right))
    before = _gap(softmax(score, axis=1), right)
    after = _gap(softmax(confidence(score, unsaid, n_heard, lead), axis=1), right)
    assert before > 0.06
    assert after < 0.6 * before


def test_a_mass_for_the_unsaid_that_is_always_too_small_is_raised() -> None:
    score, unsaid, n_heard, lead, right = _rows(6000, 2)
    score[:, 3] -= 1.0
    confidence = Confidence(M).fit(score, unsaid, n_heard, lead, right)
    left = softmax(confidence(score, unsaid, n_heard, lead), axis=1)[:, 3]
    assert float(left.mean()) == pytest.approx(float(right[:, 3].mean()), abs=0.02)


def test_the_order_of_what_was_said_stays() -> None:
    score, unsaid, n_heard, lead, right = _rows(2000, 3)
    mended = Confidence(M).fit(score, unsaid, n_heard, lead, right)(score, unsaid, n_heard, lead)
    assert np.array_equal(mended[:, :3].argsort(axis=1), score[:, :3].argsort(axis=1))


def test_one_query_is_mended_as_many_are() -> None:
    rows = _rows(2000, 4)
    confidence = Confidence(M).fit(*rows)
    score, unsaid, n_heard, lead, _ = rows
    for i in range(5):
        scale, shift = confidence.at(int(n_heard[i]), float(lead[i]))
        alone = scale * score[i] + np.where(unsaid[i], shift, 0.0)
        assert alone == pytest.approx(confidence(score, unsaid, n_heard, lead)[i])


def test_a_handful_of_queries_changes_little() -> None:
    confidence = Confidence(M).fit(*_rows(4, 5))
    scale, shift = confidence.at(M, 0.0)
    assert scale == pytest.approx(1.0, abs=0.25)
    assert shift == pytest.approx(0.0, abs=0.25)


def test_without_a_query_to_learn_from_nothing_changes() -> None:
    rows = _rows(10, 6)
    confidence = Confidence(M).fit(*(part[:0] for part in rows))
    assert confidence.at(3, 1.0) == (1.0, 0.0)


def test_a_saved_confidence_is_the_same() -> None:
    confidence = Confidence(M).fit(*_rows(500, 7))
    again = Confidence.from_state(M, confidence.state())
    assert [again.at(k, 0.5) for k in range(M + 1)] == [confidence.at(k, 0.5) for k in range(M + 1)]


def test_scores_too_sure_of_whom_leads_are_tempered_there_alone() -> None:
    score, unsaid, n_heard, _, right = _rows(8000, 8)
    score = score / (0.4 + 1.6 * (np.log1p(n_heard) / np.log1p(M)) ** 2)[:, None]
    lead = np.random.default_rng(9).uniform(0.0, 1.0, len(score))
    confidence = Confidence(M).fit(score * (1.0 + lead)[:, None], unsaid, n_heard, lead, right)
    led, _ = confidence.at(5, 1.0)
    even, _ = confidence.at(5, 0.0)
    assert led == pytest.approx(0.5, abs=0.12)
    assert even == pytest.approx(0.95, abs=0.12)
    scale, shift = confidence.each(5, np.array([1.0, 0.0]))
    assert scale == pytest.approx([led, even])
    assert shift == pytest.approx([confidence.at(5, 1.0)[1], confidence.at(5, 0.0)[1]])


def test_a_confidence_saved_before_leads_were_looked_at_follows_the_number_heard() -> None:
    old = Confidence.from_state(M, {"change_": np.array([[0.1, 0.2, 0.3], [0.0, 0.5, 0.0]])})
    assert old.at(M, 7.0) == pytest.approx((1.6, 0.5))

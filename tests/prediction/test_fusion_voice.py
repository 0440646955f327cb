from __future__ import annotations

import numpy as np
import pytest

from herdwise.prediction.belief import Belief
from herdwise.prediction.fusion import Fusion
from herdwise.prediction.fusion_voice import Voice
from herdwise.prediction.likeness import Likeness
from herdwise.prediction.votes import Votes

M, N = 4, 900


class Recorded:
    """Questions of six answers, candidates that err alone."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        truth = rng.integers(0, 6, size=N)
        said = rng.integers(0, 6, size=(N, M))
        for j, accuracy in enumerate((0.7, 0.6, 0.5, 0.4)):
            right = rng.random(N) < accuracy
            said[right, j] = truth[right]
        self.answers = np.array(list("ABCDEF"), dtype=object)[said]
        self.quality = (said == truth[:, None]).astype(np.float32)
        self.predicted = np.tile(self.quality.mean(axis=0), (N, 1))


@pytest.fixture(scope="module")
def rows() -> Recorded:
    return Recorded(0)


@pytest.fixture(scope="module")
def fusion(rows: Recorded) -> Fusion:
    learned = Fusion(hidden=8, n_epochs=20).fit(rows.quality, rows.answers, rows.predicted)
    return learned.with_voice(Voice(np.array([0.6, 0.4, 0.0, 0.0]), 0, 0.8))


def _voice(rows: Recorded, quality: np.ndarray) -> Voice:
    likeness = Likeness.fit(rows.quality, rows.predicted)
    some = slice(0, 100)
    mix = likeness.mix(rows.quality[some], rows.predicted[some], quality[some])
    return Voice.of(mix, rows.quality[some].astype(float), rows.predicted[some], quality[some])


def test_a_copy_overlaps_with_its_original_and_an_independent_candidate_with_nobody(rows: Recorded) -> None:
    copy = _voice(rows, rows.quality[:, 1].astype(float))
    assert copy.kin == 1
    assert copy.overlap > 0.9
    alone = _voice(rows, (np.random.default_rng(3).random(N) < 0.6).astype(float))
    assert alone.overlap < 0.4
    assert copy.shares.sum() == pytest.approx(1.0)


def _hear(fusion: Fusion, rows: Recorded, i: int, order: list[int]) -> Belief:
    belief = fusion.belief(np.append(rows.predicted[i], 0.65))
    for j in order:
        belief = belief.observe(j, rows.answers[i, j] if j < M else rows.answers[i, 3])
    return belief


def test_the_order_of_hearing_kin_changes_nothing(fusion: Fusion, rows: Recorded) -> None:
    for i in range(20):
        first = _hear(fusion, rows, i, [0, 4, 1]).posterior()
        assert _hear(fusion, rows, i, [4, 1, 0]).posterior() == pytest.approx(first, abs=1e-5)
        assert _hear(fusion, rows, i, [1, 4, 0]).posterior() == pytest.approx(first, abs=1e-5)


def test_beliefs_with_kin_say_what_the_batch_says(fusion: Fusion, rows: Recorded) -> None:
    answers = np.concatenate([rows.answers, rows.answers[:, [3]]], axis=1)
    votes = Votes.of(answers, np.concatenate([rows.quality, rows.quality[:, [3]]], axis=1))
    predicted = np.concatenate([rows.predicted, np.full((N, 1), 0.65)], axis=1)
    for order in ([0, 1, 4], [1, 4], [4]):
        heard = np.zeros((N, M + 1), dtype=bool)
        heard[:, order] = True
        batch = fusion.posteriors(votes, predicted, heard)
        for i in range(15):
            posterior = _hear(fusion, rows, i, order).posterior()
            for j in order:
                assert posterior[answers[i, j]] == pytest.approx(batch[i, votes.said[i, j]], abs=1e-5)


def test_the_gain_of_who_has_its_kin_heard_is_the_expected_rise(fusion: Fusion, rows: Recorded) -> None:
    for i in range(20):
        belief = _hear(fusion, rows, i, [0, 1])
        best, _ = belief.best()
        chances = belief.foretold(np.array([4]))[0]
        expected = 0.0
        for chance, value in zip(chances, (*belief.values, "unheard", None), strict=True):
            after = belief.observe(4, value).posterior()
            top = max(p for v, p in after.items() if v is not None)
            expected += chance * (top - after[best])
        assert belief.gain(np.array([4]))[0] == pytest.approx(expected, abs=1e-5)


def test_taking_a_voice_out_again_leaves_what_was_learned(fusion: Fusion, rows: Recorded) -> None:
    back = fusion.without(M)
    assert back.n_candidates == M
    before = Fusion(hidden=8, n_epochs=20).fit(rows.quality, rows.answers, rows.predicted)
    for name, value in before.parameters_.items():
        assert np.array_equal(value, back.parameters_[name]), name


def test_a_saved_voice_is_the_same(fusion: Fusion, rows: Recorded) -> None:
    again = Fusion.from_state(*fusion.state())
    assert again.confidence_.n_candidates == M, "learned for so many"
    for i in range(5):
        said, told = _hear(again, rows, i, [0, 4]), _hear(fusion, rows, i, [0, 4])
        assert said.posterior() == told.posterior()

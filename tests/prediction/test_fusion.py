from __future__ import annotations

import numpy as np
import pytest

from herdwise.core.errors import ArtefactError, InputError
from herdwise.prediction.belief import Belief
from herdwise.prediction.fusion import Fusion
from herdwise.prediction.votes import Votes

LETTERS = np.array(list("ABCDEFGH"), dtype=object)
M = 6


class Recorded:
    """Questions of eight options: candidates 0 to 2 err alone, 3 and 4 say the same, 5 never answers."""

    def __init__(self, n: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        truth = rng.integers(0, 8, size=n)
        said = rng.integers(0, 8, size=(n, M))
        for j, accuracy in enumerate((0.7, 0.55, 0.55, 0.5)):
            right = rng.random(n) < accuracy
            said[right, j] = truth[right]
        said[:, 4] = np.where(rng.random(n) < 0.95, said[:, 3], said[:, 4])
        self.answers = LETTERS[said]
        self.answers[:, 5] = None
        self.answers[rng.random((n, M)) < 0.05] = None
        self.quality = (self.answers == LETTERS[truth][:, None]).astype(np.float32)
        self.quality[rng.random((n, M)) < 0.05] = np.nan
        mean = np.nanmean(self.quality, axis=0)
        noise = rng.standard_normal((n, M)) * 0.02
        self.predicted = np.clip(mean + noise, 0.02, 0.98).astype(np.float32)
        self.truth = LETTERS[truth]


@pytest.fixture(scope="module")
def fusion() -> Fusion:
    rows = Recorded(3000, 0)
    return Fusion(hidden=16, n_epochs=40).fit(rows.quality, rows.answers, rows.predicted)


@pytest.fixture(scope="module")
def fresh() -> Recorded:
    return Recorded(1500, 1)


def _hear(fusion: Fusion, rows: Recorded, i: int, candidates: range | list[int]) -> Belief:
    belief = fusion.belief(rows.predicted[i])
    for j in candidates:
        if np.isfinite(rows.quality[i, j]):
            belief = belief.observe(j, rows.answers[i, j])
    return belief


def test_the_fused_answer_beats_the_best_candidate_and_the_majority(fusion: Fusion, fresh: Recorded) -> None:
    said = [_hear(fusion, fresh, i, range(M)).best()[0] for i in range(1500)]
    fused = float(np.mean([v == t for v, t in zip(said, fresh.truth, strict=True)]))

    def majority(row: np.ndarray) -> str:
        values, counts = np.unique([a for a in row if a is not None], return_counts=True)
        return str(values[counts.argmax()])

    plain = float(np.mean([majority(a) == t for a, t in zip(fresh.answers, fresh.truth, strict=True)]))
    assert fused > plain + 0.02
    assert fused > float(np.nanmean(fresh.quality, axis=0).max()) + 0.03


@pytest.mark.parametrize("heard", [[0], [1, 2], [0, 1, 3, 4], list(range(M))])
def test_confidence_is_the_frequency_of_being_right_for_any_few_voters(
    fusion: Fusion, fresh: Recorded, heard: list[int]
) -> None:
    pairs = [
        (p, value == fresh.truth[i])
        for i in range(1500)
        for value, p in [_hear(fusion, fresh, i, heard).best()]
        if value is not None
    ]
    confidence, right = np.array(pairs, dtype=np.float64).T
    gaps = [
        abs(float((confidence[part] - right[part]).sum()))
        for part in np.array_split(np.argsort(confidence), 8)
    ]
    assert sum(gaps) / len(pairs) < 0.06


def test_a_second_voice_of_one_family_counts_less_than_an_independent_one(fusion: Fusion) -> None:
    usual = np.full(M, np.nan)
    one = fusion.belief(usual).observe(3, "A")
    family, independent = one.observe(4, "A"), one.observe(1, "A")
    before = one.best()[1]
    assert family.best()[1] - before < 0.3 * (independent.best()[1] - before)


def test_the_posterior_sums_to_one_and_holds_what_nobody_said(fusion: Fusion) -> None:
    belief = fusion.belief(np.full(M, np.nan)).observe(0, "A").observe(1, "B")
    posterior = belief.posterior()
    assert set(posterior) == {"A", "B", None}
    assert sum(posterior.values()) == pytest.approx(1.0, abs=1e-6)
    assert posterior["A"] > posterior["B"] > 0.0
    assert belief.trust(1) == pytest.approx(posterior["B"])


def test_before_anybody_spoke_nothing_is_best(fusion: Fusion) -> None:
    belief = fusion.belief(np.full(M, np.nan))
    assert belief.best() == (None, 0.0)
    assert belief.posterior() == {None: 1.0}


def test_a_failure_is_known_and_trusted_by_nobody(fusion: Fusion) -> None:
    belief = fusion.belief(np.full(M, np.nan)).observe(0, None)
    assert belief.trust(0) == 0.0
    assert belief.best() == (None, 0.0)


def test_observing_leaves_the_earlier_belief_as_it_was(fusion: Fusion) -> None:
    earlier = fusion.belief(np.full(M, np.nan)).observe(0, "A")
    before = earlier.posterior()
    earlier.observe(1, "B").observe(2, "A")
    assert earlier.posterior() == before


def test_the_order_of_hearing_changes_nothing(fusion: Fusion, fresh: Recorded) -> None:
    for i in range(20):
        there = _hear(fusion, fresh, i, range(M)).posterior()
        back = _hear(fusion, fresh, i, list(reversed(range(M)))).posterior()
        assert back == pytest.approx(there, abs=1e-5)


def test_a_copy_is_foretold_to_say_what_its_original_said(fusion: Fusion) -> None:
    belief = fusion.belief(np.full(M, np.nan)).observe(3, "A").observe(0, "B")
    copy, other = belief.foretold(np.array([4, 1]))
    assert copy.sum() == pytest.approx(1.0, abs=1e-5)
    assert copy[belief.values.index("A")] > 0.8
    assert other[belief.values.index("B")] > other[belief.values.index("A")]


def test_asking_one_candidate_again_gives_it_no_second_vote(fusion: Fusion) -> None:
    once = fusion.belief(np.full(M, np.nan)).observe(1, "B").observe(0, "A")
    twice = once.observe(0, "A")
    split = once.observe(0, "C")
    assert twice.best()[1] == pytest.approx(once.best()[1], abs=1e-6)
    assert split.posterior()["A"] < once.posterior()["A"]


def test_a_candidate_that_never_answered_changes_no_belief_and_is_worth_no_ask(fusion: Fusion) -> None:
    belief = fusion.belief(np.full(M, np.nan)).observe(0, "A")
    stranger = belief.observe(5, "B")
    assert stranger.posterior()["A"] == pytest.approx(belief.posterior()["A"], abs=1e-6)
    assert stranger.trust(5) == 0.0
    assert belief.observe(5, "A").trust(5) == belief.trust(0)
    assert belief.gain(np.array([5]))[0] == 0.0


def test_the_gain_is_the_expected_rise_over_everything_a_candidate_may_say(
    fusion: Fusion, fresh: Recorded
) -> None:
    for i in range(40):
        belief = _hear(fusion, fresh, i, range(i % 4))
        best, _ = belief.best()
        rest = np.arange(i % 4, 5)
        for gain, candidate in zip(belief.gain(rest), rest.tolist(), strict=True):
            if candidate in belief.heard:
                continue
            chances = belief.foretold(np.array([candidate]))[0]
            expected = 0.0
            for chance, value in zip(chances, (*belief.values, "unheard", None), strict=True):
                after = belief.observe(candidate, value).posterior()
                top = max((p for v, p in after.items() if v is not None), default=0.0)
                expected += chance * (top - (0.0 if best is None else after[best]))
            assert gain == pytest.approx(expected, abs=1e-5)
            assert gain >= 0.0


def test_first_the_candidate_that_is_most_often_right_is_worth_most(fusion: Fusion) -> None:
    gain = fusion.belief(np.full(M, np.nan)).gain(np.arange(5))
    assert gain.argmax() == 0
    assert gain[0] == pytest.approx(0.7 * 0.95, abs=0.08)


def test_who_was_heard_is_worth_no_further_ask(fusion: Fusion) -> None:
    belief = fusion.belief(np.full(M, np.nan)).observe(3, "A")
    gain = belief.gain(np.arange(5))
    assert gain[3] == 0.0
    assert gain[0] > gain[4], "a copy of who was heard teaches less"


def test_beliefs_say_what_the_batch_says(fusion: Fusion, fresh: Recorded) -> None:
    votes = Votes.of(fresh.answers, fresh.quality)
    batch = fusion.posteriors(votes, fresh.predicted)
    for i in range(30):
        posterior = _hear(fusion, fresh, i, range(M)).posterior()
        for j in range(M):
            if votes.said[i, j] >= 0:
                assert posterior[fresh.answers[i, j]] == pytest.approx(batch[i, votes.said[i, j]], abs=1e-5)
        assert batch[i].sum() == pytest.approx(1.0, abs=1e-5)


def test_a_saved_fusion_believes_the_same(fusion: Fusion, fresh: Recorded) -> None:
    options, arrays = fusion.state()
    again = Fusion.from_state(options, {name: value.copy() for name, value in arrays.items()})
    for i in range(10):
        assert _hear(again, fresh, i, range(M)).posterior() == _hear(fusion, fresh, i, range(M)).posterior()
    assert all(value.dtype != object for value in arrays.values())


def test_a_saved_fusion_that_lacks_an_array_is_refused(fusion: Fusion) -> None:
    options, arrays = fusion.state()
    del arrays["network.vote"]
    with pytest.raises(ArtefactError, match="vote"):
        Fusion.from_state(options, arrays)


def test_the_same_seed_gives_the_same_fusion() -> None:
    rows = Recorded(200, 3)
    one, two = (
        Fusion(hidden=8, n_epochs=2).fit(rows.quality, rows.answers, rows.predicted, seed=5) for _ in range(2)
    )
    for name, value in one.parameters_.items():
        assert np.array_equal(value, two.parameters_[name])


def test_unknown_predictions_count_as_usual_ones(fusion: Fusion) -> None:
    usual = 1.0 / (1.0 + np.exp(-fusion.centre_))
    told = fusion.belief(usual).observe(0, "A").best()[1]
    assert fusion.belief(np.full(M, np.nan)).observe(0, "A").best()[1] == pytest.approx(told, abs=1e-4)


def test_a_table_without_answers_is_refused() -> None:
    with pytest.raises(InputError, match="no graded answer"):
        Fusion().fit(np.ones((4, 2)), np.full((4, 2), None, dtype=object), np.full((4, 2), 0.5))


def test_predictions_of_another_herd_are_refused(fusion: Fusion) -> None:
    with pytest.raises(InputError, match="candidates"):
        fusion.belief(np.full(M + 1, 0.5))


def test_a_candidate_out_of_range_is_refused(fusion: Fusion) -> None:
    with pytest.raises(InputError, match="no candidate"):
        fusion.belief(np.full(M, np.nan)).observe(M, "A")


def test_trust_in_who_was_not_heard_is_refused(fusion: Fusion) -> None:
    with pytest.raises(InputError, match="not heard"):
        fusion.belief(np.full(M, np.nan)).trust(0)

from __future__ import annotations

import numpy as np
import pytest

from herdwise.core.errors import ArtefactError
from herdwise.prediction.fusion import Fusion
from herdwise.prediction.votes import Votes

M = 3


def _questions(n: int, seed: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Four numbers each, of which the second smallest is right more often than not; weak candidates."""
    rng = np.random.default_rng(seed)
    texts: list[str] = []
    answers = np.full((n, M), None, dtype=object)
    quality = np.zeros((n, M), dtype=np.float32)
    for i in range(n):
        numbers = rng.choice(np.arange(10, 100), size=4, replace=False)
        order = np.argsort(numbers)
        truth = int(order[1]) if rng.random() < 0.7 else int(rng.integers(4))
        texts.append("How many?\n" + "\n".join(f"{c}. {v}" for c, v in zip("ABCD", numbers, strict=True)))
        for j in range(M):
            said = truth if rng.random() < 0.4 else int(rng.integers(4))
            answers[i, j], quality[i, j] = "ABCD"[said], float(said == truth)
    return texts, answers, quality


@pytest.fixture(scope="module")
def learned() -> Fusion:
    texts, answers, quality = _questions(3000, 0)
    predicted = np.full(quality.shape, 0.55, dtype=np.float32)
    return Fusion(hidden=16, n_epochs=12).fit(quality, answers, predicted, texts)


def _accuracy(fusion: Fusion, texts: list[str], answers: np.ndarray, quality: np.ndarray) -> float:
    earned = 0.0
    for text, said, graded in zip(texts, answers, quality, strict=True):
        belief = fusion.belief(np.full(M, np.nan), text)
        for j in range(M):
            belief = belief.observe(j, said[j])
        earned += float(graded[list(said).index(belief.best()[0])])
    return earned / len(texts)


def test_what_the_options_tell_is_weighed_with_the_votes(learned: Fusion) -> None:
    texts, answers, quality = _questions(800, 1)
    with_options = _accuracy(learned, texts, answers, quality)
    without = _accuracy(learned, ["How many?"] * len(texts), answers, quality)
    assert with_options > without + 0.05


def test_options_that_nobody_chose_share_what_is_left(learned: Fusion) -> None:
    text = "How many?\nA. 20\nB. 30\nC. 40\nD. 50"
    start = learned.belief(np.full(M, np.nan), text)
    assert start.values == ("A", "B", "C", "D")
    assert start.best() == (None, 0.0)
    assert start.probabilities().sum() == pytest.approx(1.0, abs=1e-5)
    assert start.probabilities()[-1] == 0.0, "one of the options is right"
    assert start.probabilities().argmax() == 1
    heard = start.observe(0, "D")
    posterior = heard.posterior()
    assert set(posterior) == {"D", None}
    assert posterior["D"] == pytest.approx(float(heard.probabilities()[3]))
    assert heard.observe(1, "B").posterior()["D"] < posterior["D"]


def test_the_gain_with_options_is_the_expected_rise(learned: Fusion) -> None:
    texts, answers, _ = _questions(30, 2)
    for i, text in enumerate(texts):
        belief = learned.belief(np.full(M, np.nan), text)
        for j in range(i % M):
            belief = belief.observe(j, answers[i, j])
        best, _ = belief.best()
        rest = np.arange(i % M, M)
        for gain, candidate in zip(belief.gain(rest), rest.tolist(), strict=True):
            chances = belief.foretold(np.array([candidate]))[0]
            assert chances[-2] == 0.0, "it says an option or nothing"
            expected = 0.0
            for chance, value in zip(chances[[0, 1, 2, 3, 5]], ("A", "B", "C", "D", None), strict=True):
                after = belief.observe(candidate, value).posterior()
                top = max((p for v, p in after.items() if v is not None), default=0.0)
                expected += chance * (top - (0.0 if best is None else after[best]))
            assert gain == pytest.approx(expected, abs=1e-5)


def test_an_answer_outside_the_options_is_one_value_more(learned: Fusion) -> None:
    belief = learned.belief(np.full(M, np.nan), "How many?\nA. 20\nB. 30").observe(0, "25").observe(1, "25")
    assert belief.values == ("A", "B", "25")
    assert belief.best()[0] == "25"


def test_the_batch_says_the_same_with_options(learned: Fusion) -> None:
    texts, answers, quality = _questions(20, 3)
    votes = Votes.of(answers, quality, texts)
    batch = learned.posteriors(votes, np.full(quality.shape, np.nan, dtype=np.float32))
    for i, text in enumerate(texts):
        belief = learned.belief(np.full(M, np.nan), text)
        for j in range(M):
            belief = belief.observe(j, answers[i, j])
        posterior = belief.posterior()
        for j in range(M):
            assert posterior[answers[i, j]] == pytest.approx(batch[i, votes.said[i, j]], abs=1e-5)
        assert posterior[None] == pytest.approx(batch[i, -1], abs=1e-5)
        unsaid = [k for k in range(4) if "ABCD"[k] not in posterior]
        assert not batch[i, unsaid].any()


def test_a_fusion_learned_without_options_takes_votes_that_have_them() -> None:
    texts, answers, quality = _questions(300, 4)
    plain = Fusion(hidden=8, n_epochs=2).fit(quality, answers, np.full(quality.shape, 0.5))
    batch = plain.posteriors(Votes.of(answers, quality, texts), np.full(quality.shape, 0.5))
    alone = plain.posteriors(Votes.of(answers, quality), np.full(quality.shape, 0.5))
    assert np.allclose(np.sort(batch)[:, -2:], np.sort(alone)[:, -2:], atol=1e-5)
    assert plain.belief(np.full(M, 0.5), texts[0]).values == ()


def test_a_fusion_that_was_saved_with_other_relations_of_options_is_refused_with_the_remedy(
    learned: Fusion,
) -> None:
    options, arrays = learned.state()
    for name in ("network.option", "network.option_score"):
        arrays[name] = arrays[name][:22]
    with pytest.raises(ArtefactError, match="22 features") as refused:
        Fusion.from_state(options, arrays)
    assert "Train" in str(refused.value.remedy)

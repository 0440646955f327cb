"""Is a query of a kind? A small classifier over the encoder's vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from herdwise.encoding.base import Encoder
from herdwise.evaluation.confidence import auroc

#: Fewer of either kind can neither be learned from nor measured.
_FEWEST = 10
_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Relevance:
    """Tells queries of one kind from others: logistic regression, both kinds weighing the same.

    Source: the quality classifiers by which web text is chosen for pre-training (Brown et al., Language
    Models are Few-Shot Learners, 2020, appendix A), with real queries of the cluster as the good text.

    Args:
        auroc: how well it tells them apart, on folds that it had not seen.
    """

    auroc: float
    _encoder: Encoder
    _model: Any

    @classmethod
    def fit(
        cls, inside: Sequence[str], outside: Sequence[str], encoder: Encoder, *, seed: int = 0
    ) -> Self | None:
        """Learn from real queries of either kind; None where there are fewer than 10 of one.

        Args:
            encoder: fitted.
            seed: of the folds.
        """
        if min(len(inside), len(outside)) < _FEWEST:
            return None
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold, cross_val_predict

        X = encoder.encode([*inside, *outside])
        y = np.repeat([1, 0], [len(inside), len(outside)])
        model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000)
        folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
        p = cross_val_predict(model, X, y, cv=folds, method="predict_proba")[:, 1]
        area = auroc(p, y.astype(np.float64))
        return cls(0.5 if area is None else area, encoder, model.fit(X, y))

    def probability(self, texts: Sequence[str]) -> np.ndarray:
        """P(of the kind), ``(n,)``, as if both kinds were as frequent."""
        return np.asarray(self._model.predict_proba(self._encoder.encode(texts))[:, 1])

"""Routers of the literature, on the vectors and the split that ours gets, named after their papers.

Those that predict each candidate's quality are configurations of this package's predictors. Those that name
the best candidate outright are written out here, on scikit-learn or numpy. None is the published code: what
is compared is the method on equal vectors, without the fine-tuning of an encoder of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, Self

import numpy as np

from herdwise.prediction.adam import Adam
from herdwise.prediction.base import PREDICTORS
from herdwise.prediction.softmax import softmax


class Learner(Protocol):
    """Learns ``(n, d)`` vectors and ``(n, m)`` outcomes; predicts ``(n, m)`` scores, the best is asked."""

    def fit(self, X: np.ndarray, Y: np.ndarray) -> Any:
        """Learn; NaN = not run."""

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Scores of the candidates."""


class BestClassifier:
    """A classifier from scikit-learn whose classes are the best candidates, as LLMRouter's SVM and MLP.

    Of several best ones the better on average is the label: a coin toss would only add noise.

    Args:
        classifier: not yet fitted.
    """

    def __init__(self, classifier: Any) -> None:
        self.classifier = classifier

    def fit(self, X: np.ndarray, Y: np.ndarray) -> Self:
        """Learn from the rows where the candidates differ."""
        self.n_candidates_ = Y.shape[1]
        level = np.nanmean(Y, axis=0)
        quality = np.where(np.isfinite(Y), Y, -1.0)
        telling = np.nanmax(Y, axis=1) > np.nanmin(Y, axis=1)
        label = (quality + 1e-3 * level)[telling].argmax(axis=1)
        self.classifier.fit(X[telling], label)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """1 for the class that is predicted, 0 elsewhere."""
        scores = np.zeros((len(X), self.n_candidates_), dtype=np.float32)
        scores[np.arange(len(X)), self.classifier.predict(X)] = 1.0
        return scores


class Contrastive:
    """RouterDC's sample-candidate loss (Chen et al. 2024) on a linear map of the vectors, trained by Adam.

    Each of the best candidates of a query is told from the worst by the cosine to the query's image. The
    sample-sample loss, which shapes an encoder, is left out with the encoder.

    Args:
        width: dimensions of the image.
        n_contrasted: best and worst candidates of a query, at most half of all; 3, as published, loses 4
            points more where candidates are many.
        temperature: of the cosines.
        n_epochs, rate: of Adam.
    """

    def __init__(
        self,
        width: int = 64,
        n_contrasted: int = 16,
        temperature: float = 0.3,
        n_epochs: int = 15,
        rate: float = 3e-3,
    ) -> None:
        self.width, self.n_contrasted, self.temperature = width, n_contrasted, temperature
        self.n_epochs, self.rate = n_epochs, rate

    def fit(self, X: np.ndarray, Y: np.ndarray) -> Self:
        """Learn the map and the candidates' vectors."""
        rng = np.random.default_rng(0)
        m = Y.shape[1]
        quality = np.where(np.isfinite(Y), Y, np.nanmean(Y, axis=0))
        few = min(self.n_contrasted, m // 2)
        order = np.argsort(-quality - 1e-3 * quality.mean(axis=0), axis=1, kind="stable")
        good, bad = np.zeros(Y.shape, dtype=bool), np.zeros(Y.shape, dtype=bool)
        np.put_along_axis(good, order[:, :few], True, axis=1)
        np.put_along_axis(bad, order[:, m - few :], True, axis=1)
        # A best one is no better than the worst where all are alike.
        good &= quality > np.min(quality, axis=1, keepdims=True)
        bad &= quality < np.max(quality, axis=1, keepdims=True)
        p = {
            "map": rng.standard_normal((X.shape[1], self.width)).astype(np.float32),
            "candidates": rng.standard_normal((m, self.width)).astype(np.float32),
        }
        adam = Adam(p, decay=0.01)
        for _ in range(self.n_epochs):
            shuffled = rng.permutation(len(X))
            for rows in np.array_split(shuffled, max(len(X) // 64, 1)):
                adam.step(self._gradient(p, X[rows], good[rows], bad[rows]), self.rate)
        self.parameters_ = p
        return self

    def _gradient(
        self, p: dict[str, np.ndarray], X: np.ndarray, good: np.ndarray, bad: np.ndarray
    ) -> dict[str, np.ndarray]:
        image, candidates = X @ p["map"], p["candidates"]
        sizes = [np.linalg.norm(a, axis=1, keepdims=True) + 1e-6 for a in (image, candidates)]
        u, v = image / sizes[0], candidates / sizes[1]
        score = u @ v.T / self.temperature
        # -log of a good one's share among itself and the bad ones, summed over the good ones.
        negative = np.where(bad, np.exp(score), 0.0).sum(axis=1, keepdims=True)
        share = np.exp(score) / (np.exp(score) + negative)
        pull = np.where(good, share - 1.0, 0.0)
        push = np.where(bad, np.exp(score), 0.0) * np.where(good, 1.0 / (np.exp(score) + negative), 0.0).sum(
            axis=1, keepdims=True
        )
        slope = (pull + push) / (self.temperature * len(X))
        du, dv = slope @ v, slope.T @ u
        d_image = (du - u * np.sum(du * u, axis=1, keepdims=True)) / sizes[0]
        d_candidates = (dv - v * np.sum(dv * v, axis=1, keepdims=True)) / sizes[1]
        return {"map": X.T @ d_image, "candidates": d_candidates}

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Shares of the candidates by their cosines."""
        image, candidates = X @ self.parameters_["map"], self.parameters_["candidates"]
        u = image / (np.linalg.norm(image, axis=1, keepdims=True) + 1e-6)
        v = candidates / (np.linalg.norm(candidates, axis=1, keepdims=True) + 1e-6)
        return softmax(u @ v.T / self.temperature, axis=1)


def _svm() -> Learner:
    from sklearn.svm import SVC

    return BestClassifier(SVC())


def _mlp() -> Learner:
    from sklearn.neural_network import MLPClassifier

    return BestClassifier(MLPClassifier((128,), early_stopping=True, random_state=0))


def _ours(kind: str, **options: Any) -> Callable[[], Learner]:
    return partial(PREDICTORS.create, kind, **options)


#: Name as in the literature -> a router that has not learned yet.
PEERS: dict[str, Callable[[], Learner]] = {
    "kNN, k = 100 (RouterBench, LLMRouter)": _ours("knn", k=100, prior=0.0),
    "SVM of the best candidate (LLMRouter)": _svm,
    "MLP of the best candidate (LLMRouter)": _mlp,
    "MLP of every quality (RouterBench)": _ours("neural"),
    "logistic regression per candidate": _ours("logistic"),
    "MF (RouteLLM, EmbedLLM)": _ours("mf"),
    "multidimensional IRT (IRT-Router)": _ours("irt"),
    "clusters, k = 64 (Avengers)": _ours("clusters", sizes=(64,), prior=0.0001),
    "contrastive, linear map (RouterDC)": Contrastive,
}

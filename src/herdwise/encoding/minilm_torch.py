"""all-MiniLM-L6-v2 in torch, of which the last layers are fine-tuned to foretell the candidates' quality."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from herdwise.core.errors import MissingExtraError
from herdwise.encoding.minilm_graph import N_HEADS, N_LAYERS, WIDTH
from herdwise.encoding.unicode import well_formed

_EPSILON = 1e-12
#: Enough characters for so many tokens of any language; what follows is not even cut into tokens.
_CHARS_PER_TOKEN = 128
#: Texts that are read in one pass.
_TOGETHER = 32


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the last layers are trained.

    Args:
        n_layers: how many of the six learn; the others stay as published.
        n_epochs: passes over the texts.
        batch_size: texts per step.
        learning_rate: of AdamW, rising over the first tenth of the steps and then falling to 0; the head's is
            ten times that.
        decay: weight decay.
    """

    n_layers: int
    n_epochs: int
    batch_size: int
    learning_rate: float
    decay: float


class MiniLM:
    """The published network with some layers replaced by tuned ones.

    Args:
        folder: of the checked weights (``minilm.minilm_folder``).
        device: such as "cpu" or "cuda".
        max_tokens: of a text; the rest is not read.

    Raises:
        MissingExtraError: torch or tokenizers is not installed.
    """

    def __init__(self, folder: Path, device: str, max_tokens: int) -> None:
        try:
            self.torch: Any = import_module("torch")
            tokenizers: Any = import_module("tokenizers")
        except ImportError as error:
            raise MissingExtraError("the finetuned encoder", extra="finetune") from error
        self.device, self.max_tokens = device, max_tokens
        self._tokens = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokens.no_padding()
        self._tokens.enable_truncation(max_tokens)
        published = load_file(folder / "model.safetensors")
        self.published = {name: self.torch.from_numpy(value).to(device) for name, value in published.items()}

    def layer_names(self, n_layers: int) -> list[str]:
        """Names of the weights of the last ``n_layers`` layers."""
        starts = tuple(f"encoder.layer.{i}." for i in range(N_LAYERS - n_layers, N_LAYERS))
        return [name for name in self.published if name.startswith(starts)]

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, with the marks of beginning and end."""
        short = [well_formed(text[: _CHARS_PER_TOKEN * self.max_tokens]) for text in texts]
        return [encoding.ids for encoding in self._tokens.encode_batch(short)]

    def padded(self, ids: Sequence[Sequence[int]]) -> tuple[Any, Any]:
        """Ids and mask, ``(b, longest)`` each."""
        width = max(len(row) for row in ids)
        filled = np.zeros((len(ids), width), dtype=np.int64)
        mask = np.zeros((len(ids), width), dtype=bool)
        for place, row in enumerate(ids):
            filled[place, : len(row)], mask[place, : len(row)] = row, True
        return self.torch.from_numpy(filled).to(self.device), self.torch.from_numpy(mask).to(self.device)

    def embedded(self, ids: Any) -> Any:
        """What enters the first layer, ``(b, t, WIDTH)``."""
        p, functional = self.published, self.torch.nn.functional
        x = p["embeddings.word_embeddings.weight"][ids]
        x = x + p["embeddings.position_embeddings.weight"][: ids.shape[1]]
        x = x + p["embeddings.token_type_embeddings.weight"][0]
        scale, bias = (p[f"embeddings.LayerNorm.{part}"] for part in ("weight", "bias"))
        return functional.layer_norm(x, (WIDTH,), scale, bias, _EPSILON)

    def through(self, x: Any, mask: Any, layers: range, tuned: dict[str, Any]) -> Any:
        """``(b, t, WIDTH)`` through some layers; weights in ``tuned`` stand in for the published ones."""
        functional = self.torch.nn.functional
        b, t, _ = x.shape

        def weights(name: str) -> tuple[Any, Any]:
            both = (f"{name}.weight", f"{name}.bias")
            first, second = (tuned[key] if key in tuned else self.published[key] for key in both)
            return first, second

        def heads(name: str) -> Any:
            return functional.linear(x, *weights(name)).view(b, t, N_HEADS, -1).transpose(1, 2)

        for number in layers:
            prefix = f"encoder.layer.{number}"
            query, key, value = (heads(f"{prefix}.attention.self.{p}") for p in ("query", "key", "value"))
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None])
            mixed = mixed.transpose(1, 2).reshape(b, t, WIDTH)
            mixed = functional.linear(mixed, *weights(f"{prefix}.attention.output.dense"))
            norm = weights(f"{prefix}.attention.output.LayerNorm")
            x = functional.layer_norm(x + mixed, (WIDTH,), *norm, _EPSILON)
            inner = functional.gelu(functional.linear(x, *weights(f"{prefix}.intermediate.dense")))
            outer = functional.linear(inner, *weights(f"{prefix}.output.dense"))
            x = functional.layer_norm(x + outer, (WIDTH,), *weights(f"{prefix}.output.LayerNorm"), _EPSILON)
        return x

    def logits(self, x: Any, mask: Any, n_layers: int, tuned: dict[str, Any]) -> Any:
        """Log-odds of each candidate ``(b, m)``, from what enters the tuned layers."""
        x = self.through(x, mask, range(N_LAYERS - n_layers, N_LAYERS), tuned)
        share = mask.to(x.dtype)
        pooled = (x * share[..., None]).sum(dim=1) / share.sum(dim=1, keepdim=True)
        return self.torch.nn.functional.linear(pooled, tuned["head.weight"], tuned["head.bias"])

    def frozen(self, ids: Sequence[Sequence[int]], n_layers: int, *, half: bool) -> list[Any]:
        """What enters the tuned layers, ``(t, WIDTH)`` of each text: computed once for all epochs.

        Args:
            half: as float16, which halves the memory of training.
        """
        found: list[Any] = []
        with self.torch.no_grad():
            for first in range(0, len(ids), _TOGETHER):
                part = ids[first : first + _TOGETHER]
                filled, mask = self.padded(part)
                x = self.through(self.embedded(filled), mask, range(N_LAYERS - n_layers), {})
                x = x.half() if half else x
                found += [x[i, : len(row)].clone() for i, row in enumerate(part)]
        return found

    def joined(self, entered: Sequence[Any]) -> tuple[Any, Any]:
        """A batch of ``frozen`` and its mask."""
        x = self.torch.nn.utils.rnn.pad_sequence(list(entered), batch_first=True).float()
        lengths = self.torch.tensor([len(row) for row in entered], device=x.device)
        return x, self.torch.arange(x.shape[1], device=x.device)[None] < lengths[:, None]


def train(
    network: MiniLM,
    entered: Sequence[Any],
    outcomes: np.ndarray,
    schedule: Schedule,
    rng: np.random.Generator,
    told: Callable[[int], None],
) -> dict[str, np.ndarray]:
    """Tune the last layers and a linear head by masked cross-entropy.

    Args:
        entered: ``MiniLM.frozen`` of the texts.
        outcomes: ``(n, m)`` quality in [0, 1], NaN = not run.
        told: called after each step with the number of texts of the step.

    Returns:
        The tuned layers and the head; float16, which is what is saved.
    """
    torch, functional = network.torch, network.torch.nn.functional
    known = np.isfinite(outcomes)
    level = np.nansum(outcomes, axis=0) + 1.0
    level = np.log(level / (known.sum(axis=0) + 2.0 - level))
    tuned = {name: network.published[name].clone() for name in network.layer_names(schedule.n_layers)}
    head = {
        "head.weight": torch.zeros((outcomes.shape[1], WIDTH), device=network.device),
        "head.bias": torch.tensor(level, dtype=torch.float32, device=network.device),
    }
    layers = [value.requires_grad_() for value in tuned.values()]
    tuned |= head
    groups = [
        {"params": layers, "lr": schedule.learning_rate},
        {"params": [v.requires_grad_() for v in head.values()], "lr": 10 * schedule.learning_rate},
    ]
    learner = torch.optim.AdamW(groups, weight_decay=schedule.decay)
    n_steps = schedule.n_epochs * -(-len(entered) // schedule.batch_size)
    warm = max(n_steps // 10, 1)
    pace = torch.optim.lr_scheduler.LambdaLR(
        learner, lambda step: min((step + 1) / warm, (n_steps - step) / max(n_steps - warm, 1))
    )
    target = torch.tensor(np.where(known, outcomes, 0.0), dtype=torch.float32, device=network.device)
    ran = torch.tensor(known, dtype=torch.float32, device=network.device)
    for rows in _batches(len(entered), schedule, rng):
        x, mask = network.joined([entered[i] for i in rows])
        logits = network.logits(x, mask, schedule.n_layers, tuned)
        loss = functional.binary_cross_entropy_with_logits(logits, target[rows], reduction="none") * ran[rows]
        learner.zero_grad()
        (loss.sum() / ran[rows].sum().clamp(min=1.0)).backward()
        learner.step()
        pace.step()
        told(len(rows))
    return {name: value.detach().half().cpu().numpy() for name, value in tuned.items()}


def _batches(n: int, schedule: Schedule, rng: np.random.Generator) -> Iterator[list[int]]:
    for _ in range(schedule.n_epochs):
        order = rng.permutation(n)
        for first in range(0, n, schedule.batch_size):
            yield order[first : first + schedule.batch_size].tolist()


def foretold(
    network: MiniLM, entered: Sequence[Any], tuned: Mapping[str, np.ndarray], n_layers: int
) -> np.ndarray:
    """``(n, m)`` log-odds of texts given by what enters the tuned layers."""
    torch = network.torch
    weights = {name: torch.from_numpy(value).float().to(network.device) for name, value in tuned.items()}
    parts = []
    with torch.no_grad():
        for first in range(0, len(entered), _TOGETHER):
            x, mask = network.joined(entered[first : first + _TOGETHER])
            parts.append(network.logits(x, mask, n_layers, weights).cpu().numpy())
    return np.concatenate(parts).astype(np.float32)

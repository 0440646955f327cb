"""Nano models in plain torch, for training alone: the forward pass under Hugging Face's names, and LoRA.

Mathematically the same as ``backends.nano.forward`` and as transformers' Llama; a test holds them together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from herdwise.backends.nano.folder import NanoConfig
from herdwise.backends.nano.tokens import PAD
from herdwise.core.errors import MissingExtraError

Tensors = dict[str, NDArray[np.float32]]


def torch_module() -> Any:
    """torch.

    Raises:
        MissingExtraError: when it is not installed.
    """
    try:
        return import_module("torch")
    except ImportError as error:
        raise MissingExtraError("training a model", extra="train") from error


def initial_tensors(config: NanoConfig, seed: int) -> Tensors:
    """Random weights, the same on every machine.

    Normal with a deviation of 1/sqrt(inputs), which matters more at these widths than the usual 0.02; what is
    added to the residual stream is divided by sqrt(2 layers) (GPT-2).
    """
    rng = np.random.default_rng(seed)
    tensors: Tensors = {}
    for name, shape in config.shapes().items():
        if len(shape) == 1:
            tensors[name] = np.ones(shape, np.float32)
            continue
        deviation = shape[1] ** -0.5
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            deviation *= (2 * config.layers) ** -0.5
        tensors[name] = (rng.standard_normal(shape) * deviation).astype(np.float32)
    return tensors


@dataclass(frozen=True)
class Examples:
    """Some questions with their answers, as one step reads them.

    Args:
        tokens: (n, longest) question and answer, padded on the right.
        rows: places in the flattened ``tokens`` whose next token belongs to an answer.
        targets: that token, for each of ``rows``.
        weights: that the example has, for each of ``rows``.
    """

    tokens: NDArray[np.int64]
    rows: NDArray[np.int64]
    targets: NDArray[np.int64]
    weights: NDArray[np.float32]


def examples(parts: Sequence[tuple[Sequence[int], Sequence[int], float]]) -> Examples:
    """One step's examples from (prompt, answer, weight)."""
    longest = max(len(prompt) + len(answer) for prompt, answer, _ in parts) - 1
    tokens = np.full((len(parts), longest), PAD, np.int64)
    rows: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    for i, (prompt, answer, weight) in enumerate(parts):
        # The last token is only ever foretold.
        whole = [*prompt, *answer][:-1]
        tokens[i, : len(whole)] = whole
        first = i * longest + len(prompt) - 1
        rows += range(first, first + len(answer))
        targets += answer
        weights += [weight] * len(answer)
    return Examples(tokens, np.array(rows), np.array(targets), np.array(weights, np.float32))


class TorchNano:
    """A model whose weights learn.

    Args:
        config: shape and alphabet.
        tensors: starting weights, by Hugging Face's names.
        device: such as "cpu" or "cuda".
        lora_rank: None = all weights learn; else only low-rank additions to ``lora_targets`` do
            (Hu et al., arXiv 2106.09685).
        lora_alpha: the additions count alpha / rank.
        lora_targets: last parts of the names of the matrices that get one, such as "q_proj".
        seed: of the additions' start.
        precision: of the products of matrices, "float32" or "bfloat16"; all else is float32.
    """

    def __init__(
        self,
        config: NanoConfig,
        tensors: Mapping[str, NDArray[np.float32]],
        *,
        device: str = "cpu",
        lora_rank: int | None = None,
        lora_alpha: float = 16.0,
        lora_targets: Sequence[str] = (),
        seed: int = 0,
        precision: str = "float32",
    ) -> None:
        torch = self._torch = torch_module()
        self._linear = torch.nn.functional.linear if precision == "float32" else _bfloat16_linear(torch)
        self.config, self._device = config, device
        self._fixed = {name: self._tensor(value) for name, value in tensors.items()}
        #: What learns, by name; in LoRA by peft's names.
        self.learning: dict[str, Any] = {}
        self._scale = 0.0
        if lora_rank is None:
            self.learning, self._fixed = self._fixed, {}
        else:
            self._scale = lora_alpha / lora_rank
            self.learning = self._additions(lora_rank, tuple(lora_targets), seed)
        for tensor in self.learning.values():
            tensor.requires_grad_()
        half = config.head_dim // 2
        rates = config.rope_theta ** -(np.arange(half) / half)
        turn = np.exp(1j * np.arange(config.max_context)[:, None] * rates).astype(np.complex64)
        self._turn = torch.from_numpy(turn).to(device)[:, None]
        # Interleaves the two halves that rotary positions turn against each other, as complex numbers.
        self._order = torch.arange(config.head_dim, device=device).view(2, half).T.reshape(-1)

    def _tensor(self, value: NDArray[np.float32]) -> Any:
        return self._torch.from_numpy(np.array(value, np.float32)).to(self._device)

    def _additions(self, rank: int, targets: tuple[str, ...], seed: int) -> dict[str, Any]:
        rng = np.random.default_rng(seed)
        made: dict[str, Any] = {}
        for name, tensor in self._fixed.items():
            if not name.removesuffix(".weight").endswith(targets):
                continue
            n_out, n_in = tensor.shape
            down = rng.uniform(-1, 1, (rank, n_in)) * n_in**-0.5
            a, b = lora_names(name)
            made[a], made[b] = (
                self._tensor(down.astype(np.float32)),
                self._tensor(np.zeros((n_out, rank), np.float32)),
            )
        return made

    def _weight(self, name: str) -> Any:
        name += ".weight"
        if name in self.learning:
            return self.learning[name]
        fixed = self._fixed[name]
        a, b = lora_names(name)
        if a in self.learning:
            return fixed + self._scale * (self.learning[b] @ self.learning[a])
        return fixed

    def loss(self, batch: Examples) -> Any:
        """Cross-entropy of the answers' tokens, weighted, in nats per token: a scalar tensor."""
        torch, nn = self._torch, self._torch.nn.functional
        rows, targets, weights = (
            torch.from_numpy(part).to(self._device) for part in (batch.rows, batch.targets, batch.weights)
        )
        each = nn.cross_entropy(self.logits(batch.tokens, rows), targets, reduction="none")
        return (each * weights).sum() / weights.sum()

    def logits(self, tokens: NDArray[np.int64], rows: Any) -> Any:
        """(len(rows), n_tokens) logits after the places ``rows`` of the flattened ``tokens``."""
        torch, nn, config = self._torch, self._torch.nn.functional, self.config
        n_texts, length = tokens.shape
        eps, width, last = config.norm_eps, (config.width,), config.layers - 1
        embed = self._weight("model.embed_tokens")
        x = nn.embedding(torch.from_numpy(tokens).to(self._device), embed)
        for i in range(config.layers):
            at = f"model.layers.{i}"
            normed = nn.rms_norm(x, width, self._weight(f"{at}.input_layernorm"), eps)
            seen = self._attend(normed, at, n_texts, length)
            if i == last:
                # Nothing else of the last layer is looked at.
                seen, x = seen.reshape(-1, config.width)[rows], x.reshape(-1, config.width)[rows]
            x = x + self._linear(seen, self._weight(f"{at}.self_attn.o_proj"))
            normed = nn.rms_norm(x, width, self._weight(f"{at}.post_attention_layernorm"), eps)
            wide = torch.cat([self._weight(f"{at}.mlp.gate_proj"), self._weight(f"{at}.mlp.up_proj")])
            gate, up = self._linear(normed, wide).chunk(2, -1)
            x = x + self._linear(nn.silu(gate) * up, self._weight(f"{at}.mlp.down_proj"))
        return nn.linear(nn.rms_norm(x, width, self._weight("model.norm"), eps), embed)

    def _attend(self, normed: Any, at: str, n_texts: int, length: int) -> Any:
        torch, nn, config = self._torch, self._torch.nn.functional, self.config
        n_turned = config.heads + config.kv_heads

        def interleaved(part: str) -> Any:
            weight = self._weight(f"{at}.self_attn.{part}")
            return weight.view(-1, config.head_dim, config.width)[:, self._order].reshape(weight.shape)

        wide = torch.cat(
            [interleaved("q_proj"), interleaved("k_proj"), self._weight(f"{at}.self_attn.v_proj")]
        )
        heads = self._linear(normed, wide).view(n_texts, length, -1, config.head_dim)
        pairs = heads[:, :, :n_turned].reshape(n_texts, length, n_turned, -1, 2)
        turned = torch.view_as_real(torch.view_as_complex(pairs) * self._turn[:length]).flatten(-2)
        seen = nn.scaled_dot_product_attention(
            turned[:, :, : config.heads].transpose(1, 2),
            turned[:, :, config.heads :].transpose(1, 2),
            heads[:, :, n_turned:].transpose(1, 2),
            is_causal=True,
            enable_gqa=config.kv_heads != config.heads,
        )
        return seen.transpose(1, 2).reshape(n_texts, length, config.width)

    def tensors(self) -> Tensors:
        """All weights by Hugging Face's names, LoRA's additions added."""
        with self._torch.no_grad():
            whole = {name: self._weight(name.removesuffix(".weight")) for name in self.config.shapes()}
            return {name: tensor.detach().cpu().numpy().copy() for name, tensor in whole.items()}


def best_precision(device: str) -> Literal["float32", "bfloat16"]:
    """ "bfloat16" where this machine multiplies it faster than float32, else "float32".

    Measured at a width of 96 on a processor with AVX512_BF16: 4 to 5 times for the products, 1.5 times for a
    whole step; processors without it take longer than for float32. Answers are as right (docs/experiments).
    """
    torch = torch_module()
    # Not a public name: a torch without it gets what is right everywhere.
    told = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    able = device == "cpu" and told is not None and told()
    return "bfloat16" if able else "float32"


def _bfloat16_linear(torch: Any) -> Any:
    """``linear`` whose three products are taken in bfloat16. autocast would take all else so too, slower."""
    low = torch.bfloat16

    class Linear(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any, weight: Any) -> Any:
            ctx.shape = x.shape
            flat, w = x.reshape(-1, x.shape[-1]).to(low), weight.to(low)
            ctx.save_for_backward(flat, w)
            return (flat @ w.T).float().view(*x.shape[:-1], -1)

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            flat, w = ctx.saved_tensors
            g = grad.reshape(-1, grad.shape[-1]).to(low)
            return (g @ w).float().view(ctx.shape), (g.T @ flat).float()

    return Linear.apply


def lora_names(name: str) -> tuple[str, str]:
    """peft's names of a matrix's two factors."""
    stem = f"base_model.model.{name.removesuffix('.weight')}"
    return f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"

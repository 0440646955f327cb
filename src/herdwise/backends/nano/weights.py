"""A model's weights as the forward pass wants them: fused, transposed, norms folded in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from herdwise.backends.nano.folder import NanoConfig, Tensors

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer's matrices, each to be multiplied from the right: ``x @ matrix``.

    The weights of RMSNorm stand multiplied into what follows them, and 1/sqrt(head_dim) into the queries.
    In ``qk`` the two halves of each head, which rotary positions turn against each other, are interleaved,
    so that a pair is one complex number; queries and keys alike, so their products stay.

    Args:
        qkv: (width, width + 2 kv_heads head_dim), queries, keys and values.
        out: (width, width).
        gate_up: (width, 2 hidden), both negated: silu(g) u = (-g) / (1 + exp(-g)) (-u).
        down: (hidden, width).
    """

    qkv: F32
    out: F32
    gate_up: F32
    down: F32


@dataclass(frozen=True, slots=True)
class Weights:
    """All of a model. Read by many threads at once, so nothing in it may be written.

    Args:
        embed: (n_tokens, width).
        head: (width, n_tokens), the same with the last norm multiplied in.
        layers: in order.
        turn: (max_context, head_dim / 2), the complex number that turns a pair at each position.
    """

    embed: F32
    head: F32
    layers: tuple[Layer, ...]
    turn: NDArray[np.complex64]


def fuse(config: NanoConfig, tensors: Tensors) -> Weights:
    """Weights of a read model (``folder.read_model``)."""
    half = config.head_dim // 2
    order = np.stack([np.arange(half), np.arange(half) + half], axis=1).ravel()

    def interleaved(matrix: F32) -> F32:
        return matrix.reshape(-1, config.head_dim, config.width)[:, order].reshape(matrix.shape)

    layers = []
    for i in range(config.layers):
        own = {
            name.removeprefix(f"model.layers.{i}.").removesuffix(".weight"): tensor
            for name, tensor in tensors.items()
            if name.startswith(f"model.layers.{i}.")
        }
        before, after = own["input_layernorm"], own["post_attention_layernorm"]
        q = interleaved(own["self_attn.q_proj"]) * np.float32(config.head_dim**-0.5)
        qkv = np.concatenate([q, interleaved(own["self_attn.k_proj"]), own["self_attn.v_proj"]]) * before
        gate_up = -np.concatenate([own["mlp.gate_proj"], own["mlp.up_proj"]]) * after
        layers.append(
            Layer(_fixed(qkv), _fixed(own["self_attn.o_proj"]), _fixed(gate_up), _fixed(own["mlp.down_proj"]))
        )
    embed = tensors["model.embed_tokens.weight"]
    rates = config.rope_theta ** -(np.arange(half) / half)
    turn = np.exp(1j * np.arange(config.max_context)[:, None] * rates).astype(np.complex64)
    turn.setflags(write=False)
    kept = np.ascontiguousarray(embed, np.float32)
    kept.setflags(write=False)
    return Weights(kept, _fixed(embed * tensors["model.norm.weight"]), tuple(layers), turn)


def _fixed(matrix: F32) -> F32:
    turned = np.ascontiguousarray(matrix.T, np.float32)
    turned.setflags(write=False)
    return turned

"""Llama's forward pass in numpy: a prompt (or several, padded on the left) at once, then token by token.

RMSNorm, rotary positions, grouped-query attention with a cache of keys and values, SwiGLU and tied embeddings
as in Touvron et al., "LLaMA" (arXiv 2302.13971) and "Llama 2" (arXiv 2307.09288).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from herdwise.backends.nano.folder import NanoConfig
from herdwise.backends.nano.weights import F32, Weights

#: Added to the attention scores of what must not be seen.
_HIDDEN = np.float32(-1e30)
#: Beyond it exp would overflow, and the gate is shut anyhow.
_STEEP = np.float32(80)


class Batch:
    """Several texts that grow together, with their cache of keys and values.

    Shorter prompts are padded on the left, and padding is never attended to. Rotary positions are relative,
    so a text reads the same wherever it begins.

    Args:
        config, weights: of the model.
        n_texts: how many.
        n_tokens: of the longest, prompt and answer together.
    """

    def __init__(self, config: NanoConfig, weights: Weights, n_texts: int, n_tokens: int) -> None:
        self._config, self._weights = config, weights
        shape = (config.layers, n_texts, config.kv_heads, n_tokens, config.head_dim)
        self._keys, self._values = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self._pads: NDArray[Any] = np.zeros(n_texts, np.intp)
        self.length = 0

    def keep(self, rows: NDArray[Any]) -> None:
        """Go on with these texts alone."""
        self._keys, self._values = self._keys[:, rows], self._values[:, rows]
        self._pads = self._pads[rows]

    def read(self, tokens: NDArray[Any], pads: NDArray[Any]) -> F32:
        """Read prompts, or one more token of each.

        Args:
            tokens: (n_texts, n_new).
            pads: (n_texts,) leading tokens of each that are padding; counts at the first call alone.

        Returns:
            (n_texts, n_tokens) logits of what follows.
        """
        config, weights = self._config, self._weights
        n_texts, n_new = tokens.shape
        start, end = self.length, self.length + n_new
        if start == 0:
            self._pads = pads
        # One row per token: numpy would multiply a stack of matrices one by one.
        x = weights.embed[tokens.ravel()]
        turn = weights.turn[start:end]
        hidden = self._hidden(start, end)
        for i, layer in enumerate(weights.layers):
            qkv = _normed(x, config.norm_eps) @ layer.qkv
            heads = qkv.reshape(n_texts, n_new, -1, config.head_dim).transpose(0, 2, 1, 3)
            n_turned = config.heads + config.kv_heads
            turned = np.ascontiguousarray(heads[:, :n_turned])
            pairs = turned.view(np.complex64)
            pairs *= turn
            self._keys[i, :, :, start:end] = turned[:, config.heads :]
            self._values[i, :, :, start:end] = heads[:, n_turned:]
            queries = turned[:, : config.heads].reshape(n_texts, config.kv_heads, -1, config.head_dim)
            scores = queries @ self._keys[i, :, :, :end].swapaxes(-1, -2)
            scores = scores.reshape(n_texts, config.heads, n_new, end)
            if hidden is not None:
                scores += hidden
            scores -= scores.max(axis=-1, keepdims=True)
            np.exp(scores, out=scores)
            scores /= scores.sum(axis=-1, keepdims=True)
            seen = scores.reshape(n_texts, config.kv_heads, -1, end) @ self._values[i, :, :, :end]
            seen = seen.reshape(n_texts, config.heads, n_new, config.head_dim).transpose(0, 2, 1, 3)
            x += seen.reshape(-1, config.width) @ layer.out
            gate_up = _normed(x, config.norm_eps) @ layer.gate_up
            x += _gated(gate_up[:, : config.hidden], gate_up[:, config.hidden :]) @ layer.down
        self.length = end
        return _normed(x.reshape(n_texts, n_new, -1)[:, -1], config.norm_eps) @ weights.head

    def _hidden(self, start: int, end: int) -> F32 | None:
        """What each new token may not see, to be added to scores; None = it may see everything."""
        n_new = end - start
        if n_new == 1 and not self._pads.any():
            return None
        later = np.arange(end) > np.arange(start, end)[:, None]
        padding = np.arange(end) < self._pads[:, None, None]
        hidden = np.where(later | padding, _HIDDEN, np.float32(0))
        return hidden[:, None]

    def grow(self) -> Single:
        """The first text alone, for ``Single``'s faster steps; the batch must hold one without padding."""
        return Single(self._config, self._weights, self._keys[:, 0], self._values[:, 0], self.length)


class Single:
    """One text that grows token by token; the same as ``Batch`` in fewer and smaller calls.

    At these sizes a step's time is that of its calls, not of its sums: hence vectors, arrays that are made
    once and written over, and no call that another can take along.

    Args:
        config, weights: of the model.
        keys, values: (layers, kv_heads, n_tokens, head_dim), of which ``length`` tokens are filled.
        length: tokens read so far.
    """

    def __init__(self, config: NanoConfig, weights: Weights, keys: F32, values: F32, length: int) -> None:
        self._config, self._weights, self.length = config, weights, length
        self._keys, self._values = keys, values
        kv_width = config.kv_heads * config.head_dim
        n_qk = config.width + kv_width
        self._qkv = np.empty(n_qk + kv_width, np.float32)
        self._pairs = self._qkv[:n_qk].view(np.complex64).reshape(-1, config.head_dim // 2)
        grouped = (config.kv_heads, config.heads // config.kv_heads, config.head_dim)
        self._queries = self._qkv[: config.width].reshape(grouped)
        self._new_keys = self._qkv[config.width : n_qk].reshape(config.kv_heads, config.head_dim)
        self._new_values = self._qkv[n_qk:].reshape(config.kv_heads, config.head_dim)
        self._seen = np.empty(grouped, np.float32)
        self._seen_flat = self._seen.reshape(-1)
        self._gate_up = np.empty(2 * config.hidden, np.float32)
        self._gate, self._up = self._gate_up[: config.hidden], self._gate_up[config.hidden :]
        self._exp = np.empty(config.hidden, np.float32)
        self._step = np.empty(config.width, np.float32)
        self._x = np.empty(config.width, np.float32)

    def read(self, token: int) -> F32:
        """Read one more token.

        Returns:
            (n_tokens,) logits of what follows, in an array of their own.
        """
        config, weights, x, step = self._config, self._weights, self._x, self._step
        at, end = self.length, self.length + 1
        turn = weights.turn[at]
        gate, up, exp = self._gate, self._up, self._exp
        x[:] = weights.embed[token]
        for layer, keys, values in zip(weights.layers, self._keys, self._values, strict=True):
            np.dot(x, layer.qkv, out=self._qkv)
            self._qkv *= _norm_factor(x, config)
            np.multiply(self._pairs, turn, out=self._pairs)
            keys[:, at], values[:, at] = self._new_keys, self._new_values
            scores = self._queries @ keys[:, :end].transpose(0, 2, 1)
            scores -= scores.max(-1, keepdims=True)
            np.exp(scores, out=scores)
            np.matmul(scores, values[:, :end], out=self._seen)
            self._seen /= scores.sum(-1, keepdims=True)
            np.dot(self._seen_flat, layer.out, out=step)
            x += step
            np.dot(x, layer.gate_up, out=self._gate_up)
            self._gate_up *= _norm_factor(x, config)
            np.minimum(gate, _STEEP, out=exp)
            np.exp(exp, out=exp)
            exp += 1.0
            gate /= exp
            gate *= up
            np.dot(gate, layer.down, out=step)
            x += step
        self.length = end
        logits: F32 = np.dot(x, weights.head)
        logits *= _norm_factor(x, config)
        return logits


def _norm_factor(x: F32, config: NanoConfig) -> np.float32:
    """RMSNorm of a vector is a number that commutes with the matrix behind it."""
    return np.float32(1.0 / math.sqrt(float(np.dot(x, x)) / config.width + config.norm_eps))


def _normed(x: F32, eps: float) -> F32:
    mean: F32 = np.einsum("nd,nd->n", x, x)[:, None] / np.float32(x.shape[-1])
    normed: F32 = x / np.sqrt(mean + np.float32(eps))
    return normed


def _gated(gate: F32, up: F32) -> F32:
    """silu(g) u of the negated g and u."""
    falling: F32 = np.minimum(gate, _STEEP)
    np.exp(falling, out=falling)
    falling += 1
    np.divide(gate, falling, out=falling)
    falling *= up
    return falling

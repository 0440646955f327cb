"""Several fine-tuned models or adapters of one base -> one model, by arithmetic on their weights alone.

A task vector is what fine-tuning changed: tuned - base, or alpha / rank B A of a LoRA adapter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from herdwise.core.errors import ConfigError

F32 = NDArray[np.float32]
#: Name -> what was added to that tensor; a tensor that stayed may be left out.
Vector = Mapping[str, F32]


def task_vector(base: Mapping[str, F32], tuned: Mapping[str, F32]) -> dict[str, F32]:
    """What fine-tuning changed.

    Raises:
        ConfigError: when the two are of different shapes.
    """
    if {n: t.shape for n, t in base.items()} != {n: t.shape for n, t in tuned.items()}:
        raise ConfigError(
            "a model to be merged has other tensors than the base.", remedy="Merge models of the same base."
        )
    return {name: tuned[name] - tensor for name, tensor in base.items()}


def add(base: Mapping[str, F32], vector: Vector) -> dict[str, F32]:
    """The base with a task vector added."""
    missing = vector.keys() - base.keys()
    if missing:
        raise ConfigError(f"a task vector changes {min(missing)!r}, which the base does not have.")
    return {name: tensor + vector[name] if name in vector else tensor.copy() for name, tensor in base.items()}


def linear(vectors: Sequence[Vector], weights: Sequence[float] | None = None) -> dict[str, F32]:
    """The weighted mean, which is that of the models too (model soups, arXiv 2203.05482).

    Args:
        vectors: at least one.
        weights: one each, not summing to 0; None = equal.

    Raises:
        ConfigError: for weights that do not fit.
    """
    shares = np.ones(len(vectors)) if weights is None else np.asarray(weights, float)
    if len(shares) != len(vectors) or not np.isfinite(shares).all() or not shares.sum():
        raise ConfigError(f"{len(vectors)} models need as many weights, whose sum is not 0.")
    return _summed(vectors, shares / shares.sum())


def task_arithmetic(vectors: Sequence[Vector], scale: float = 0.3) -> dict[str, F32]:
    """The sum, scaled (Ilharco et al., arXiv 2212.04089, whose default for many tasks is 0.3 or 0.4)."""
    return _summed(vectors, np.full(len(vectors), scale))


def ties(vectors: Sequence[Vector], density: float = 0.2, scale: float = 1.0) -> dict[str, F32]:
    """Trim, elect sign and merge (TIES, Yadav et al., arXiv 2306.01708).

    Of each vector the ``density`` largest magnitudes are kept, over all tensors together. The sign with the
    larger sum wins each place, and those that have it are averaged there.

    Args:
        vectors: at least one.
        density: share that is kept, above 0 and up to 1.
        scale: of the result.

    Raises:
        ConfigError: for a density out of range.
    """
    if not 0 < density <= 1:
        raise ConfigError(f"density {density} is out of range.", remedy="It is above 0 and up to 1.")
    layout = _layout(vectors)
    kept = np.stack([_trimmed(_flat(vector, layout), density) for vector in vectors])
    elected = np.sign(kept.sum(axis=0))
    agree = (np.sign(kept) == elected) & (kept != 0)
    counts = agree.sum(axis=0)
    merged = np.where(agree, kept, 0).sum(axis=0) / np.maximum(counts, 1)
    return _named(merged * scale, layout)


@dataclass(frozen=True)
class EMR:
    """What EMR-merging keeps: one vector for all tasks, and for each a mask and a number.

    Args:
        unified: the elected vector.
        masks: of each task: where the elected sign is its own.
        scales: of each task: brings the masked vector to the task's mean magnitude.
    """

    unified: dict[str, F32]
    masks: tuple[dict[str, NDArray[np.bool_]], ...]
    scales: tuple[float, ...]

    def vector(self, task: int) -> dict[str, F32]:
        """One task's vector."""
        mask, scale = self.masks[task], np.float32(self.scales[task])
        return {name: np.where(mask[name], tensor * scale, 0) for name, tensor in self.unified.items()}

    @property
    def n_bytes(self) -> int:
        """Of the vector in float16, a bit per place and task, and the numbers."""
        n = sum(tensor.size for tensor in self.unified.values())
        return 2 * n + len(self.masks) * (-(-n // 8) + 4)


def emr(vectors: Sequence[Vector]) -> EMR:
    """Elect, mask and rescale (EMR-merging, Huang et al., arXiv 2405.17461): no data, no tuning.

    In each place the sign of the sum is elected, with the largest magnitude among the vectors that have it.
    """
    layout = _layout(vectors)
    stack = np.stack([_flat(vector, layout) for vector in vectors])
    sign = np.sign(stack.sum(axis=0))
    unified = sign * np.where(np.sign(stack) == sign, np.abs(stack), 0).max(axis=0)
    masks = stack * unified > 0
    size = np.abs(stack).sum(axis=1)
    left = np.where(masks, np.abs(unified), 0).sum(axis=1)
    scales = np.divide(size, left, out=np.zeros_like(size), where=left > 0)
    return EMR(
        _named(unified, layout),
        tuple(
            {name: part != 0 for name, part in _named(mask.astype(np.float32), layout).items()}
            for mask in masks
        ),
        tuple(scales.tolist()),
    )


def _summed(vectors: Sequence[Vector], shares: NDArray[np.float64]) -> dict[str, F32]:
    layout = _layout(vectors)
    return {
        name: np.asarray(
            sum(
                share * vector[name].astype(np.float64)
                for share, vector in zip(shares, vectors, strict=True)
                if name in vector
            ),
            np.float32,
        )
        for name in layout
    }


def _layout(vectors: Sequence[Vector]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of all tensors that any of the vectors changes."""
    if not vectors:
        raise ConfigError("there is nothing to merge.")
    layout: dict[str, tuple[int, ...]] = {}
    for vector in vectors:
        for name, tensor in vector.items():
            if layout.setdefault(name, tensor.shape) != tensor.shape:
                raise ConfigError(
                    f"{name!r} has the shape {tensor.shape} in one model and {layout[name]} in another.",
                    remedy="Merge models of the same base.",
                )
    return layout


def _flat(vector: Vector, layout: Mapping[str, tuple[int, ...]]) -> NDArray[np.float64]:
    parts = [
        vector[name].ravel() if name in vector else np.zeros(int(np.prod(shape)))
        for name, shape in layout.items()
    ]
    return np.concatenate(parts).astype(np.float64)


def _named(flat: NDArray[np.float64] | F32, layout: Mapping[str, tuple[int, ...]]) -> dict[str, F32]:
    named, start = {}, 0
    for name, shape in layout.items():
        size = int(np.prod(shape))
        named[name] = flat[start : start + size].reshape(shape).astype(np.float32)
        start += size
    return named


def _trimmed(flat: NDArray[np.float64], density: float) -> NDArray[np.float64]:
    n_kept = max(1, round(density * len(flat)))
    least = np.partition(np.abs(flat), len(flat) - n_kept)[len(flat) - n_kept]
    return np.where(np.abs(flat) >= least, flat, 0)

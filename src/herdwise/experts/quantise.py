"""Store a nano model in int8, a scale per row: a quarter of float32, half of float16."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from herdwise.backends.nano.folder import SCALE, read_card, read_model, write_model
from herdwise.backends.nano.model import NanoModel

_MOST = 127


class QuantiseReport(msgspec.Struct, frozen=True, kw_only=True):
    """What int8 cost and saved.

    Args:
        folder: of the int8 model.
        bytes_before, bytes_after: of model.safetensors.
        error: of all matrices, root mean square of the rounding against that of the weights.
        worst, worst_error: the tensor with the largest such error, and it.
        n_prompts: that both models were asked.
        same_answers: share of them that both answer word for word alike; None without prompts.
    """

    folder: str
    bytes_before: int
    bytes_after: int
    error: float
    worst: str
    worst_error: float
    n_prompts: int
    same_answers: float | None


def quantise(
    model: str | os.PathLike[str], out: str | os.PathLike[str], *, prompts: Sequence[str] = ()
) -> QuantiseReport:
    """Write the model with its matrices in int8; the norms' weights stay as they are.

    Each row is divided by its largest magnitude / 127 and rounded (absmax, symmetric).

    Args:
        model: folder.
        out: folder of the int8 model; may be the same.
        prompts: asked of both, greedily, to see how many answers change.

    Raises:
        ArtefactError: a damaged model.
        InputError: a prompt that its context has no room for.
    """
    config, tensors = read_model(model)
    card = read_card(model)
    before = (Path(model) / "model.safetensors").stat().st_size
    stored: dict[str, NDArray[Any]] = {}
    rounded: dict[str, NDArray[np.float32]] = {}
    errors: dict[str, float] = {}
    lost = whole = 0.0
    for name, tensor in tensors.items():
        if tensor.ndim == 1:
            stored[name] = rounded[name] = tensor
            continue
        stored[name], stored[name + SCALE] = quantise_rows(tensor)
        rounded[name] = stored[name] * stored[name + SCALE][:, None]
        error, size = float(((rounded[name] - tensor) ** 2).sum()), float((tensor**2).sum())
        errors[name] = (error / size) ** 0.5 if size else 0.0
        lost, whole = lost + error, whole + size
    same = None
    if prompts:
        one, other = (NanoModel(config, t).answer_all(prompts) for t in (tensors, rounded))
        same = float(np.mean([a == b for a, b in zip(one, other, strict=True)]))
    worst = max(errors, key=lambda name: errors[name])
    figures = {
        "error": (lost / whole) ** 0.5 if whole else 0.0,
        "worst": worst,
        "worst_error": errors[worst],
        "n_prompts": len(prompts),
        "same_answers": same,
    }
    write_model(out, config, stored, {**card, "int8": figures})
    after = (Path(out) / "model.safetensors").stat().st_size
    return QuantiseReport(folder=str(out), bytes_before=before, bytes_after=after, **figures)  # type: ignore[arg-type]


def quantise_rows(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """int8 rows, and each row's scale; their product is the matrix but for rounding.

    >>> rows, scale = quantise_rows(np.array([[0.5, -1.27, 0.004], [0, 0, 0]], np.float32))
    >>> rows.tolist()
    [[50, -127, 0], [0, 0, 0]]
    >>> [round(float(s), 4) for s in scale]
    [0.01, 0.0]
    """
    scale = (np.abs(matrix).max(axis=1) / _MOST).astype(np.float32)
    rows = np.rint(matrix / np.where(scale > 0, scale, 1)[:, None]).astype(np.int8)
    return rows, scale

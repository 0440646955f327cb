"""Merging on disk: model folders and LoRA adapters in, model folders out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from herdwise.backends.nano.folder import NanoConfig, read_card, read_model, write_model
from herdwise.core.errors import ArtefactError, ConfigError
from herdwise.experts.merge import F32, Vector, add, emr, linear, task_arithmetic, task_vector, ties

Method = Literal["linear", "task_arithmetic", "ties", "emr"]

_STEM = "base_model.model."
_ADAPTER = "adapter_model.safetensors"


class MergeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was merged.

    Args:
        method: how.
        folders: of the models written; one, but for EMR-merging, which gives one per part.
        parts: what went in.
        cosines: of each pair of parts' task vectors, row by row; near 0, they touch different directions.
        shared_bytes: what EMR-merging would keep in all: one vector and a mask each; None for the others.
    """

    method: str
    folders: list[str]
    parts: list[str]
    cosines: list[list[float]]
    shared_bytes: int | None


def merge_folders(
    base: str | os.PathLike[str],
    parts: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    method: Method = "ties",
    *,
    weights: Sequence[float] | None = None,
    scale: float | None = None,
    density: float = 0.2,
) -> MergeReport:
    """Merge models or adapters that were fine-tuned from one base.

    Args:
        base: model folder that all of them started from.
        parts: model folders, or adapter folders in peft's format.
        out: folder of the merged model; with "emr" a folder of folders, one per part by its name.
        method: see ``experts.merge``.
        weights: of "linear".
        scale: of "task_arithmetic" and "ties"; None = their default.
        density: of "ties".

    Raises:
        ConfigError: parts that do not fit the base, an unknown method, or two parts of one name with "emr".
        ArtefactError: a damaged folder.
    """
    config, start = read_model(base)
    vectors = [read_vector(part, config, start) for part in parts]
    names = [Path(part).name for part in parts]
    scaled = {} if scale is None else {"scale": scale}
    card = {"base": read_card(base), "merged": {"method": method, "parts": names}}
    shared = None
    if method == "emr":
        if len(set(names)) < len(names):
            raise ConfigError(f"two of {', '.join(names)} have the same name.", remedy="Rename a folder.")
        kept = emr(vectors)
        shared = kept.n_bytes
        made = {Path(out) / name: kept.vector(i) for i, name in enumerate(names)}
    elif method == "linear":
        made = {Path(out): linear(vectors, weights)}
    elif method == "task_arithmetic":
        made = {Path(out): task_arithmetic(vectors, **scaled)}
    elif method == "ties":
        made = {Path(out): ties(vectors, density, **scaled)}
    else:
        raise ConfigError(
            f"merging by {method!r} is not known.", remedy="It is linear, task_arithmetic, ties or emr."
        )
    for folder, vector in made.items():
        whole = {name: tensor.astype(np.float16) for name, tensor in add(start, vector).items()}
        write_model(folder, config, whole, card)
    return MergeReport(
        method=method,
        folders=[str(folder) for folder in made],
        parts=[str(part) for part in parts],
        cosines=_cosines(vectors),
        shared_bytes=shared,
    )


def read_vector(part: str | os.PathLike[str], config: NanoConfig, base: Mapping[str, F32]) -> dict[str, F32]:
    """The task vector of a model folder or an adapter folder.

    Args:
        part: the folder.
        config, base: of the base.

    Raises:
        ConfigError: when it is of another shape than the base.
        ArtefactError: when it is damaged.
    """
    folder = Path(part)
    if (folder / _ADAPTER).is_file():
        return adapter_vector(folder)
    own, tuned = read_model(folder)
    if own.words != config.words:
        raise ConfigError(f"{folder}: its word tokens are not the base's.")
    return task_vector(base, tuned)


def adapter_vector(folder: str | os.PathLike[str]) -> dict[str, F32]:
    """alpha / rank B A of each matrix of a LoRA adapter in peft's format.

    Raises:
        ArtefactError: when a file is missing or damaged, or it is no plain LoRA.
    """
    path = Path(folder) / "adapter_config.json"
    try:
        stated: Any = msgspec.json.decode(path.read_bytes())
        stored = load_file(Path(folder) / _ADAPTER)
        if (
            stated.get("peft_type") != "LORA"
            or stated.get("use_dora")
            or stated.get("bias", "none") != "none"
        ):
            raise ArtefactError(f"{path}: only plain LoRA without biases can be merged.")
        root = np.sqrt(stated["r"]) if stated.get("use_rslora") else stated["r"]
        factor = np.float32(stated["lora_alpha"] / root)
        vector: dict[str, F32] = {}
        for name, a in stored.items():
            if not name.endswith(".lora_A.weight"):
                continue
            stem = name.removesuffix(".lora_A.weight")
            b = stored[f"{stem}.lora_B.weight"]
            vector[f"{stem.removeprefix(_STEM)}.weight"] = (
                factor * b.astype(np.float32) @ a.astype(np.float32)
            )
    except (
        OSError,
        msgspec.DecodeError,
        SafetensorError,
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
    ) as error:
        raise ArtefactError(f"{folder}: not a LoRA adapter in peft's format ({error!r}).") from error
    if not vector:
        raise ArtefactError(f"{folder}: the adapter changes nothing.")
    return vector


def _cosines(vectors: Sequence[Vector]) -> list[list[float]]:
    names = sorted({name for vector in vectors for name in vector})

    def product(a: Vector, b: Vector) -> float:
        both = (np.vdot(a[n], b[n]) for n in names if n in a and n in b)
        return float(sum(map(float, both)))

    sizes = [product(v, v) ** 0.5 for v in vectors]
    return [
        [product(a, b) / (m * n) if m and n else 0.0 for b, n in zip(vectors, sizes, strict=True)]
        for a, m in zip(vectors, sizes, strict=True)
    ]

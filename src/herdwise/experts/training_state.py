"""Where a training run stands, on disk: weights, AdamW's moments and the step, so that kill -9 loses seconds.

One safetensors file, written beside and then renamed, so that it is always whole. The loss curve is lines of
JSON; those after the checkpoint's step are dropped when a run goes on from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from herdwise.core.errors import ArtefactError, ConfigError
from herdwise.storage.whole_files import write_whole

_FILE = "checkpoint/state.safetensors"
#: What it is called while it is written.
_PART = ".part"
_LOSSES = "loss.jsonl"


@dataclass(frozen=True)
class State:
    """A run after some steps.

    Args:
        step: done so far.
        cpu_s: processor seconds spent so far.
        weights, first, second: what learns and AdamW's two moments, by name.
    """

    step: int
    cpu_s: float
    weights: Mapping[str, NDArray[Any]]
    first: Mapping[str, NDArray[Any]]
    second: Mapping[str, NDArray[Any]]


def fingerprint(*parts: Any) -> str:
    """Of settings and data: the same run has the same one."""
    digest = hashlib.sha256()
    encode = msgspec.json.Encoder(order="deterministic").encode
    for part in parts:
        digest.update(encode(part))
    return digest.hexdigest()[:32]


def save_state(folder: Path, run: str, state: State) -> None:
    """Write the state of a run.

    Args:
        folder: of the run.
        run: its fingerprint.
        state: where it stands.
    """
    path = folder / _FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = {"weights": state.weights, "first": state.first, "second": state.second}
    tensors = {
        f"{part}:{name}": np.ascontiguousarray(t) for part, own in parts.items() for name, t in own.items()
    }
    stated = {"run": run, "step": str(state.step), "cpu_s": repr(state.cpu_s)}
    part = path.with_suffix(_PART)
    save_file(tensors, part, metadata=stated)
    part.replace(path)


def load_state(folder: Path, run: str) -> State | None:
    """The state to go on from; None = the run has none yet.

    Raises:
        ConfigError: when the folder holds another run.
        ArtefactError: when the file is damaged.
    """
    path = folder / _FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as stored:
            stated = stored.metadata() or {}
            if stated.get("run") != run:
                raise ConfigError(
                    f"{folder} holds a run with other settings or data.",
                    remedy="Choose another folder, or remove this one.",
                )
            parts: dict[str, dict[str, NDArray[Any]]] = {"weights": {}, "first": {}, "second": {}}
            for key in stored.keys():  # noqa: SIM118 - no mapping
                part, _, name = key.partition(":")
                parts[part][name] = stored.get_tensor(key)
            return State(step=int(stated["step"]), cpu_s=float(stated["cpu_s"]), **parts)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ArtefactError(f"{path}: not a readable checkpoint ({error}).", remedy="Remove it.") from error


def drop_state(folder: Path) -> None:
    """Remove the checkpoint of a finished run."""
    (folder / _FILE).unlink(missing_ok=True)
    (folder / _FILE).with_suffix(_PART).unlink(missing_ok=True)  # of a run that was killed at it
    if (folder / _FILE).parent.is_dir():
        (folder / _FILE).parent.rmdir()


class LossCurve:
    """loss.jsonl: one line per reported step.

    Args:
        folder: of the run.
        step: lines after it are dropped; they belong to steps that will be done again.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / _LOSSES
        kept = [line for line in read_losses(folder) if line["step"] <= step] if step else []
        write_whole(self._path, b"".join(msgspec.json.encode(line) + b"\n" for line in kept))

    def add(self, **line: float) -> None:
        """Append a line."""
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")


def read_losses(folder: Path) -> Sequence[dict[str, float]]:
    """The lines of loss.jsonl, a torn last one left out; empty where there is no file."""
    path = folder / _LOSSES
    if not path.is_file():
        return ()
    found: list[dict[str, float]] = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            found.append(msgspec.json.decode(line, type=dict[str, float]))
        except msgspec.DecodeError as error:
            raise ArtefactError(f"{path}: not lines of JSON ({error}).", remedy="Remove it.") from error
    return found

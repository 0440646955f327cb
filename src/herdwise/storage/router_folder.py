"""Router folders: manifest.json + safetensors + JSON text. Never pickle: safe to load from a stranger.

manifest.json            what it is, the herd, the training facts, sha256 of every other file
encoder.safetensors      what each part learned; a part that learned nothing has no file
predictor.safetensors
resources.safetensors
neighbours.safetensors   vectors and outcomes of the recorded queries, for explanations
neighbours.json          their texts
admitted.safetensors     how enlisted candidates follow from the learned ones
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from herdwise.core.errors import ArtefactError
from herdwise.storage.whole_files import naming

FORMAT = "herdwise-router"
#: 2 may hold enlisted and removed candidates; a reader of 1 would serve the wrong herd.
FORMAT_VERSION = 2
_READABLE = (1, 2)
_RETRAIN = "Train it again: herdwise train --outcomes DIR --out ROUTER."


def write_router_folder(
    path: str | os.PathLike[str],
    manifest: Mapping[str, Any],
    arrays: Mapping[str, Mapping[str, np.ndarray]],
    texts: Mapping[str, Any],
) -> Path:
    """Write a router folder whole: it is built beside its place and moved there.

    Args:
        path: the folder; an older router there is replaced, anything else is refused.
        manifest: JSON values; format, version and hashes are added.
        arrays: part -> named arrays, each part a safetensors file.
        texts: part -> JSON values, each part a json file.

    Raises:
        ArtefactError: when ``path`` holds something that is not a router, or cannot be written.
        OSError: naming the folder, where the disk is full.
    """
    folder = Path(path)
    refuse_others(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise ArtefactError(
            f"{folder} cannot be written: {error.strerror}.", remedy="Choose another --out."
        ) from error
    try:
        with naming(folder):
            files: dict[str, str] = {}
            for part, named in arrays.items():
                if named:
                    whole = {k: np.asarray(v, order="C") for k, v in named.items()}
                    _put(building, f"{part}.safetensors", save(whole), files)
            for part, value in texts.items():
                _put(building, f"{part}.json", msgspec.json.encode(value), files)
            document = {"format": FORMAT, "format_version": FORMAT_VERSION, **manifest, "files": files}
            (building / "manifest.json").write_bytes(
                msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
            )
            building.chmod(0o755)
            _exchange(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def _exchange(building: Path, folder: Path) -> None:
    """Move a finished folder to its place; whoever interrupts finds the old router there or the new one."""
    if not folder.exists():
        building.replace(folder)
        return
    old = building.with_name(f"{building.name}.old")
    folder.replace(old)
    try:
        building.replace(folder)
    except BaseException:
        old.replace(folder)
        raise
    shutil.rmtree(old)


def refuse_others(path: str | os.PathLike[str]) -> None:
    """Whoever works for hours before writing asks first.

    Raises:
        ArtefactError: when ``path`` holds something that is not a router.
    """
    folder = Path(path)
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not is_router(folder))):
        raise ArtefactError(
            f"{folder} exists and is not a router.", remedy="Choose another --out, or remove it yourself."
        )


def is_router(path: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a router's manifest."""
    return (Path(path) / "manifest.json").is_file()


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest of a router folder, every file that it names being there and whole.

    Some parts are read later, when they are first needed: what is wrong with them is said now.

    Raises:
        ArtefactError: when it is missing, broken, of another format or newer than this herdwise; when a
            file that it names is missing, truncated or changed.
    """
    folder = Path(path)
    file = folder / "manifest.json"
    if not file.is_file():
        raise ArtefactError(f"{folder} is not a router: it has no manifest.json.", remedy=_RETRAIN)
    try:
        manifest = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ArtefactError(f"{file} is not a manifest: {error}.", remedy=_RETRAIN) from error
    if manifest.get("format") != FORMAT:
        raise ArtefactError(f"{file} is not of a herdwise router.", remedy=_RETRAIN)
    version = manifest.get("format_version")
    if version not in _READABLE:
        raise ArtefactError(
            f"{file} has format_version {version}, this herdwise reads 1 to {FORMAT_VERSION}.",
            remedy="Update herdwise, or train the router again.",
        )
    for name in _files(file, manifest):
        read_file(folder, manifest, name)
    return manifest


def read_arrays(
    folder: str | os.PathLike[str], manifest: Mapping[str, Any], part: str
) -> dict[str, np.ndarray]:
    """The named arrays of one part; empty where it learned none.

    Raises:
        ArtefactError: when the file is missing, truncated or changed.
    """
    data = read_file(folder, manifest, f"{part}.safetensors")
    if data is None:
        return {}
    try:
        return load(data)
    except SafetensorError as error:
        raise ArtefactError(f"{folder}/{part}.safetensors: {error}.", remedy=_RETRAIN) from error


def _files(file: Path, manifest: Mapping[str, Any]) -> list[str]:
    files = manifest.get("files", {})
    if not isinstance(files, dict):
        raise ArtefactError(f"{file} is not a manifest: its files are no object.", remedy=_RETRAIN)
    # A manifest from a stranger names its own files, and no others.
    strays = [name for name in files if name != Path(name).name]
    if strays:
        raise ArtefactError(f"{file} names {strays[0]!r}, which is not beside it.", remedy=_RETRAIN)
    return list(files)


def _put(folder: Path, name: str, data: bytes, files: dict[str, str]) -> None:
    (folder / name).write_bytes(data)
    files[name] = hashlib.sha256(data).hexdigest()


def read_file(folder: str | os.PathLike[str], manifest: Mapping[str, Any], name: str) -> bytes | None:
    """One file's bytes, checked against the manifest's hash; None where the router has no such file.

    Raises:
        ArtefactError: when the file is missing, truncated or changed.
    """
    files: Mapping[str, str] = manifest.get("files", {})
    if name not in files:
        return None
    folder = Path(folder)
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise ArtefactError(
            f"{folder} is truncated: {name} cannot be read ({error}).", remedy=_RETRAIN
        ) from error
    if hashlib.sha256(data).hexdigest() != files[name]:
        raise ArtefactError(
            f"{folder / name} is truncated or was changed: its hash is not the manifest's.", remedy=_RETRAIN
        )
    return data

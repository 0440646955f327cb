from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from herdwise.backends.nano.folder import NanoConfig, read_card, read_config, read_model, write_model
from herdwise.core.errors import ArtefactError


@pytest.fixture
def folder(nano_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(nano_folder, tmp_path / "model"))


def edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_model_that_was_written_is_read_back(folder: Path, tmp_path: Path) -> None:
    config, tensors = read_model(folder)
    again = write_model(tmp_path / "again", config, tensors, {"a": 1})
    config_again, tensors_again = read_model(again)
    assert config_again == config
    assert all((tensors_again[name] == tensor).all() for name, tensor in tensors.items())
    assert read_card(again) == {"a": 1}
    assert not list(again.glob("*.part"))
    modes = {path.stat().st_mode for path in again.iterdir()}
    assert len(modes) == 1, "whoever may read the config may read the weights"


def test_the_number_of_parameters_is_that_of_all_tensors(folder: Path) -> None:
    config, tensors = read_model(folder)
    assert config.n_params == sum(tensor.size for tensor in tensors.values())


def test_int8_is_multiplied_by_its_scale_per_row(folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    whole = np.arange(stored[name].size).reshape(stored[name].shape) % 100
    scale = np.linspace(0.1, 1, len(whole)).astype(np.float32)
    stored |= {name: whole.astype(np.int8), f"{name}.scale": scale}
    save_file(stored, folder / "model.safetensors")
    np.testing.assert_allclose(read_model(folder)[1][name], whole * scale[:, None], rtol=1e-6)


def test_int8_without_its_scale_is_refused_by_name(folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    stored["model.embed_tokens.weight"] = stored["model.embed_tokens.weight"].astype(np.int8)
    save_file(stored, folder / "model.safetensors")
    with pytest.raises(ArtefactError, match=r"model\.embed_tokens\.weight is int8 without"):
        read_model(folder)


def test_a_missing_a_misshapen_and_a_broken_tensor_are_told_apart(folder: Path) -> None:
    whole = load_file(folder / "model.safetensors")
    name = "model.norm.weight"
    for change, message in (
        ({}, "is missing"),
        ({name: whole[name][:-1]}, "has the shape"),
        ({name: whole[name] * np.nan}, "not finite"),
    ):
        save_file({k: v for k, v in whole.items() if k != name} | change, folder / "model.safetensors")
        with pytest.raises(ArtefactError, match=message):
            read_model(folder)


def test_damaged_and_missing_files_are_named(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ArtefactError, match=r"model\.safetensors: not a readable"):
        read_model(folder)
    weights.unlink()
    with pytest.raises(ArtefactError, match=r"model\.safetensors: there is no such file"):
        read_model(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ArtefactError, match=r"config\.json: not JSON"):
        read_model(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ArtefactError, match=r"config\.json: cannot be read"):
        read_model(folder)


def test_configs_that_cannot_be_run_are_refused(folder: Path) -> None:
    own = json.loads((folder / "config.json").read_text())["herdwise"]
    for change in (
        {"herdwise": None},
        {"herdwise": {**own, "format": 2}},
        {"model_type": "gpt2"},
        {"hidden_size": "32"},
        {"num_attention_heads": 5},
        {"tie_word_embeddings": False},
        {"attention_bias": True},
        {"max_position_embeddings": 10**9},
        {"max_position_embeddings": 10**30},
        {"num_hidden_layers": 10**9},
        {"rope_theta": 0},
        {"rope_theta": -1.0},
        {"rope_theta": 10**400},
        {"rms_norm_eps": -1.0},
    ):
        before = (folder / "config.json").read_text()
        edit(folder, **change)
        with pytest.raises(ArtefactError, match=r"config\.json"):
            read_config(folder)
        (folder / "config.json").write_text(before)


@pytest.mark.parametrize("content", [b'{"herdwise": "\xff"}', b"[" * 100_000, b" " * 2**24 + b"{}"])
def test_a_strangers_config_that_is_no_text_too_deep_or_too_long_is_named(
    folder: Path, content: bytes
) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"config\.json: (not JSON|larger)"):
        read_model(folder)


@pytest.mark.parametrize("kind", ["F8_E4M3", "BF16", "E8"])
def test_weights_of_a_type_that_numpy_lacks_are_named(folder: Path, kind: str) -> None:
    head = json.dumps({"a": {"dtype": kind, "shape": [4], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + bytes(4))
    with pytest.raises(ArtefactError, match=r"model\.safetensors: not a readable"):
        read_model(folder)


def test_a_shape_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ArtefactError, match="do not divide"):
        NanoConfig(width=30, layers=1, heads=4, kv_heads=4, hidden=8, max_context=8)
    with pytest.raises(ArtefactError, match="1 or more"):
        NanoConfig(width=32, layers=0, heads=4, kv_heads=4, hidden=8, max_context=8)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from herdwise.backends.nano.folder import read_card, read_model
from herdwise.core.errors import ArtefactError
from herdwise.experts.quantise import quantise, quantise_rows


def test_no_weight_is_off_by_more_than_half_a_step_of_its_row(nano_folder: Path, tmp_path: Path) -> None:
    report = quantise(nano_folder, tmp_path, prompts=["hello", "what?"])
    config, before = read_model(nano_folder)
    config_after, after = read_model(tmp_path)
    assert config_after == config
    for name, tensor in before.items():
        if tensor.ndim == 1:
            assert (after[name] == tensor).all()
        else:
            step = np.abs(tensor).max(axis=1, keepdims=True) / 127
            assert (np.abs(after[name] - tensor) <= step * 0.501).all()
    assert load_file(tmp_path / "model.safetensors")["model.embed_tokens.weight"].dtype == np.int8
    assert report.bytes_after < report.bytes_before / 2.5
    assert 0 < report.error <= report.worst_error < 0.02
    assert report.same_answers in {0.0, 0.5, 1.0}
    assert read_card(tmp_path)["int8"]["error"] == report.error


def test_the_stated_error_is_that_of_the_stored_weights(nano_folder: Path, tmp_path: Path) -> None:
    report = quantise(nano_folder, tmp_path)
    before, after = read_model(nano_folder)[1], read_model(tmp_path)[1]
    matrices = [name for name, tensor in before.items() if tensor.ndim > 1]
    off = {name: float(((after[name] - before[name]) ** 2).sum()) for name in matrices}
    size = {name: float((before[name] ** 2).sum()) for name in matrices}
    assert report.error == pytest.approx((sum(off.values()) / sum(size.values())) ** 0.5, rel=1e-4)
    assert report.worst == max(matrices, key=lambda name: off[name] / size[name])
    assert report.same_answers is None


def test_a_row_of_zeros_stays_zero_and_extremes_are_reached() -> None:
    rows, scale = quantise_rows(np.array([[0, 0], [3, -3], [1e-30, 0]], np.float32))
    assert rows.tolist() == [[0, 0], [127, -127], [127, 0]]
    assert scale[0] == 0


def test_a_model_can_be_quantised_in_its_place_and_again(nano_folder: Path, tmp_path: Path) -> None:
    quantise(nano_folder, tmp_path)
    first = load_file(tmp_path / "model.safetensors")
    assert quantise(tmp_path, tmp_path).error < 1e-3
    second = load_file(tmp_path / "model.safetensors")
    assert all((first[name] == second[name]).all() for name in first if first[name].dtype == np.int8)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"config\.json"):
        quantise(tmp_path, tmp_path / "out")

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.numpy import save_file

from herdwise.backends.nano.folder import read_card, read_model, write_model
from herdwise.core.errors import ArtefactError, ConfigError
from herdwise.experts.merge import add, emr, linear, task_arithmetic, task_vector, ties
from herdwise.experts.merge_folders import adapter_vector, merge_folders


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


#: Two task vectors of five places in two tensors.
ONE = {"a": f32(4, -1, 0), "b": f32(2, 0.5)}
TWO = {"a": f32(2, 3, 0), "b": f32(-6, 0.1)}


def test_linear_is_the_weighted_mean() -> None:
    mean = linear([ONE, TWO])
    np.testing.assert_allclose(mean["a"], [3, 1, 0])
    np.testing.assert_allclose(linear([ONE, TWO], [3, 1])["b"], [0, 0.4])


def test_task_arithmetic_is_the_scaled_sum() -> None:
    np.testing.assert_allclose(task_arithmetic([ONE, TWO], 0.5)["a"], [3, 1, 0])
    np.testing.assert_allclose(task_arithmetic([ONE], 2.0)["b"], [4, 1])


def test_ties_trims_elects_and_averages_those_that_agree() -> None:
    # Of five places 60 % = 3 are kept of each: ONE 4 -1 . 2 . ; TWO 2 3 . -6 .
    # Sums 6 2 . -4 . elect + + . - . ; who agrees: 4 and 2, 3 alone, -6 alone.
    merged = ties([ONE, TWO], density=0.6)
    np.testing.assert_allclose(merged["a"], [3, 3, 0])
    np.testing.assert_allclose(merged["b"], [-6, 0])
    np.testing.assert_allclose(ties([ONE, TWO], density=0.6, scale=0.5)["a"], [1.5, 1.5, 0])


def test_ties_with_all_kept_counts_only_those_of_the_elected_sign() -> None:
    merged = ties([ONE, TWO], density=1.0)
    np.testing.assert_allclose(merged["b"], [-6, 0.3])


def test_emr_elects_the_largest_of_the_winning_sign_masks_and_rescales() -> None:
    kept = emr([ONE, TWO])
    np.testing.assert_allclose(kept.unified["a"], [4, 3, 0])
    np.testing.assert_allclose(kept.unified["b"], [-6, 0.5])
    assert [mask["a"].tolist() for mask in kept.masks] == [[True, False, False], [True, True, False]]
    assert [mask["b"].tolist() for mask in kept.masks] == [[False, True], [True, True]]
    # ONE: |4|+|-1|+|2|+|.5| = 7.5 against 4 + .5; TWO: 2+3+6+.1 = 11.1 against 4+3+6+.5.
    np.testing.assert_allclose(kept.scales, [7.5 / 4.5, 11.1 / 13.5])
    np.testing.assert_allclose(kept.vector(0)["a"], f32(4, 0, 0) * (7.5 / 4.5), rtol=1e-6)
    assert kept.n_bytes == 2 * 5 + 2 * (1 + 4)


def test_emr_of_one_task_gives_that_task_back() -> None:
    back = emr([TWO]).vector(0)
    assert all((back[name] == TWO[name]).all() for name in TWO)


@pytest.mark.parametrize("merged", [linear, task_arithmetic, ties, emr])
def test_vectors_that_change_other_tensors_are_merged_as_zero_there(merged: Any) -> None:
    found = merged([{"a": f32(1, 2)}, {"b": f32(3)}])
    layout = found.unified if merged is emr else found
    assert {name: tensor.shape for name, tensor in layout.items()} == {"a": (2,), "b": (1,)}


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to merge"):
        ties([])
    with pytest.raises(ConfigError, match="density 0"):
        ties([ONE], density=0)
    with pytest.raises(ConfigError, match="as many weights"):
        linear([ONE, TWO], [1])
    with pytest.raises(ConfigError, match="as many weights"):
        linear([ONE, TWO], [1, -1])
    with pytest.raises(ConfigError, match="'a' has the shape"):
        linear([{"a": f32(1)}, {"a": f32(1, 2)}])
    with pytest.raises(ConfigError, match="other tensors than the base"):
        task_vector(ONE, {"a": ONE["a"]})
    with pytest.raises(ConfigError, match="changes 'c'"):
        add(ONE, {"c": f32(1)})


@pytest.fixture
def tuned(nano_folder: Path, tmp_path: Path) -> list[Path]:
    """Two models that each changed one tensor of the base."""
    config, base = read_model(nano_folder)
    folders = []
    for i, name in enumerate(("mlp.up_proj", "self_attn.q_proj")):
        changed = {key: t.copy() for key, t in base.items()}
        changed[f"model.layers.{i}.{name}.weight"] += 0.25
        folders.append(write_model(tmp_path / f"tuned-{i}", config, changed, {}))
    return folders


def test_models_are_merged_into_folders_with_cards(
    nano_folder: Path, tuned: list[Path], tmp_path: Path
) -> None:
    base = read_model(nano_folder)[1]
    report = merge_folders(nano_folder, tuned, tmp_path / "both", "task_arithmetic", scale=1.0)
    merged = read_model(tmp_path / "both")[1]
    for i, name in enumerate(("mlp.up_proj", "self_attn.q_proj")):
        key = f"model.layers.{i}.{name}.weight"
        np.testing.assert_allclose(merged[key], base[key] + 0.25, atol=2e-3)
    assert report.cosines[0][1] == 0
    assert report.cosines[0][0] == pytest.approx(1)
    assert read_card(tmp_path / "both")["merged"] == {
        "method": "task_arithmetic",
        "parts": ["tuned-0", "tuned-1"],
    }


def test_emr_gives_a_folder_for_every_part(nano_folder: Path, tuned: list[Path], tmp_path: Path) -> None:
    report = merge_folders(nano_folder, tuned, tmp_path / "out", "emr")
    assert [Path(folder).name for folder in report.folders] == ["tuned-0", "tuned-1"]
    for folder, part in zip(report.folders, tuned, strict=True):
        found, expected = read_model(folder)[1], read_model(part)[1]
        assert all(np.allclose(found[name], expected[name], atol=2e-3) for name in expected)
    with pytest.raises(ConfigError, match="same name"):
        merge_folders(nano_folder, [tuned[0], tuned[0]], tmp_path / "again", "emr")


def write_adapter(folder: Path, changes: dict[str, Any], **stated: Any) -> Path:
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 8, **stated}
    (folder / "adapter_config.json").write_bytes(msgspec.json.encode(config))
    save_file(changes, folder / "adapter_model.safetensors")
    return folder


def test_an_adapters_vector_is_alpha_over_rank_times_its_factors(nano_folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    name = "model.layers.0.self_attn.o_proj"
    a, b = rng.normal(size=(2, 32)).astype("f4"), rng.normal(size=(32, 2)).astype("f4")
    factors = {f"base_model.model.{name}.lora_A.weight": a, f"base_model.model.{name}.lora_B.weight": b}
    adapter = write_adapter(tmp_path / "adapter", factors)
    np.testing.assert_allclose(adapter_vector(adapter)[f"{name}.weight"], 4 * b @ a, rtol=1e-5)
    merge_folders(nano_folder, [adapter], tmp_path / "folded", "linear")
    base, folded = read_model(nano_folder)[1], read_model(tmp_path / "folded")[1]
    np.testing.assert_allclose(folded[f"{name}.weight"], base[f"{name}.weight"] + 4 * b @ a, atol=2e-2)
    rooted = write_adapter(tmp_path / "rooted", factors, use_rslora=True)
    np.testing.assert_allclose(adapter_vector(rooted)[f"{name}.weight"], 8 / 2**0.5 * b @ a, rtol=1e-5)


def test_adapters_that_cannot_be_folded_are_refused(tmp_path: Path) -> None:
    factors = {"base_model.model.x.lora_A.weight": np.ones((2, 3), np.float32)}
    with pytest.raises(ArtefactError, match=r"not a LoRA adapter.*lora_B"):
        adapter_vector(write_adapter(tmp_path / "half", factors))
    with pytest.raises(ArtefactError, match="only plain LoRA"):
        adapter_vector(write_adapter(tmp_path / "dora", factors, use_dora=True))
    with pytest.raises(ArtefactError, match="changes nothing"):
        adapter_vector(write_adapter(tmp_path / "none", {"x": np.ones(1, np.float32)}))
    with pytest.raises(ArtefactError, match="not a LoRA adapter"):
        adapter_vector(tmp_path / "nowhere")


def test_an_unknown_method_is_refused(nano_folder: Path, tuned: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'magic' is not known"):
        merge_folders(nano_folder, tuned, tmp_path / "x", "magic")  # type: ignore[arg-type]

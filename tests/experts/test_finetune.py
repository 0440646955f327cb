from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from herdwise.backends.nano.folder import read_card, read_model
from herdwise.backends.nano.model import NanoModel
from herdwise.core.errors import ArtefactError, ConfigError, InputError
from herdwise.experts.finetune import TrainingProgress, TrainingSettings, finetune
from herdwise.experts.nano_torch import Examples, TorchNano
from herdwise.experts.training_loop import batches
from herdwise.experts.training_state import read_losses

pytest.importorskip("torch", reason="the extra `train` is not installed")

LETTERS = "abcdefgh"
#: Words of two letters, written backwards.
ITEMS = [(f"turn {a}{b}", f"{b}{a}", 1.0) for a in LETTERS for b in LETTERS]
SMALL = TrainingSettings(
    width=32,
    layers=2,
    heads=2,
    max_context=32,
    batch=16,
    steps=60,
    lr=5e-3,
    precision="float32",
    dtype="float32",
)


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model.safetensors")


def same(a: Path, b: Path) -> bool:
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all((first[name] == second[name]).all() for name in first)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned to turn two letters."""
    folder = tmp_path_factory.mktemp("learned")
    finetune(ITEMS, folder, replace(SMALL, steps=250))
    return folder


def test_a_model_learns_its_task_and_runs_without_torch(learned: Path) -> None:
    model = NanoModel.load(learned)
    said = model.answer_all([query for query, _, _ in ITEMS])
    assert np.mean([a == b for a, (_, b, _) in zip(said, ITEMS, strict=True)]) > 0.95
    losses = [line["loss"] for line in read_losses(learned)]
    assert losses[-1] < losses[0] / 5
    stated = read_card(learned)["training"]
    assert stated["steps"] == 250
    assert stated["n_items"] == len(ITEMS)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        finetune(ITEMS, tmp_path / name, replace(SMALL, steps=5, seed=seed))
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


def test_a_finished_run_is_reported_and_not_trained_again(tmp_path: Path) -> None:
    told: list[TrainingProgress] = []
    first = finetune(ITEMS, tmp_path, replace(SMALL, steps=5), held_out=ITEMS[:4], progress=told.append)
    assert [p.step for p in told] == [5]
    assert 0 <= (first.held_out_exact or 0) <= 1
    assert first.n_held_out == 4
    again = finetune(ITEMS, tmp_path, replace(SMALL, steps=5), held_out=ITEMS[:4], progress=told.append)
    assert again == first
    assert len(told) == 1
    assert not (tmp_path / "checkpoint").exists()


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    finetune(ITEMS, tmp_path, replace(SMALL, steps=2))
    with pytest.raises(ConfigError, match="other settings or data"):
        finetune(ITEMS, tmp_path, replace(SMALL, steps=3))
    with pytest.raises(ConfigError, match="other settings or data"):
        finetune(ITEMS[1:], tmp_path, replace(SMALL, steps=2))


_KILLED = """
import json, os, signal, sys
from herdwise.experts.finetune import TrainingSettings, finetune
from herdwise.experts.nano_torch import TorchNano

steps, real = 0, TorchNano.loss
def loss(self, batch):
    global steps
    steps += 1
    if steps == 75:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, batch)
TorchNano.loss = loss
stated = json.loads(sys.argv[2])
finetune([tuple(item) for item in stated["items"]], sys.argv[1], TrainingSettings(**stated["settings"]))
"""


def test_a_run_killed_in_its_midst_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"width": 32, "layers": 2, "heads": 2, "max_context": 32, "batch": 16, "steps": 160}
    settings |= {"precision": "float32", "dtype": "float32", "checkpoint_s": 0.02}
    stated = json.dumps({"items": ITEMS, "settings": settings})
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    ended = subprocess.run([sys.executable, "-c", _KILLED, str(killed), stated], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert (killed / "checkpoint/state.safetensors").exists()
    assert not (killed / "model.safetensors").exists()
    assert [line["step"] for line in read_losses(killed)] == [20, 40, 60]
    with safe_open(killed / "checkpoint/state.safetensors", framework="numpy") as stored:
        n_kept = int(stored.metadata()["step"])
    assert 0 < n_kept < 75
    real, taken = TorchNano.loss, []

    def counted(self: TorchNano, batch: Examples) -> Any:
        taken.append(1)
        return real(self, batch)

    monkeypatch.setattr(TorchNano, "loss", counted)
    made = TrainingSettings(**settings)  # type: ignore[arg-type]
    finetune(ITEMS, killed, made)
    assert len(taken) == 160 - n_kept
    finetune(ITEMS, whole, made)
    assert same(killed, whole)
    steps = [line["step"] for line in read_losses(killed)]
    assert steps == [line["step"] for line in read_losses(whole)] == list(range(20, 161, 20))


def test_weights_of_the_whole_model_are_trained_on_from_a_base(learned: Path, tmp_path: Path) -> None:
    other = [(query.replace("turn", "keep"), query[-2:], 1.0) for query, _, _ in ITEMS]
    finetune(other, tmp_path / "full", replace(SMALL, kind="full", steps=120), base=learned)
    said = NanoModel.load(tmp_path / "full").answer_all([query for query, _, _ in other])
    assert np.mean([a == b for a, (_, b, _) in zip(said, other, strict=True)]) > 0.9
    assert read_card(tmp_path / "full")["base"]["training"]["steps"] == 250


def test_lora_changes_only_its_targets_and_its_adapter_folds_into_the_base(
    learned: Path, tmp_path: Path
) -> None:
    lora = replace(SMALL, kind="lora", steps=20, lora_rank=4, lora_targets=("q_proj", "down_proj"))
    report = finetune(ITEMS, tmp_path, lora, base=learned)
    assert report.n_learned == 2 * (4 * (32 + 32) + 4 * (32 + 96))
    before, after = weights(learned), weights(tmp_path)
    changed = {name for name in before if not (before[name] == after[name]).all()}
    assert changed == {name for name in before if "q_proj" in name or "down_proj" in name}
    adapter = load_file(tmp_path / "adapter/adapter_model.safetensors")
    name = "model.layers.1.self_attn.q_proj"
    a, b = (adapter[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
    folded = before[f"{name}.weight"] + 16 / 4 * b @ a
    np.testing.assert_allclose(after[f"{name}.weight"], folded, atol=1e-6)


def test_float16_is_stored_and_answers_alike(tmp_path: Path) -> None:
    report = finetune(ITEMS, tmp_path, replace(SMALL, steps=5, dtype="float16"))
    assert {str(tensor.dtype) for tensor in weights(tmp_path).values()} == {"float16"}
    assert read_model(tmp_path)[0].n_params == report.n_params


def test_heavier_items_pull_more(tmp_path: Path) -> None:
    torn = [("say", "yes", 1.0), ("say", "no!", 9.0)] * 8
    finetune(torn, tmp_path, replace(SMALL, steps=40))
    assert NanoModel.load(tmp_path).answer_all(["say"]) == ["no!"]


def test_every_item_is_seen_once_an_epoch_and_a_late_start_goes_on_where_it_was() -> None:
    lengths = np.random.default_rng(0).integers(5, 30, 103).tolist()
    order = batches(lengths, 10, seed=3)
    first = [next(order) for _ in range(25)]
    assert sorted(i for batch in first[:11] for i in batch) == list(range(103))
    assert first[:11] != first[11:22]
    late = batches(lengths, 10, seed=3, start=14)
    assert [next(late) for _ in range(11)] == first[14:]


def test_the_learning_rate_rises_and_falls_to_its_end() -> None:
    for schedule in ("cosine", "linear"):
        settings = TrainingSettings(steps=100, warmup=0.1, lr=1.0, lr_end=0.1, schedule=schedule)  # type: ignore[arg-type]
        rates = [settings.lr_at(step) for step in range(100)]
        assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
        assert rates[9:] == sorted(rates[9:], reverse=True)
        assert rates[-1] == pytest.approx(0.1)


def test_what_does_not_fit_is_refused(tmp_path: Path, learned: Path) -> None:
    with pytest.raises(InputError, match="no items"):
        finetune([], tmp_path, SMALL)
    with pytest.raises(InputError, match="item 1 has 37 tokens"):
        finetune([*ITEMS[:1], ("q" * 33, "a", 1.0)], tmp_path, SMALL)
    with pytest.raises(InputError, match=r"weight 0\.0"):
        finetune([("q", "a", 0.0)], tmp_path, SMALL)
    with pytest.raises(ConfigError, match="needs base"):
        finetune(ITEMS, tmp_path, replace(SMALL, kind="lora"))
    with pytest.raises(ConfigError, match="takes no base"):
        finetune(ITEMS, tmp_path, SMALL, base=learned)
    with pytest.raises(ConfigError, match="not known"):
        TrainingSettings(kind="more")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="1 or more"):
        TrainingSettings(steps=0)
    with pytest.raises(ConfigError, match="lr must"):
        TrainingSettings(lr=0)
    assert not list(tmp_path.iterdir())


def test_a_damaged_checkpoint_or_report_is_named(tmp_path: Path) -> None:
    finetune(ITEMS, tmp_path, replace(SMALL, steps=2))
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(ArtefactError, match=r"report\.json: not a training report"):
        finetune(ITEMS, tmp_path, replace(SMALL, steps=2))
    (tmp_path / "report.json").unlink()
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint/state.safetensors").write_bytes(b"torn")
    with pytest.raises(ArtefactError, match="not a readable checkpoint"):
        finetune(ITEMS, tmp_path, replace(SMALL, steps=2))

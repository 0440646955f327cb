"""Checkpoints and the loss curve on disk, as runs that were killed leave them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from herdwise.experts.training_state import LossCurve, State, drop_state, load_state, read_losses, save_state


def state(step: int) -> State:
    parts = {name: {"w": np.full((2, 2), step, dtype="f4")} for name in ("weights", "first", "second")}
    return State(step=step, cpu_s=1.5, **parts)


def test_a_finished_run_lets_go_of_what_a_kill_left_of_a_checkpoint_too(tmp_path: Path) -> None:
    save_state(tmp_path, "run", state(3))
    (tmp_path / "checkpoint" / "state.part").write_bytes(b"half of the next one")
    went_on = load_state(tmp_path, "run")
    assert went_on is not None
    assert went_on.step == 3
    drop_state(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_curve_goes_on_after_the_checkpoints_step_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    curve = LossCurve(tmp_path, 0)
    for step in (20, 40, 60):
        curve.add(step=step, loss=1.0)
    with (tmp_path / "loss.jsonl").open("ab") as file:
        file.write(b'{"step": 80, "lo')
    LossCurve(tmp_path, 40).add(step=60, loss=0.5)
    assert [(line["step"], line["loss"]) for line in read_losses(tmp_path)] == [
        (20, 1.0),
        (40, 1.0),
        (60, 0.5),
    ]

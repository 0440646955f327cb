import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from herdwise.backends.nano.folder import read_card
from herdwise.backends.nano.model import NanoModel
from herdwise.core.errors import ConfigError
from herdwise.experts.families import EXPERT_FAMILIES, GENERALIST_FAMILIES, HELD_OUT_FAMILY
from herdwise.experts.recipe import (
    EXPERT,
    GENERALIST_NAME,
    Member,
    MemberProgress,
    exact_by_family,
    make_nano,
    nano_longer_experts,
    nano_members,
    nano_references,
)

TINY = replace(EXPERT, width=16, layers=1, heads=2, steps=6, batch=8, max_context=128, precision="float32")


def test_each_family_has_an_expert_and_the_generalist_learns_all_but_the_held_out_one() -> None:
    members = {member.name: member for member in nano_members()}
    assert set(members) == {*EXPERT_FAMILIES, GENERALIST_NAME}
    for name in EXPERT_FAMILIES:
        assert members[name].families == (name,)
        assert (
            members[GENERALIST_NAME].settings.config().n_params
            >= 2 * members[name].settings.config().n_params
        )
    assert set(members[GENERALIST_NAME].families) == {*EXPERT_FAMILIES, *GENERALIST_FAMILIES}
    assert HELD_OUT_FAMILY not in members[GENERALIST_NAME].families


def test_generalists_are_held_against_the_experts_at_equal_compute_and_equal_parameters() -> None:
    def compute(members: Sequence[Member]) -> int:
        return sum(member.settings.steps * member.settings.config().n_params for member in members)

    *experts, generalist = nano_members()
    brief, large, whole, large_whole = nano_references()
    assert compute([generalist]) == pytest.approx(compute(experts), rel=0.01)
    assert compute([large]) == pytest.approx(compute(experts), rel=0.01)
    parameters = sum(member.settings.config().n_params for member in [*experts, generalist])
    assert large.settings.config().n_params == pytest.approx(parameters, rel=0.1)
    assert compute([whole]) == pytest.approx(compute([large_whole]), rel=0.01)
    assert compute([whole]) == pytest.approx(compute([*experts, generalist]), rel=0.01)
    assert compute(nano_longer_experts()) == 2 * compute(experts)
    assert [m.families for m in nano_longer_experts()] == [m.families for m in experts]
    assert whole.settings.config() == generalist.settings.config()
    assert large_whole.settings.config() == large.settings.config()
    assert brief.settings.config().n_params == generalist.settings.config().n_params
    assert brief.settings.steps <= max(member.settings.steps for member in experts)
    assert brief.families == large.families == whole.families == large_whole.families == generalist.families


def test_a_member_draws_a_fresh_item_for_every_place_in_its_batches() -> None:
    member = Member("both", ("dates", "sums"), TINY)
    assert len(member.items()) == TINY.steps * TINY.batch
    assert member.items() == member.items()
    other = Member("both", ("dates", "sums"), replace(TINY, seed=1))
    assert member.items() != other.items()


def test_make_nano_writes_every_member_once_with_its_card_and_goes_on_where_it_stood(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra train")
    members = [Member(name, (name,), TINY) for name in ("dates", "sums")]
    told: list[Sequence[MemberProgress]] = []
    folders = make_nano(tmp_path, members=members, progress=told.append)
    assert [folder.name for folder in folders] == ["dates", "sums"]
    assert all(m.done and m.step == m.steps == 6 for m in told[-1])
    card = read_card(folders[0])
    assert card["data"]["families"] == ["dates"]
    assert card["data"]["split"] == "train"
    assert card["figures"]["exact"] == exact_by_family(NanoModel.load(folders[0]), ["dates"], "dev", 200)
    weights = (folders[0] / "model.safetensors").stat()
    assert make_nano(tmp_path, members=members) == folders
    assert (folders[0] / "model.safetensors").stat().st_mtime_ns == weights.st_mtime_ns


def test_a_folder_of_another_seed_is_refused_and_not_overwritten(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra train")
    make_nano(tmp_path, members=[Member("sums", ("sums",), TINY)])
    with pytest.raises(ConfigError, match="holds"):
        make_nano(tmp_path, members=[Member("sums", ("sums",), replace(TINY, seed=1))])


POOL = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from herdwise.experts.recipe import end_with_parent

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, get_context("spawn"), end_with_parent)
    pool.submit(os.getpid).result()
    pool.submit(time.sleep, 600)
    os.kill(os.getpid(), 9)
"""


def test_a_worker_does_not_outlive_who_started_it(tmp_path: Path) -> None:
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE) as process:
        process.communicate(timeout=120)  # its worker holds the other end of the pipe, too
        assert process.returncode == -signal.SIGKILL


def test_fewer_than_one_worker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="workers"):
        make_nano(tmp_path, workers=0)

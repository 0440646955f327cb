"""`herdwise train` says what it learned, and of whom it could not."""

import pytest

from herdwise.routing.router import Router
from herdwise.storage.outcomes import write_outcomes


@pytest.fixture
def folder(make_outcomes, tmp_path):
    nan = float("nan")
    made = make_outcomes({"a": [1.0, 0.0, 1.0, 0.0], "b": [nan] * 4}, split=["train"] * 4)
    return write_outcomes(made, tmp_path / "outcomes")


def test_a_candidate_that_nobody_graded_is_named_as_left_out(herdwise, folder, tmp_path):
    run = herdwise("train", "--outcomes", folder, "--out", tmp_path / "r", "--predictor", "mean", "--json")
    assert run.code == 0
    assert run.json["herd"] == ["a"] == Router.load(tmp_path / "r").herd.names
    assert run.json["excluded"] == {"b": "no graded outcome in column 'quality'"}


def test_a_seed_below_zero_is_refused(herdwise, folder, tmp_path):
    run = herdwise("train", "--outcomes", folder, "--out", tmp_path / "r", "--seed", "-1")
    assert run.code == 2
    assert "--seed" in run.err
    assert not (tmp_path / "r").exists()


def test_a_place_that_cannot_be_written_is_refused_with_a_remedy(herdwise, folder, tmp_path):
    (tmp_path / "file").write_text("in the way")
    run = herdwise("train", "--outcomes", folder, "--out", tmp_path / "file" / "r", "--predictor", "mean")
    assert run.code == 2
    assert "cannot be written" in run.err
    assert "--out" in run.err


def test_a_place_that_holds_something_else_is_refused_before_anything_is_read(herdwise, folder):
    run = herdwise("train", "--outcomes", "nowhere", "--out", folder)
    assert run.code == 2
    assert "exists and is not a router" in run.err
    assert (folder / "outcomes.parquet").is_file()


def test_a_column_that_is_not_there_is_named_with_those_that_are(herdwise, folder, tmp_path):
    run = herdwise("train", "--outcomes", folder, "--out", tmp_path / "r", "--quality-column", "correct")
    assert run.code == 2
    assert "has no column 'correct'" in run.err
    assert "quality" in run.err.split("Recorded:")[1]


def test_naming_no_candidate_leaves_nobody_to_learn(herdwise, folder, tmp_path):
    run = herdwise("train", "--outcomes", folder, "--out", tmp_path / "r", "--candidates", "")
    assert run.code == 2
    assert "no candidate is left" in run.err


def test_a_stray_comma_between_candidates_names_nobody(herdwise, folder, tmp_path):
    run = herdwise(
        *("train", "--outcomes", folder, "--out", tmp_path / "r", "--predictor", "mean", "--json"),
        *("--candidates", "a, "),
    )
    assert run.code == 0
    assert run.json["herd"] == ["a"]

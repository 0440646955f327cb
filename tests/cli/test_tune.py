"""``herdwise tune``: goals for a config, or one JSON object."""

import numpy as np
import pytest

from herdwise import write_outcomes


@pytest.fixture(scope="module")
def chances():
    """400 queries; ``dear`` is right on nearly all, ``cheap`` on the easy half."""
    rng = np.random.default_rng(0)
    easy = rng.random(400) < 0.5
    return easy, rng.random(400) < 0.95, rng.random(400) < np.where(easy, 0.95, 0.1)


@pytest.fixture
def folder(make_outcomes, tmp_path, chances):
    easy, dear, cheap = chances
    rng = np.random.default_rng(1)
    words = [["add", "two", "small", "numbers"], ["prove", "the", "deep", "theorem"]]
    table = make_outcomes(
        {"dear": dear.astype(float).tolist(), "cheap": cheap.astype(float).tolist()},
        split=["train"] * len(easy),
        text=[f"{' '.join(rng.choice(words[int(not e)], 5))} {i}" for i, e in enumerate(easy)],
        candidates={"dear": {"active_params_b": 70.0}, "cheap": {"active_params_b": 7.0}},
    )
    write_outcomes(table, tmp_path / "outcomes")
    return tmp_path / "outcomes"


def test_it_prints_goals_that_a_config_takes_and_how_to_measure_them(herdwise, folder):
    got = herdwise("tune", "--outcomes", folder, "--cost", "active_params", "--keep-quality", 0.97)
    assert got.code == 0, got.err
    assert "less active_params than the best single" in got.out
    assert "goals:\n  cost_kind: active_params\n  cost_weight: " in got.out
    shown = got.out.replace("\n", " ").split("Measure it: herdwise ")[1].split()
    measured = herdwise(*shown, "--train-split", "all", "--test-split", "train", "--json")
    assert measured.code == 0, measured.err
    assert measured.json["router"]["picked"]["cheap"] > 0.2


def test_json_is_one_object_with_what_is_expected(herdwise, folder):
    found = herdwise(
        "tune", "--outcomes", folder, "--cost", "active_params", "--json", "--keep-quality", 0.97
    )
    point = found.json["point"]
    assert point["saving"] > 0.25
    assert point["loss"] <= 0.03
    assert found.json["left_out"] == []


def test_a_cost_that_is_not_on_record_is_refused(herdwise, folder):
    got = herdwise("tune", "--outcomes", folder, "--cost", "latency")
    assert got.code != 0
    assert "0 candidates have quality and latency on record" in got.err


def test_too_few_queries_are_counted_and_said_to_be_too_few(herdwise, make_outcomes, tmp_path):
    table = make_outcomes({"a": [1.0, 0.0], "b": [0.0, 1.0]}, split=["train", "train"])
    write_outcomes(table, tmp_path / "few")
    got = herdwise("tune", "--outcomes", tmp_path / "few", "--cost", "calls")
    assert got.code == 2
    assert "2 queries have quality and calls" in got.err
    assert "40 are needed" in got.err

"""``herdwise prune``: a table, a page, or one JSON object."""

import pytest

from herdwise import write_outcomes


@pytest.fixture
def folder(make_outcomes, tmp_path):
    """``odd`` and ``even`` are right on every other query, ``never`` on none."""
    n = 120
    table = make_outcomes(
        {
            "odd": [float(i % 2) for i in range(n)],
            "even": [float(1 - i % 2) for i in range(n)],
            "never": [0.0] * n,
        },
        split=["test" if i % 3 == 0 else "train" for i in range(n)],
        text=[("prime integral sum " if i % 2 else "poem novel rhyme ") + str(i) for i in range(n)],
        candidates={
            "odd": {"active_params_b": 3.0},
            "even": {"active_params_b": 4.0},
            "never": {"active_params_b": 1.0},
        },
    )
    write_outcomes(table, tmp_path / "outcomes")
    return tmp_path / "outcomes"


def test_it_names_the_smallest_set_that_keeps_the_share(herdwise, folder, tmp_path):
    page = tmp_path / "page.html"
    got = herdwise("prune", "--outcomes", folder, "--max", 3, "--predictor", "ridge", "--out", page)
    assert got.code == 0, got.err
    assert "2 keep 97%" in got.out
    assert "--candidates odd,even --out ROUTER" in got.out
    assert "<svg" in page.read_text()


def test_json_is_one_object_with_every_size(herdwise, folder):
    found = herdwise("prune", "--outcomes", folder, "--max", 2, "--predictor", "ridge", "--json").json[
        "pruning"
    ]
    assert found["chosen"] == 2
    assert [stage["kept"] for stage in found["stages"]][1] == ["odd", "even"]
    assert found["stages"][1]["test"]["routed"] == pytest.approx(1.0)
    assert found["stages"][1]["train"]["cost"] == pytest.approx(3.5)


def test_where_no_set_keeps_the_share_it_says_so(herdwise, folder):
    got = herdwise("prune", "--outcomes", folder, "--max", 1, "--predictor", "ridge")
    assert "No set of up to 1 keeps 97%" in got.out


def test_mistakes_exit_2_and_are_named(herdwise, folder, tmp_path):
    got = herdwise("prune", "--outcomes", folder, "--cost", "gold", "--predictor", "ridge")
    assert (got.code, "no cost 'gold'" in got.err) == (2, True)
    got = herdwise("prune", "--outcomes", folder, "--out", tmp_path / "nowhere" / "page.html")
    assert (got.code, "there is no folder" in got.err) == (2, True)

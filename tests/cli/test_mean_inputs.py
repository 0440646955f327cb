"""Commands on malformed folders, files and places: an error that names file and remedy, no traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from herdwise.core.outcomes import OutcomeTable
from herdwise.storage.outcomes import read_outcomes, write_outcomes

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture
def folder(make_outcomes: Callable[..., OutcomeTable], tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    quality = {name: rng.integers(0, 2, 40).astype(float) for name in ("ant", "bee")}
    return write_outcomes(make_outcomes(quality), tmp_path / "outcomes")


def change(file: Path, column: str, values: Any) -> None:
    table = pq.read_table(file)
    if column in table.column_names:
        table = table.drop_columns([column])
    pq.write_table(table.append_column(column, pa.array(values)), file)


def bad_tools(folder: Path) -> None:
    change(folder / "queries.parquet", "tools", ["{nope"] * 40)


def short_row(folder: Path) -> None:
    file = folder / "candidates.csv"
    file.write_text(file.read_text() + "cow\n")


def twice(folder: Path) -> None:
    file = folder / "candidates.csv"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, lines[1]]))


def escape(folder: Path) -> None:
    file = folder / "candidates.csv"
    file.write_text(file.read_text().replace("ant", "a\x1b[31mnt"))


def no_column(folder: Path) -> None:
    file = folder / "candidates.csv"
    file.write_text(file.read_text().replace("open_weights", "open_wide"))


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (bad_tools, ("tools", "'q0'", "JSON")),
        (short_row, ("candidates.csv", "row 4", "Leave a cell empty")),
        (twice, ("candidates.csv", "'ant'", "Rename")),
        (escape, ("candidates.csv", "candidate", "control")),
        (no_column, ("candidates.csv", "open_weights", "docs/outcome-folders.md")),
    ],
)
def test_a_malformed_folder_is_refused_with_file_field_and_remedy(
    herdwise: Callable[..., Any], folder: Path, spoil: Callable[[Path], None], named: tuple[str, ...]
) -> None:
    assert herdwise("outcomes", "check", folder).code == 0
    spoil(folder)
    run = herdwise("outcomes", "check", folder)
    assert run.code == 2
    assert all(part in run.err for part in named), run.err
    assert "\x1b[31m" not in run.err


def test_numbers_too_large_to_be_exact_are_read_all_the_same(folder: Path) -> None:
    change(folder / "outcomes.parquet", "input_tokens", [2**62] * 80)
    assert read_outcomes(folder).matrix("input_tokens").max() == 2**62


def test_a_file_in_place_of_a_folder_is_told(herdwise: Callable[..., Any], folder: Path) -> None:
    run = herdwise("outcomes", "check", folder / "candidates.csv")
    assert (run.code, "is a file" in run.err) == (2, True)


def test_queries_that_all_say_the_same_have_no_telling_words(
    herdwise: Callable[..., Any], folder: Path
) -> None:
    change(folder / "queries.parquet", "text", ["same"] * 40)
    run = herdwise("experts", "select", "--outcomes", folder, "--split", "all", "--json")
    assert run.code == 0, run.err
    assert all(weakness["words"] == [] for weakness in run.json["weaknesses"])


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("items.jsonl", '{"question": "a", "answer": "b", "meta": ' + DEEP + "}", "line 1"),
        (
            "items.jsonl",
            '{"question": "a", "answer": "5", "grader": "numeric", "grader_options": {"tolerance": -1}}',
            "tolerance",
        ),
    ],
)
def test_malformed_items_are_named_by_line_and_field(
    herdwise: Callable[..., Any], tmp_path: Path, name: str, content: str, told: str
) -> None:
    (tmp_path / name).write_text(content)
    config = tmp_path / "herdwise.yaml"
    config.write_text("candidates:\n  - {name: a, base_url: 'http://127.0.0.1:9/v1'}\n")
    run = herdwise(
        "profile", "--config", config, "--benchmark", tmp_path / name, "--out", tmp_path / "o", "--dry-run"
    )
    assert run.code == 2
    assert name in run.err
    assert told in run.err


def test_a_config_too_deep_to_be_read_is_refused(herdwise: Callable[..., Any], tmp_path: Path) -> None:
    config = tmp_path / "deep.yaml"
    config.write_text("candidates: " + "[" * 3000 + "]" * 3000)
    run = herdwise("candidates", "--config", config)
    assert (run.code, "deep.yaml" in run.err) == (2, True)


def test_examples_may_begin_with_a_byte_order_mark(herdwise: Callable[..., Any], tmp_path: Path) -> None:
    given, out = tmp_path / "given.jsonl", tmp_path / "out.jsonl"
    given.write_bytes(b'\xef\xbb\xbf{"query": "a", "answer": "b"}\r\n')
    assert herdwise("experts", "curate", "--examples", given, "--out", out, "--json").json["kept"] == 1
    given.write_text('{"query": "a", "answer": ' + DEEP + "}")
    run = herdwise("experts", "curate", "--examples", given, "--out", out)
    assert (run.code, "given.jsonl, line 1" in run.err) == (2, True)
    run = herdwise("experts", "curate", "--examples", given, "--out", tmp_path)
    assert run.code == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_ends_a_command_with_a_word_and_leaves_no_half_page(
    herdwise: Callable[..., Any], folder: Path
) -> None:
    run = herdwise(
        "report", "--outcomes", folder, "--train-split", "all", "--predictor", "mean", "--out", "/dev/full"
    )
    assert run.code == 1
    assert "/dev/full: No space left on device" in run.err
    assert "Traceback" not in run.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_an_output_that_cannot_take_the_figures_ends_with_a_word(folder: Path) -> None:
    program = "import sys; from herdwise import cli; sys.argv[0] = 'herdwise'; cli.main()"
    with Path("/dev/full").open("wb") as full:
        run = subprocess.run(
            [sys.executable, "-c", program, "candidates", "--outcomes", str(folder), "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
    assert run.returncode == 1
    assert b"No space left on device" in run.stderr
    assert b"Traceback" not in run.stderr


def test_a_folder_in_a_pages_place_is_named_before_anything_is_measured(
    herdwise: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    for command in ("report", "prune"):
        run = herdwise(command, "--outcomes", folder, "--out", tmp_path)
        assert run.code == 2
        assert f"{tmp_path} is a folder" in run.err
        assert "learn" not in run.err

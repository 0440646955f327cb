"""Benchmarks and graders as a command line names them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from herdwise.core.errors import ConfigError, ItemsError, UnknownNameError
from herdwise.profiling.benchmark import Item, checked
from herdwise.profiling.sources import parse_grader, read_benchmark, some


def write(path: Path, *rows: object) -> str:
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return str(path)


def test_a_file_is_a_benchmark_of_ones_own_and_a_name_before_a_colon_is_another(tmp_path: Path) -> None:
    own = write(tmp_path / "own.jsonl", {"question": "1 + 1?", "answer": 2})
    sums = write(tmp_path / "test.jsonl", {"question": "Sum?", "answer": "#### 2"})
    assert read_benchmark(own)[0].benchmark == "own"
    assert read_benchmark(f"items:{own}")[0].benchmark == "own"
    assert read_benchmark(f"gsm8k:{sums}")[0].benchmark == "gsm8k"


def test_a_file_whose_name_holds_a_colon_is_still_a_file(tmp_path: Path) -> None:
    own = write(tmp_path / "a:b.jsonl", {"question": "1 + 1?", "answer": 2})
    assert len(read_benchmark(own)) == 1


def test_a_source_that_is_nowhere_tells_what_is_known() -> None:
    with pytest.raises(ItemsError, match="gsm8k, lm_eval, mmlu"):
        read_benchmark("gsm9k:test.jsonl")


def test_an_option_that_a_benchmark_does_not_take_is_refused(tmp_path: Path) -> None:
    own = write(tmp_path / "own.jsonl", {"question": "1 + 1?", "answer": 2})
    with pytest.raises(UnknownNameError, match="shots"):
        read_benchmark(own, options={"shots": 2})
    assert read_benchmark(own, options={"split": "dev"})[0].split == "dev"


def test_a_grader_of_the_command_line_goes_to_items_that_name_none(tmp_path: Path) -> None:
    own = write(
        tmp_path / "own.jsonl",
        {"id": "a", "question": "1 + 1?", "answer": 2},
        {"id": "b", "question": "1 + 2?", "answer": 3, "grader": "exact"},
        {
            "id": "c",
            "question": "1 + 3?",
            "answer": 4,
            "grader": "numeric",
            "grader_options": {"absolute": 1},
        },
    )
    grader, options = parse_grader(["numeric:tolerance=0.5"])
    items = read_benchmark(own, grader=grader, grader_options=options)
    assert [i.grader for i in items] == ["numeric", "exact", "numeric"]
    assert [dict(i.options) for i in items] == [{"tolerance": 0.5}, {}, {"tolerance": 0.5, "absolute": 1}]
    # What a grader wants said is said.
    assert "the number alone" in items[0].messages[0]["content"]


def test_options_are_what_the_grader_takes_or_a_file(tmp_path: Path) -> None:
    rubric, schema = tmp_path / "rubric.txt", tmp_path / "schema.json"
    rubric.write_text("Be strict, and = fair.\n")
    schema.write_text('{"type": "object"}')
    judge = ["judge:candidate=7", f"judge:rubric=@{rubric}", "judge:temperature=null", "judge:max_tokens=9"]
    assert parse_grader(judge) == (
        "judge",
        {"candidate": "7", "rubric": "Be strict, and = fair.\n", "temperature": None, "max_tokens": 9},
    )
    assert parse_grader([f"json_schema:schema=@{schema}", "json_schema:strict=true"])[1] == {
        "schema": {"type": "object"},
        "strict": True,
    }
    assert parse_grader(['numeric:alternatives=[1, "2"]', "numeric:tolerance=1"])[1] == {
        "alternatives": [1, "2"],
        "tolerance": 1,
    }


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["numeric:tolerance=some"], "option tolerance must be a number, not 'some'"),
        (["exact:alternatives=[1]"], "option alternatives must be a list"),
        (["choice:guess=7"], "option guess must be true or false, not 7"),
        (["exact:nonsense=1"], "nonsense"),
    ],
)
def test_an_option_of_the_wrong_kind_is_refused(tmp_path: Path, texts: list[str], said: str) -> None:
    own = write(tmp_path / "own.jsonl", {"question": "1 + 1?", "answer": 2})
    grader, options = parse_grader(texts)
    with pytest.raises(ItemsError, match=said):
        read_benchmark(own, grader=grader, grader_options=options)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["judge", "numeric"], "names judge and numeric"),
        (["judge:candidate"], "'candidate' is no key=value"),
        (["judge:a=1", "judge:a=2"], "a stands twice"),
        (["judge:rubric=@/nowhere/at/all"], "cannot be read"),
    ],
)
def test_a_grader_that_cannot_be_read_is_refused(texts: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_grader(texts)


def turns(n: int) -> tuple[Item, ...]:
    made = []
    for i in range(n):
        made.append(Item(f"{i}a", f"first {i}", (), "exact"))
        made.append(Item(f"{i}b", f"second {i}", (), "exact", after=f"{i}a"))
    return checked(made)


def test_some_items_are_the_first_or_a_draw_that_a_seed_repeats() -> None:
    items = turns(50)
    assert [i.id for i in some(items, limit=2)] == ["0a", "0b", "1a", "1b"]
    drawn = some(items, sample=10, seed=3)
    assert len(drawn) == 20
    assert drawn == some(items, sample=10, seed=3) != some(items, sample=10, seed=4)
    assert [i.after for i in drawn[1::2]] == [i.id for i in drawn[::2]]
    assert len(some(items, sample=10, limit=4)) == 8
    assert some(items) == items


def test_a_turn_before_its_first_or_in_another_split_is_refused() -> None:
    first, second = turns(1)
    with pytest.raises(ItemsError, match="does not stand before it"):
        checked([second, first])
    other = Item("x", "x", (), "exact", after="0a", split="none of them")
    with pytest.raises(ItemsError, match="in split 'none of them'"):
        checked([first, other])

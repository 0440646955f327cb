import re
from pathlib import Path

import msgspec
import pytest

from herdwise.core.errors import ItemsError
from herdwise.profiling.benchmark import checked, split_of
from herdwise.profiling.tasks.items import ItemsFile


def write(path: Path, *rows: object) -> ItemsFile:
    lines = [row if isinstance(row, str) else msgspec.json.encode(row).decode() for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return ItemsFile(path)


def test_a_question_is_asked_with_its_graders_instruction_but_recorded_without(tmp_path: Path) -> None:
    [item] = write(tmp_path / "sums.jsonl", {"question": "1 + 1?", "answer": 2}).items()
    assert (item.text, item.reference, item.grader, item.benchmark) == ("1 + 1?", "2", "exact", "sums")
    assert item.messages[0]["content"].startswith("1 + 1?\n\nFinish with")


def test_a_prompt_is_sent_as_it_stands(tmp_path: Path) -> None:
    [item] = write(tmp_path / "a.jsonl", {"prompt": "Say x.", "answer": "x", "grader": "exact"}).items()
    assert item.messages == ({"role": "user", "content": "Say x."},)


def test_messages_are_sent_as_they_stand_and_routed_on_by_the_last_of_the_user(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Say x."}]},
    ]
    [item] = write(tmp_path / "a.jsonl", {"messages": messages, "answer": "x"}).items()
    assert (item.text, list(item.messages)) == ("Say x.", messages)


def test_choices_are_lettered_and_graded_by_letter(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "question": "Which?", "choices": ["red", "blue"], "answer": "(b)"},
        {"id": "b", "question": "Which?", "choices": ["red", "blue"], "answer": "blue"},
        {"id": "c", "question": "Which?", "choices": [3, 4], "answer": 4},
    ]
    items = write(tmp_path / "a.jsonl", *rows).items()
    assert [i.reference for i in items] == ["B", "B", "B"]
    assert items[0].text == "Which?\nA. red\nB. blue"
    assert {i.grader for i in items} == {"choice"}


def test_tests_make_a_code_item(tmp_path: Path) -> None:
    [item] = write(tmp_path / "a.jsonl", {"question": "f?", "tests": "assert f() == 1"}).items()
    assert (item.grader, item.options["tests"]) == ("python_tests", "assert f() == 1")


def test_own_names_are_kept(tmp_path: Path) -> None:
    row = {"id": "7", "question": "q", "answer": "a", "benchmark": "b", "split": "dev", "category": "c"}
    [item] = write(tmp_path / "a.jsonl", {**row, "meta": {"by": "me"}}).items()
    assert (item.id, item.benchmark, item.split, item.category) == ("7", "b", "dev", "c")


def test_an_item_without_id_gets_one_from_its_content(tmp_path: Path) -> None:
    first = {"question": "one?", "answer": "1"}
    second = {"question": "two?", "answer": "2"}
    a, b = write(tmp_path / "a.jsonl", first, second).items()
    moved, _ = write(tmp_path / "b.jsonl", second, first).items()
    assert a.id != b.id == moved.id


def test_a_line_separator_within_a_text_does_not_end_the_line(tmp_path: Path) -> None:
    [item] = write(tmp_path / "a.jsonl", '{"question": "one\u2028two?", "answer": "1"}').items()
    assert "\u2028" in item.text


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{not json", "not JSON"),
        ("[1]", "must be a JSON object"),
        ({"answer": "x"}, "question: one of question, prompt or messages is needed"),
        (
            {"question": "q", "prompt": "p", "answer": "x"},
            "question: one of question, prompt or messages is needed; there are question and",
        ),
        ({"question": " ", "answer": "x"}, "question: must be a text"),
        ({"question": "q"}, "answer: is missing"),
        ({"question": "q", "reference": "..."}, "reference: holds no word"),
        ({"question": "q", "answer": "a", "reference": "b"}, "reference: stands beside answer"),
        ({"question": "q", "answer": ["a"]}, "answer: must be a text or a number"),
        ({"question": "q", "answer": "a", "grader": "vibes"}, "grader: there is no grader 'vibes'"),
        ({"question": "q", "answer": "a", "grader_options": {"x": 1}}, "grader: grader 'exact'"),
        (
            {"question": "q", "answer": "C", "choices": ["a", "b"]},
            "answer: 'C' is none of the letters A to B",
        ),
        ({"question": "q", "answer": 1, "choices": ["a", "b"]}, "answer: must be a letter"),
        ({"question": "q", "answer": "A", "choices": ["a"]}, "choices: must be a list of 2"),
        ({"question": "q", "answer": "A", "choices": ["a", None]}, "choices: each must be"),
        ({"question": "q", "tests": "assert ("}, "tests: is not Python"),
        ({"question": "q", "grader": "python_tests"}, "tests: is missing"),
        ({"question": "q", "answer": "a", "splt": "dev"}, "splt: unknown field"),
        (
            {"messages": [{"role": "system", "content": "x"}], "answer": "a"},
            "messages: the last user message",
        ),
        ({"messages": "x", "answer": "a"}, "messages: must be a list"),
    ],
)
def test_a_malformed_line_is_named_by_file_line_and_field(tmp_path: Path, row: object, said: str) -> None:
    file = write(tmp_path / "mine.jsonl", {"question": "fine?", "answer": "yes"}, "", row)
    with pytest.raises(ItemsError) as caught:
        file.items()
    assert "mine.jsonl" in str(caught.value)
    assert f"line 3, {said}" in str(caught.value)


def test_all_malformed_lines_are_named_at_once(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", "{", {"question": "fine?", "answer": "yes"}, "[]")
    with pytest.raises(ItemsError, match=r"(?s)2 malformed.*line 1.*line 3"):
        file.items()


def test_an_id_that_stands_twice_is_named_with_both_lines(tmp_path: Path) -> None:
    row = {"id": "x", "question": "q", "answer": "a"}
    with pytest.raises(ItemsError, match="line 2, id: 'x' stands on line 1 already"):
        write(tmp_path / "a.jsonl", row, row).items()


def test_a_missing_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ItemsError, match="no such file"):
        ItemsFile(tmp_path / "none.jsonl").items()
    with pytest.raises(ItemsError, match="holds no items"):
        write(tmp_path / "a.jsonl", "").items()


def test_items_without_a_split_get_one_by_their_text_three_quarters_train(tmp_path: Path) -> None:
    rows = [{"id": str(i), "question": f"{i} + 1?", "answer": i + 1} for i in range(400)]
    items = checked(write(tmp_path / "a.jsonl", *rows).items())
    train = sum(i.split == "train" for i in items)
    assert {i.split for i in items} == {"train", "test"}
    assert 0.7 < train / 400 < 0.8
    assert split_of("one  text") == split_of("one text")


def test_the_documented_examples_are_read_as_documented(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "profiling.md"
    [block] = re.findall(r"```json\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    items = write(tmp_path / "a.jsonl", *block.splitlines()).items()
    assert [i.grader for i in items] == ["exact", "choice", "python_tests", "exact", "judge", "json_schema"]
    assert [i.reference for i in items] == [
        "42",
        "B",
        None,
        "yes",
        None,
        '{"author":"Jane Austen","year":1815}',
    ]
    assert [i.after for i in items] == [None, None, None, None, "prime", None]

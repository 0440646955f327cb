"""Known benchmarks, from files as their authors give them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from pyarrow import parquet

from herdwise.core.errors import ItemsError
from herdwise.profiling.benchmark import checked
from herdwise.profiling.tasks.gsm8k import Gsm8k
from herdwise.profiling.tasks.mmlu import Mmlu
from herdwise.profiling.tasks.mmlu_pro import MmluPro
from herdwise.profiling.tasks.mt_bench import MtBench


def lines(path: Path, *rows: object) -> Path:
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return path


def test_mmlu_reads_the_authors_csv_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "anatomy_test.csv").write_text('"Which, if any?",one,"two, too",three,four,B\n')
    (tmp_path / "test" / "world_religions_test.csv").write_text("Who?,a,b,c,d,D\nWho?,a,b,c,d,A\n")
    items = Mmlu(tmp_path).items()
    assert [(i.id, i.category, i.reference) for i in items] == [
        ("mmlu-test/anatomy_test-0", "anatomy", "B"),
        ("mmlu-test/world_religions_test-0", "world_religions", "D"),
        ("mmlu-test/world_religions_test-1", "world_religions", "A"),
    ]
    assert items[0].text == "Which, if any?\nA. one\nB. two, too\nC. three\nD. four"
    assert items[0].messages[0]["content"].startswith(items[0].text + "\n\nFinish with")
    # A question that stands twice stays in one split.
    assert len({i.split for i in checked(items)[1:]}) == 1
    assert {i.category for i in Mmlu(tmp_path, subjects="anatomy").items()} == {"anatomy"}


def test_mmlu_reads_parquet_whose_answers_are_positions(tmp_path: Path) -> None:
    rows = [
        {"question": "Q?", "subject": "anatomy", "choices": ["w", "x", "y", "z"], "answer": 2},
        {"question": "R?", "subject": "virology", "choices": ["w", "x", "y", "z"], "answer": 0},
    ]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    items = Mmlu(tmp_path / "test.parquet", subjects=["virology"]).items()
    assert [(i.id, i.reference, i.choices) for i in items] == [("mmlu-test-1", "A", ("w", "x", "y", "z"))]


def test_mmlu_names_file_line_and_field(tmp_path: Path) -> None:
    file = tmp_path / "anatomy_test.csv"
    file.write_text("Q?,a,b,c,d,E\nQ?,a,b,c,d\nQ?,a,,c,d,A\n")
    with pytest.raises(ItemsError) as caught:
        Mmlu(file).items()
    said = str(caught.value)
    assert "anatomy_test.csv: 3 malformed" in said
    assert "line 1, answer: 'E' is neither" in said
    assert "line 2, 5 cells where 6 are expected" in said
    assert "line 3, B: must be a text" in said


PRO = {
    "question_id": 70,
    "question": "Which?",
    "options": ["0", "30", "3", "N/A"],
    "answer": "B",
    "answer_index": 1,
    "category": "math",
    "src": "x",
}


def test_mmlu_pro_reads_parquet_and_csv_alike(tmp_path: Path) -> None:
    parquet.write_table(pa.Table.from_pylist([PRO]), tmp_path / "test.parquet")
    (tmp_path / "test.csv").write_text(
        "question_id,question,options,answer,answer_index,category\n"
        "70,Which?,\"['0', '30', '3', 'N/A']\",B,1,math\n"
    )
    [a], [b] = MmluPro(tmp_path / "test.parquet").items(), MmluPro(tmp_path / "test.csv").items()
    assert a == b
    assert (a.id, a.reference, a.choices, a.category) == ("mmlu_pro-70", "B", ("0", "30", "3"), "math")
    with pytest.raises(ItemsError, match="no items of law"):
        MmluPro(tmp_path / "test.csv", categories="law").items()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"options": "0 30 3"}, "row 0, options: must be a list"),
        ({"options": "['only']"}, "row 0, options: must be a list of texts"),
        ({"answer": "Z"}, "row 0, answer: 'Z' is neither"),
        ({"question": " "}, "row 0, question: must be a text"),
    ],
)
def test_mmlu_pro_names_row_and_field(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    parquet.write_table(pa.Table.from_pylist([{**PRO, **change}]), tmp_path / "test.parquet")
    with pytest.raises(ItemsError, match=said):
        MmluPro(tmp_path / "test.parquet").items()


def test_a_table_that_lacks_a_column_or_is_none_is_refused(tmp_path: Path) -> None:
    parquet.write_table(pa.Table.from_pylist([{"question": "x"}]), tmp_path / "a.parquet")
    with pytest.raises(ItemsError, match="lacks columns question_id, options, answer, category"):
        MmluPro(tmp_path / "a.parquet").items()
    (tmp_path / "b.parquet").write_text("not parquet")
    with pytest.raises(ItemsError, match="not parquet"):
        MmluPro(tmp_path / "b.parquet").items()
    with pytest.raises(ItemsError, match="no such file"):
        MmluPro(tmp_path / "c.parquet").items()


def test_gsm8k_keeps_the_final_number_alone(tmp_path: Path) -> None:
    file = lines(
        tmp_path / "test.jsonl", {"question": "How many?", "answer": "48/2=<<48/2=24>>24\n#### 1,024"}
    )
    [item] = Gsm8k(file).items()
    assert (item.id, item.reference, item.grader) == ("gsm8k-test-1", "1,024", "numeric")
    assert item.text == "How many?"


def test_gsm8k_names_line_and_field(tmp_path: Path) -> None:
    file = lines(
        tmp_path / "test.jsonl",
        {"question": "How many?", "answer": "#### 3"},
        {"question": "How many?", "answer": "3"},
        {"question": "How many?", "answer": "#### few"},
        {"answer": "#### 3"},
    )
    with pytest.raises(ItemsError) as caught:
        Gsm8k(file).items()
    said = str(caught.value)
    assert "line 2, answer: must end in ####" in said
    assert "line 3, reference: holds no number" in said
    assert "line 4, question: must be" in said


JUDGED = {"grader_options": {"candidate": "owl"}}


def test_mt_bench_makes_an_item_of_each_turn(tmp_path: Path) -> None:
    file = lines(
        tmp_path / "question.jsonl",
        {"question_id": 81, "category": "writing", "turns": ["Write.", "Shorter."]},
        {"question_id": 111, "category": "math", "turns": ["Add.", "Why?"], "reference": ["3", "So."]},
    )
    items = checked(MtBench(file, **JUDGED).items())
    assert [(i.id, i.after, i.reference) for i in items] == [
        ("mt_bench-81-1", None, None),
        ("mt_bench-81-2", "mt_bench-81-1", None),
        ("mt_bench-111-1", None, "3"),
        ("mt_bench-111-2", "mt_bench-111-1", "So."),
    ]
    assert items[1].messages == ({"role": "user", "content": "Shorter."},)
    assert items[1].text == "Write.\nShorter."
    assert items[0].split == items[1].split


def test_mt_bench_reads_the_judges_reference_answers(tmp_path: Path) -> None:
    file = lines(tmp_path / "q.jsonl", {"question_id": 1, "category": "math", "turns": ["Add.", "Why?"]})
    known = lines(
        tmp_path / "ref.jsonl", {"question_id": 1, "choices": [{"index": 0, "turns": ["3", "So."]}]}
    )
    assert [i.reference for i in MtBench(file, references=known, **JUDGED).items()] == ["3", "So."]
    short = lines(tmp_path / "short.jsonl", {"question_id": 1, "choices": [{"turns": ["3"]}]})
    with pytest.raises(ItemsError, match=r"line 1, reference: 1 for 2 turns"):
        MtBench(file, references=short, **JUDGED).items()
    with pytest.raises(ItemsError, match=r"choices\[0\]\.turns: is missing"):
        MtBench(file, references=lines(tmp_path / "bad.jsonl", {"question_id": 1}), **JUDGED).items()


def test_mt_bench_needs_a_judge_and_turns(tmp_path: Path) -> None:
    file = lines(tmp_path / "q.jsonl", {"question_id": 1, "category": "math", "turns": ["Add."]})
    with pytest.raises(ItemsError, match=r"grader_options\.candidate: is missing"):
        MtBench(file).items()
    bad = lines(tmp_path / "bad.jsonl", {"question_id": 1, "category": "math", "turns": []})
    with pytest.raises(ItemsError, match="turns: must be a list of texts"):
        MtBench(bad, **JUDGED).items()

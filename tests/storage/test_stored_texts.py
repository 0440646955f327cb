"""Texts of a large folder are read where they are used."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from herdwise.core.errors import OutcomeError
from herdwise.storage import parquet_columns, stored_texts
from herdwise.storage.outcomes import read_outcomes, read_training_outcomes
from herdwise.storage.stored_texts import StoredTexts

N = 25


def text(i):
    return f"question {i} " + "é" * (i % 7)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder in row groups of ten queries, read in batches of three texts and four outcomes."""
    monkeypatch.setattr(stored_texts, "_BATCH", 3)
    monkeypatch.setattr(parquet_columns, "_TEXT_ROWS", 3)
    monkeypatch.setattr(parquet_columns, "_ROWS", 4)
    ids = [f"q{i}" for i in range(N)]
    queries = {
        "query_id": ids,
        "text": [text(i) for i in range(N)],
        "benchmark": ["a", "b", "c", "a", "b"] * 5,
        "split": ["train", None, "test", "train", "train"] * 5,
        "tools": [None, "[]", None, None, None] * 5,
        "reference": ["A"] * N,
    }
    outcomes = {
        "query_id": ids * 2,
        "candidate": ["x"] * N + ["y"] * N,
        "quality": [i % 2 for i in range(N)] + [None] * N,
        "cost_usd": [0.1] * (2 * N),
        "input_tokens": [3] * (2 * N),
        "answer": ["A", None, "B", "A", "C"] * 10,
    }
    pq.write_table(pa.table(queries), tmp_path / "queries.parquet", row_group_size=10)
    pq.write_table(pa.table(outcomes), tmp_path / "outcomes.parquet", row_group_size=16)
    csv = "candidate,params_b,active_params_b,open_weights\nx,7,7,True\ny,,,\n"
    (tmp_path / "candidates.csv").write_text(csv, encoding="utf-8")
    return tmp_path


def texts_of(folder):
    return StoredTexts(pq.ParquetFile(folder / "queries.parquet"), "text")


def test_they_are_those_of_the_file_in_order(folder):
    assert list(texts_of(folder)) == [text(i) for i in range(N)]


def test_any_position_and_slice_can_be_read_back_and_forth(folder):
    texts = texts_of(folder)
    for i in (24, 0, 11, 10, 9, 23, -1):
        assert texts[i] == text(i % N)
    assert texts[7:14] == [text(i) for i in range(7, 14)]
    assert texts[20:2:-5] == [text(i) for i in (20, 15, 10, 5)]
    with pytest.raises(IndexError):
        texts[N]


def test_taken_texts_come_in_the_order_asked_for_and_can_be_taken_from_again(folder):
    order = np.random.default_rng(0).permutation(N)
    taken = texts_of(folder).take(order)
    assert list(taken) == [text(i) for i in order]
    assert list(taken.take(np.array([3, 1]))) == [text(order[3]), text(order[1])]


def test_they_are_read_although_the_file_is_replaced_meanwhile(folder):
    texts = texts_of(folder)
    other = folder / "other.parquet"
    pq.write_table(pa.table({"text": ["other"]}), other)
    other.replace(folder / "queries.parquet")
    assert texts[24] == text(24)


def test_a_folder_is_read_alike_whether_its_texts_are_held_or_not(folder):
    held, stored = read_outcomes(folder), read_training_outcomes(folder, held_bytes=0)
    assert isinstance(held.texts, list)
    assert isinstance(stored.texts, StoredTexts)
    assert stored.fingerprint() == held.fingerprint()
    assert list(stored.split("train").texts) == list(held.split("train").texts)
    assert stored.split("train").fingerprint() == held.split("train").fingerprint()
    assert stored.answers.tolist() == held.answers.tolist() == ["A", None, "B", "A", "C"] * 10


def test_learning_reads_only_what_it_looks_at(folder):
    table = read_training_outcomes(folder, answers=False)
    assert set(table.values) == {"quality", "cost_usd"}
    assert table.answers is None
    assert table.references is None
    assert table.tools[:3] == [None, "[]", None]
    assert table.values["cost_usd"].dtype == np.float32


@pytest.mark.parametrize(
    ("file", "column", "row", "value", "message"),
    [
        ("outcomes", "quality", 45, 1.5, r"column 'quality', row 45: 1\.5 must be in"),
        ("outcomes", "query_id", 21, "q99", r"column 'query_id', row 21: 'q99' is not in"),
        ("outcomes", "candidate", 49, "z", r"column 'candidate', row 49: 'z' is not in"),
        ("queries", "text", 13, None, r"column 'text', row 13: is null"),
        ("queries", "benchmark", 17, None, r"column 'benchmark', row 17: is null"),
        ("queries", "query_id", 19, "q3", r"column 'query_id', row 19: 'q3' stands twice"),
    ],
)
def test_what_is_wrong_in_a_later_batch_is_named_with_its_row(folder, file, column, row, value, message):
    path = folder / f"{file}.parquet"
    columns = pq.read_table(path).to_pydict()
    columns[column][row] = value
    pq.write_table(pa.table(columns), path, row_group_size=10)
    for held_bytes in (0, 2**20):
        with pytest.raises(OutcomeError, match=message):
            read_training_outcomes(folder, held_bytes=held_bytes)


def test_a_page_that_cannot_be_decoded_names_the_file(folder):
    path = folder / "outcomes.parquet"
    data = bytearray(path.read_bytes())
    data[4:200] = bytes(196)
    path.write_bytes(bytes(data))
    with pytest.raises(OutcomeError, match=r"outcomes\.parquet: not a readable parquet file"):
        read_outcomes(folder)


def test_completions_of_some_queries_are_read_without_the_others() -> None:
    from herdwise.storage.outcomes import read_texts

    whole = read_texts("mmlu_pro")
    some = {query_id for query_id, _ in list(whole)[:40]}
    assert read_texts("mmlu_pro", some) == {key: text for key, text in whole.items() if key[0] in some}
    assert read_texts("mmlu_pro", []) == {}

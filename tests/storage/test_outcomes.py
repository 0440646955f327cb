"""Outcome folders: whatever conforms is read, whatever does not is named with file, column and row."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from herdwise import OutcomeTable, read_outcomes, write_outcomes
from herdwise.core.errors import OutcomeError
from herdwise.storage.outcomes import read_texts

QUERIES = {
    "query_id": ["q0", "q1"],
    "text": ["What is 2+2?", "Wie heißt du?"],
    "benchmark": ["sums", "chat"],
    "split": ["train", None],
}
OUTCOMES = {"query_id": ["q0", "q1", "q1"], "candidate": ["a", "a", "b"], "quality": [1.0, None, 0.25]}
CSV = "candidate,params_b,active_params_b,open_weights\na,7,7,True\nb,,,False\n"


def folder(path, queries=QUERIES, outcomes=OUTCOMES, csv=CSV, texts=None):
    path.mkdir(exist_ok=True)
    pq.write_table(pa.table(queries), path / "queries.parquet")
    pq.write_table(pa.table(outcomes), path / "outcomes.parquet")
    (path / "candidates.csv").write_text(csv, encoding="utf-8")
    if texts is not None:
        pq.write_table(pa.table(texts), path / "texts.parquet")
    return path


def test_a_sparse_folder_without_optional_columns_is_read(tmp_path):
    table = read_outcomes(folder(tmp_path / "f"))
    assert (table.n_queries, table.n_candidates, table.n_outcomes) == (2, 2, 3)
    assert table.splits == ["train", None]
    assert table.answers is None
    assert table.herd["b"].params_b is None
    assert np.isnan(table.matrix()[0, 1])


def test_optional_columns_of_other_types_are_read(tmp_path):
    outcomes = {
        **OUTCOMES,
        "candidate": pa.array(OUTCOMES["candidate"]).dictionary_encode(),
        "sample": pa.array([0, 0, 3], pa.int64()),
        "input_tokens": pa.array([5, None, 7], pa.int64()),
        "answer": pa.array(["4", None, "x"], pa.large_string()),
        "latency_s": pa.array([0.5, None, 1.5], pa.float32()),
        "quality": pa.array([1, None, 0], pa.int8()),
    }
    table = read_outcomes(folder(tmp_path / "f", outcomes=outcomes))
    assert table.matrix("input_tokens")[0, 0] == 5
    assert np.isnan(table.matrix("latency_s")[1, 0])
    assert table.answers.tolist() == ["4", None, "x"]
    assert table.sample.tolist() == [0, 0, 3]


def test_what_is_written_is_read_back(tmp_path):
    csv = (
        "candidate,params_b,active_params_b,open_weights,input_usd_per_mtok,output_usd_per_mtok,"
        "context_tokens,modalities,tools,licence,released\n"
        "a,46.7,12.9,True,0.5,1.5,32768,text;image,True,apache-2.0,2023-12-11\nb,,,,,,,,,,\n"
    )
    source = read_outcomes(
        folder(tmp_path / "f", csv=csv, texts={"query_id": ["q0"], "candidate": ["a"], "text": ["4"]})
    )
    write_outcomes(source, tmp_path / "g", texts=read_texts(tmp_path / "f"))
    again = read_outcomes(tmp_path / "g")
    assert again.herd == source.herd
    assert again.herd["a"].modalities == {"text", "image"}
    assert again.fingerprint() == source.fingerprint()
    assert again.splits == source.splits
    assert read_texts(tmp_path / "g") == {("q0", "a"): "4"}


def test_usd_per_mtok_is_the_price_of_input_and_output(tmp_path):
    csv = "candidate,params_b,active_params_b,open_weights,usd_per_mtok\na,7,7,True,0.2\nb,,,,\n"
    herd = read_outcomes(folder(tmp_path / "f", csv=csv)).herd
    assert herd["a"].price.cost_usd(1e6, 1e6) == pytest.approx(0.4)
    assert not herd["b"].price.known


def test_a_text_without_an_outcome_is_a_warning_with_its_count(tmp_path):
    texts = {"query_id": ["q0", "q0"], "candidate": ["a", "b"], "text": ["4", "5"]}
    assert read_outcomes(folder(tmp_path / "f", texts=texts)).warnings == (
        "texts.parquet: 1 texts have no outcome.",
    )


def changed(columns, **new):
    return {**columns, **new}


def without(columns, name):
    return {k: v for k, v in columns.items() if k != name}


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"queries": without(QUERIES, "text")}, r"queries\.parquet, column 'text': the column is missing"),
        ({"outcomes": without(OUTCOMES, "quality")}, r"outcomes\.parquet, column 'quality': the column is"),
        ({"queries": changed(QUERIES, text=["x", None])}, r"queries\.parquet, column 'text', row 1: is null"),
        (
            {"queries": changed(QUERIES, query_id=["q1", "q1"])},
            r"column 'query_id', row 1: 'q1' stands twice",
        ),
        ({"queries": changed(QUERIES, query_id=[1, 2])}, r"column 'query_id': must hold text, not int64"),
        (
            {"outcomes": changed(OUTCOMES, query_id=["q0", "q9", "q1"])},
            r"outcomes\.parquet, column 'query_id', row 1: 'q9' is not in queries\.parquet",
        ),
        (
            {"outcomes": changed(OUTCOMES, candidate=["a", "a", "z"])},
            r"outcomes\.parquet, column 'candidate', row 2: 'z' is not in candidates\.csv",
        ),
        (
            {"outcomes": changed(OUTCOMES, quality=[1.0, 1.5, 0.0])},
            r"column 'quality', row 1: 1\.5 must be in",
        ),
        ({"outcomes": changed(OUTCOMES, quality=["1", "0", "1"])}, r"column 'quality': must hold numbers"),
        (
            {"outcomes": changed(OUTCOMES, cost_usd=[0.1, -1.0, 0.0])},
            r"column 'cost_usd', row 1: -1\.0 must be",
        ),
        ({"outcomes": changed(OUTCOMES, latency_s=[0.1, np.inf, 0.0])}, r"'latency_s', row 1: inf must be"),
        ({"outcomes": changed(OUTCOMES, sample=[0, -1, 0])}, r"column 'sample', row 1: must be an integer"),
        (
            {"outcomes": changed(OUTCOMES, query_id=["q0", "q1", "q1"], candidate=["a", "b", "b"])},
            r"outcomes\.parquet, column 'query_id', row 2: \(query_id, candidate, sample\) stands twice",
        ),
        (
            {"csv": "candidate,params_b\na,7\n"},
            r"candidates\.csv, column 'active_params_b', row 1: the column",
        ),
        (
            {"csv": CSV.replace("a,7,7", "a,seven,7")},
            r"candidates\.csv, column 'params_b', row 2: 'seven' must be billions",
        ),
        (
            {"csv": CSV.replace("False", "maybe")},
            r"column 'open_weights', row 3: 'maybe' must be True or False",
        ),
        ({"csv": CSV.replace("b,,,False", "a,,,False")}, r"column 'candidate', row 3: 'a' stands twice"),
        ({"csv": CSV + "c,1\n"}, r"candidates\.csv, row 4: 2 cells where the header has 4"),
        (
            {"texts": {"query_id": ["q7"], "candidate": ["a"], "text": ["x"]}},
            r"texts\.parquet, column 'query_id', row 0: 'q7' is not in queries\.parquet",
        ),
    ],
)
def test_a_malformed_folder_is_refused_with_file_column_and_row(tmp_path, change, where):
    with pytest.raises(OutcomeError, match=where):
        read_outcomes(folder(tmp_path / "f", **change))


def test_a_truncated_parquet_is_named(tmp_path):
    path = folder(tmp_path / "f") / "outcomes.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(OutcomeError, match=r"outcomes\.parquet: not a readable parquet file"):
        read_outcomes(tmp_path / "f")


def test_a_missing_file_and_a_missing_folder_are_named(tmp_path):
    (folder(tmp_path / "f") / "queries.parquet").unlink()
    with pytest.raises(OutcomeError, match=r"queries\.parquet: the file is missing"):
        read_outcomes(tmp_path / "f")
    with pytest.raises(OutcomeError, match="no such folder"):
        read_outcomes(tmp_path / "nowhere")


def test_the_shipped_outcomes_are_reachable_by_name():
    table = read_outcomes("mmlu_pro")
    assert isinstance(table, OutcomeTable)
    assert (table.n_queries, table.n_candidates) == (8402, 33)
    assert "Apache-2.0" in table.source
    assert table.warnings == ()


def test_two_texts_for_one_outcome_are_a_warning_with_their_count(tmp_path):
    texts = {"query_id": ["q0", "q0"], "candidate": ["a", "a"], "text": ["four", "5"]}
    path = folder(tmp_path / "f", texts=texts)
    assert read_outcomes(path).warnings == (
        "texts.parquet: 1 texts are not the first of their query and candidate; the last counts.",
    )
    assert read_texts(path) == {("q0", "a"): "5"}


def test_a_source_that_is_not_utf8_is_named(tmp_path):
    path = folder(tmp_path / "f")
    (path / "SOURCE.md").write_bytes("Übersetzt".encode("latin-1"))
    with pytest.raises(OutcomeError, match=r"SOURCE\.md: not UTF-8"):
        read_outcomes(path)


def test_outcomes_without_texts_leave_no_texts_of_others_behind(tmp_path):
    texts = {"query_id": ["q0"], "candidate": ["a"], "text": ["four"]}
    path = folder(tmp_path / "f", texts=texts)
    write_outcomes(read_outcomes(path), path)
    assert read_texts(path) == {}


def test_a_logprob_is_at_most_0(tmp_path, make_outcomes):
    for value, fine in ((-1.5, True), (0.5, False)):
        table = make_outcomes({"ant": [1.0, 0.0]}, answer_logprob={"ant": [value, None]})
        write_outcomes(table, tmp_path / str(fine))
        if fine:
            assert read_outcomes(tmp_path / str(fine)).matrix("answer_logprob")[0, 0] == value
        else:
            with pytest.raises(OutcomeError, match="at most 0"):
                read_outcomes(tmp_path / str(fine))

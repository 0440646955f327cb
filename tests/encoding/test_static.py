from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from herdwise.core.errors import ArtefactError, ConfigError
from herdwise.core.query import asked_text
from herdwise.encoding.base import ENCODERS
from herdwise.encoding.form import N_SIGNALS
from herdwise.encoding.static import StaticEncoder
from herdwise.encoding.tools import N_TOOL_SIGNALS, TOOL_SIGNALS

DATA = files("herdwise.data") / "static_encoder"
SHARED = Path(__file__).parents[2].parent / "shared" / "outcomes" / "routerdc7" / "queries.parquet"


@pytest.fixture(scope="module")
def encoder() -> StaticEncoder:
    return StaticEncoder()


def test_the_inner_product_is_the_weighted_mean_of_the_blocks_cosines(encoder: StaticEncoder) -> None:
    for weight, form in ((0.25, 0.1), (1.0, 0.4), (3.0, 0.0)):
        made = StaticEncoder(ngram_weight=weight, form_weight=form)
        a, b = made.encode(["The law of gravity", "What are Newton's laws of motion?"])
        k = encoder.n_semantic
        blocks = [slice(k), slice(k, k + 128)] + ([slice(k + 128, k + 128 + N_SIGNALS)] if form else [])
        cosines = [a[s] @ b[s] / (np.linalg.norm(a[s]) * np.linalg.norm(b[s])) for s in blocks]
        parts = sum(w * c for w, c in zip((1, weight, form), cosines, strict=False))
        assert a @ b == pytest.approx(parts / (1 + weight + form), abs=1e-5)
        assert a @ a == pytest.approx(1, abs=1e-5)


def test_without_ngrams_only_the_semantic_block_is_left(encoder: StaticEncoder) -> None:
    words = StaticEncoder(ngram_weight=0, form_weight=0, tool_weight=0).encode_one("photosynthesis in plants")
    whole = encoder.encode_one("photosynthesis in plants")
    assert np.linalg.norm(words) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(words, whole[: len(words)] * np.sqrt(2.4), atol=1e-5)


def test_questions_that_differ_in_form_alone_are_told_apart(encoder: StaticEncoder) -> None:
    bare = "Which gas do plants take in?"
    choice = bare + "\nA. oxygen\nB. carbon dioxide\nC. helium\nD. neon"
    other = "Who wrote the play Hamlet?\nA. Marlowe\nB. Shakespeare\nC. Jonson\nD. Kyd"
    forms = StaticEncoder(tool_weight=0).encode([bare, choice, other])[:, -N_SIGNALS:]
    assert forms[1] @ forms[2] > forms[0] @ forms[1] + 0.05


def test_a_router_that_was_trained_on_other_signals_is_refused(encoder: StaticEncoder) -> None:
    options, arrays = encoder.state()
    for signals in ({"signals": "length lines"}, {}):
        old = {name: value for name, value in options.items() if name != "signals"} | signals
        with pytest.raises(ArtefactError, match="Train the router again"):
            StaticEncoder.from_state(old, arrays)


WEATHER = {
    "name": "get_weather",
    "description": "Current weather of a city.",
    "parameters": {"properties": {"city": {}, "unit": {}}},
}
PRIMES = {"name": "count_primes", "description": "How many primes lie below n.", "parameters": {}}


def tool_signal(text: str, tools: list[dict[str, Any]], name: str) -> float:
    block = StaticEncoder().encode_one(asked_text(text, tools))[-N_TOOL_SIGNALS:]
    return float(block[TOOL_SIGNALS.index(name)] / block[0])


def test_a_tool_that_suits_the_question_is_told_from_one_that_does_not() -> None:
    asked = "What is the weather in Ottawa, the city?"
    for name in ("suits_in_meaning", "suits_in_words"):
        assert tool_signal(asked, [WEATHER], name) > tool_signal(asked, [PRIMES], name) + 0.1
    assert tool_signal(asked, [PRIMES, WEATHER], "number") > tool_signal(asked, [WEATHER], "number")


def test_tools_in_the_shape_of_a_request_are_those_that_benchmarks_record() -> None:
    wrapped = [{"type": "function", "function": WEATHER}]
    assert asked_text("Ottawa?", wrapped) == asked_text("Ottawa?", [WEATHER])


def test_tools_leave_the_blocks_of_the_text_as_they_are(encoder: StaticEncoder) -> None:
    text = "What is the weather in Ottawa?"
    plain, asked = encoder.encode([text, asked_text(text, [WEATHER, PRIMES])])
    np.testing.assert_allclose(asked[:-N_TOOL_SIGNALS], plain[:-N_TOOL_SIGNALS], atol=1e-7)
    assert not plain[-N_TOOL_SIGNALS:].any()
    assert asked[-N_TOOL_SIGNALS:].all()


@pytest.mark.parametrize("tool", [{}, {"name": None}, {"function": "x"}, {"name": 1, "parameters": []}])
def test_a_malformed_tool_is_read_as_far_as_it_goes(tool: dict[str, Any], encoder: StaticEncoder) -> None:
    assert np.isfinite(encoder.encode_one(asked_text("Ottawa?", [tool]))).all()


def test_meaning_is_closer_than_chance(encoder: StaticEncoder) -> None:
    texts = [
        "a physician treats a sick patient",
        "the doctor cured an illness",
        "the stock market fell sharply",
    ]
    doctor, cure, market = StaticEncoder(ngram_weight=0, form_weight=0).encode(texts)
    assert doctor @ cure > doctor @ market + 0.2


def test_characters_outside_the_vocabulary_do_not_collapse(encoder: StaticEncoder) -> None:
    # None of these words has a row: without n-grams both are the empty vector.
    texts = ["魑魅魍魉", "饕餮耄耋"]
    assert not StaticEncoder(ngram_weight=0, form_weight=0).encode(texts).any()
    ghosts, gluttons = StaticEncoder(form_weight=0).encode(texts)
    assert ghosts @ gluttons < 0.5 * (ghosts @ ghosts)


def test_a_long_text_is_read_from_both_ends(encoder: StaticEncoder) -> None:
    filler = "lorem ipsum " * 10_000
    question = "Which enzyme unwinds DNA?"
    plain, first, last, buried = encoder.encode(
        [filler, question + filler, filler + question, filler + question + filler]
    )
    assert np.abs(first - plain).max() > 0
    assert np.abs(last - plain).max() > 0
    np.testing.assert_array_equal(buried, plain)


def test_a_text_of_many_rows_has_the_mean_of_its_parts() -> None:
    encoder = StaticEncoder(ngram_weight=0, form_weight=0, max_chars=10_000_000)
    once, often = encoder.encode(["A herd of cows. ", "A herd of cows. " * 20_000])
    np.testing.assert_allclose(once, often, atol=1e-4)


def test_threads_share_one_encoder_and_get_the_same_vectors(encoder: StaticEncoder) -> None:
    texts = [f"Question {i}: what is zyxomorphism number {i * i}?" for i in range(400)]
    expected = StaticEncoder().encode(texts)
    with ThreadPoolExecutor(8) as pool:
        found = np.stack(list(pool.map(encoder.encode_one, texts)))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_router_that_was_trained_on_another_table_is_refused(encoder: StaticEncoder) -> None:
    options, arrays = encoder.state()
    with pytest.raises(ArtefactError, match="another-table"):
        StaticEncoder.from_state({**options, "table": "another-table"}, arrays)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("static", {"ngram_weight": -1}),
        ("static", {"ngram_weight": float("nan")}),
        ("static", {"form_weight": -0.5}),
        ("static", {"tool_weight": -0.5}),
        ("static", {"max_chars": 0}),
        ("tfidf", {"n_features": 0}),
        ("onnx", {"threads": 0}),
        ("sentence", {"batch_size": 0, "model": "any"}),
        ("remote", {"batch_size": 0, "model": "any", "base_url": "http://localhost"}),
    ],
)
def test_senseless_options_are_refused_by_name(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        ENCODERS.create(name, **options)


def test_the_shipped_files_are_those_that_source_md_names() -> None:
    source = (DATA / "SOURCE.md").read_text(encoding="utf-8")
    for name in ("table.safetensors", "vocabulary.txt"):
        assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() in source


def test_what_ships_weighs_less_than_twenty_megabytes() -> None:
    assert sum(len((DATA / name).read_bytes()) for name in ("table.safetensors", "vocabulary.txt")) < 20e6


def test_encoding_loads_neither_a_tokeniser_nor_scikit_learn() -> None:
    code = (
        "import json, sys\nfrom herdwise.encoding.base import ENCODERS\n"
        "ENCODERS.create('static').encode(['What is a herd?', '中文'])\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(run.stdout)}
    assert not loaded & {"tokenizers", "sklearn", "scipy", "torch", "onnxruntime", "pyarrow", "aiohttp"}


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_file(), reason="../shared/outcomes/routerdc7 is not here")
def test_chinese_questions_lie_further_apart_with_ngrams() -> None:
    import pyarrow.parquet as pq

    rows = pq.read_table(SHARED, columns=["text", "benchmark", "split"]).to_pylist()
    texts = [row["text"] for row in rows if row["benchmark"] == "cmmlu" and row["split"] == "train"][:500]

    def mean_cosine(weight: float) -> float:
        vectors = StaticEncoder(ngram_weight=weight).encode(texts)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return float((vectors @ vectors.T)[np.triu_indices(len(texts), 1)].mean())

    assert mean_cosine(1.0) < mean_cosine(0.0) - 0.15


def test_offers_of_tools_are_remembered_by_what_is_read_of_them_not_whole() -> None:
    encoder = StaticEncoder()
    long = [
        asked_text("Weather?", [{"name": f"weather_{i}", "description": f"{i} " + "rain " * 200_000}])
        for i in range(2)
    ]
    first = encoder.encode_one(long[0])
    tracemalloc.start()
    try:
        for i in range(20):
            encoder.encode_one(
                asked_text("Weather?", [{"name": f"tool_{i}", "description": f"{i} " + "rain " * 200_000}])
            )
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1_000_000  # each offer has a million characters
    assert np.array_equal(encoder.encode_one(long[0]), first)
    assert not np.array_equal(encoder.encode_one(long[1]), first)

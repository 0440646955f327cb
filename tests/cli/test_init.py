"""`herdwise init` writes a config once, and lists what really runs on this machine."""

from __future__ import annotations

from herdwise.config.load import load

OLLAMA = {
    "/api/tags": {"models": [{"name": "llama3.1:8b", "details": {"parameter_size": "8.0B"}}]},
    "/api/show": {"capabilities": ["completion", "tools"], "model_info": {"llama.context_length": 131072}},
}


def test_init_writes_a_config_that_loads_and_says_what_comes_next(herdwise, tmp_path):
    out = tmp_path / "herdwise.yaml"
    run = herdwise("init", "--out", out)
    assert run.code == 0
    assert f"herdwise doctor --config {out}" in run.out
    assert [c.name for c in load(out, {}).candidates] == ["llama3.1:8b"]


def test_init_overwrites_only_with_force(herdwise, tmp_path):
    out = tmp_path / "herdwise.yaml"
    out.write_text("mine")
    run = herdwise("init", "--out", out)
    assert run.code == 2
    assert "exists already" in run.err
    assert "--force" in run.err
    assert out.read_text() == "mine"
    assert herdwise("init", "--out", out, "--force").code == 0
    assert out.read_text() != "mine"


def test_discover_lists_the_models_of_the_servers_it_finds(herdwise, tmp_path, threaded_upstream):
    ollama = threaded_upstream(models=("llama3.1:8b",), extra=OLLAMA)
    vllm = threaded_upstream(models=("qwen2.5-0.5b-instruct",), owned_by="vllm")
    out = tmp_path / "herdwise.yaml"
    run = herdwise("init", "--out", out, "--discover", "--port", ollama.port, "--port", vllm.port, "--json")
    assert run.code == 0
    assert run.json["candidates"] == ["llama3.1:8b", "qwen2.5-0.5b-instruct"]
    assert [server["kind"] for server in run.json["found"]] == ["ollama", "vllm"]
    llama, qwen = load(out, {}).candidates
    assert (llama.base_url, llama.params_b, llama.tools) == (ollama.base_url, 8.0, True)
    assert (llama.context_tokens, llama.like) == (131072, "Meta-Llama-3.1-8B-Instruct")
    assert (qwen.base_url, qwen.params_b, qwen.like) == (vllm.base_url, 0.5, None)
    assert herdwise("doctor", "--config", out).code == 0


def test_discover_without_a_server_says_so_and_writes_the_example(herdwise, tmp_path, closed_port):
    out = tmp_path / "herdwise.yaml"
    run = herdwise("init", "--out", out, "--discover", "--port", closed_port)
    assert run.code == 0
    assert "No model was found" in run.err
    assert load(out, {}).candidates


def test_a_server_that_wants_a_key_is_named(herdwise, tmp_path, threaded_upstream):
    upstream = threaded_upstream(models=("small",), api_key="k")
    out = tmp_path / "herdwise.yaml"
    run = herdwise("init", "--out", out, "--discover", "--port", upstream.port)
    assert f"{upstream.base_url} wants a key" in run.err
    assert f"{upstream.base_url} wants a key" in out.read_text()


def test_a_port_without_discover_or_a_place_that_cannot_be_written_is_refused(herdwise, tmp_path):
    assert herdwise("init", "--out", tmp_path / "a.yaml", "--port", 1).code == 2
    run = herdwise("init", "--out", tmp_path / "no" / "such" / "folder.yaml")
    assert run.code == 2
    assert "cannot be written" in run.err

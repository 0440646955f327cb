"""The commented config that ``herdwise init`` writes: an example, or what was found on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from herdwise.config.model_names import alike, sizes

if TYPE_CHECKING:
    from herdwise.backends.discover import Found, FoundModel

#: Their models answer no chat.
_NO_CHAT = ("embed", "rerank", "bge-", "minilm", "whisper")

# Comments that begin with "# " are prose; take the "#" off any other line, and it is a setting.
_HEAD = """\
# A herd for herdwise. `herdwise doctor` checks this file, `herdwise serve` serves it.
# Secrets stay in the environment: ${NAME} is filled in when the file is read, ${NAME:-text} has a default.
# A line that begins with # and no blank is a setting: take the # off to use it.
# All keys are explained in docs/configuration.md.

candidates:
"""

_EXAMPLE = """\
  # A local server (Ollama's default port). `herdwise init --discover` writes what runs on this machine.
  - name: "llama3.1:8b"
    base_url: "http://127.0.0.1:11434/v1"
    params_b: 8
    active_params_b: 8
    open_weights: true
    price: {input_usd_per_mtok: 0, output_usd_per_mtok: 0}  # on this machine: no USD per token
    context_tokens: 8192
    # Until a router is trained, it ranks as this known candidate does; all of them are listed by
    # `herdwise candidates --outcomes mmlu_pro`.
    like: "Meta-Llama-3.1-8B-Instruct"
"""

_HOSTED = """
  # Everything that may be said of a candidate. Leave out what you don't know: unknown is not zero, and a
  # candidate of unknown size, price, ... meets no limit on it.
  #- name: hosted
  #  backend: openai_compatible      # or anthropic, ollama, any_llm, a plugin; more under `options:`
  #  base_url: https://api.example.com/v1
  #  model: their-name-for-it        # the name above, unless given
  #  api_key: ${EXAMPLE_API_KEY}
  #  headers: {x-team: routing}
  #  timeouts: {connect_s: 5, first_token_s: 60, idle_s: 60, total_s: 600}
  #  max_concurrency: 16             # asks at the same time; no limit unless given
  #  max_queue: 100                  # how many more may wait; no limit unless given
  #  options: {include_usage: true}
  #  params_b: 70                    # billions, all of them
  #  active_params_b: 13             # billions used per token
  #  open_weights: false
  #  price: {input_usd_per_mtok: 0.5, output_usd_per_mtok: 1.5}
  #  context_tokens: 128000
  #  modalities: [text, image]
  #  tools: true
  #  json_schema: true               # whether its answers can be made to keep a schema
  #  licence: Apache-2.0
  #  released: 2024-07-23
  #  tags: [on-premises]
  #  quality: 0.7                    # expected, in [0, 1]; used until a router is trained. Or:
  #  like: Meta-Llama-3.1-70B-Instruct
  #  latency_s: 2.5                  # typical seconds per answer
"""

_REST = """
# A router trained by `herdwise train`; without one, candidates rank by `quality` or `like`.
#router: router

# What the router's encoder needs on this machine; nothing for the default one.
encoder:
  #api_key: ${EMBEDDINGS_API_KEY}   # encoder remote
  #timeout_s: 30
  #cache_dir: cache                 # encoder onnx: where the built graph is kept
  #weights: weights
  #threads: 1
  #device: cpu                      # encoder sentence

# How candidates are asked.
policy:
  #name: single
  #options: {}

# What a request wants unless it says otherwise.
goals:
  #cost_weight: 0                   # utility = quality - cost_weight * cost
  #cost_kind: usd                   # or active_params, latency, calls
  #min_quality: 0.5                 # where no expert is predicted that good,
  #generalist: GENERALIST
                                    # this candidate answers
  #min_quality_probability: 0.9     # how probable that must be of an expert
  #limit_probability: 0.8           # with which limits on cost, latency and length hold
  #leave_margin: 0.02               # what a cheaper candidate must be worth more than the best single
  #switch_margin: 0.05              # gain at which a conversation moves to another candidate
  #max_calls: 4
  #max_seconds: 120
  #max_total_usd: 0.10
  constraints:                      # an unknown value does not meet a limit
    #max_cost_usd: 0.01             # predicted, per query
    #max_params_b: 80
    #max_active_params_b: 40
    #max_latency_s: 10
    #max_output_tokens: 2000
    #open_weights_only: true
    #licences: [Apache-2.0, MIT]
    #released_after: 2024-01-01
    #tags: [on-premises]
    #candidates: [GENERALIST]
  preferences:                      # a weight each, 0 = indifferent
    #quality: 1
    #cost: 0
    #size: 0.2
    #latency: 0
    #recency: 0
    #brevity: 0

server:
  #host: 127.0.0.1                  # any other address needs a key
  #port: 8484
  #workers: 1                       # processes that share the port
  #api_keys: ["${HERDWISE_API_KEY}"]
  #admin_key: "${HERDWISE_ADMIN_KEY}"   # opens /admin/v1: virtual keys with budgets and limits
  #flags_in_prompt: false           # "[Flag: smallest model]" in a prompt states a goal
  #explain_by_default: false
  #max_body_mb: 32
  #request_timeout_s: 600
  #max_attempts: 16
  #max_open_requests: 4000          # more wait: up to max_waiting, each for max_wait_s; then 503
  #max_waiting: 1000
  #max_wait_s: 10
  #client_timeout_s: 60             # to send a request, or to take some of its answer
  #max_connections: 10000           # of clients, at a time; further ones get 503
  #allowed_origins: []              # of web pages from elsewhere that may use it, such as https://chat.example.com
  #hold_tool_calls: false           # stream a tool call only when it is whole
  #keep_alive_s: 5
  #drain_s: 10
  #run_code_tests: false
  #breaker: {failures: 3, open_s: 5, max_open_s: 120, probe_s: 30, all_open: ranked}   # who is left alone
  #retry: {retries: 1, before_fallback: broken, rounds: 2, base_s: 0.25, max_wait_s: 10}   # who again
  #console: true                    # a page at / to ask on and see why
  #console_examples: []             # queries that it offers
  #log_format: text                 # or json
  #log_level: INFO

ledger:
  #enabled: true
  #url: sqlite:///herdwise.db       # any SQLAlchemy URL; a relative file lies beside this one
  #store_texts: true                # prompts and answers; needed to learn from what was served
  #keep_texts_days: 30              # erased afterwards; kept for good unless given
  #keep_days: 365                   # decisions are deleted afterwards; kept for good unless given

# Answers that are given again: docs/cache.md says what that risks.
cache:
  #kind: exact                      # to the same request; or semantic: to one alike
  #store: memory                    # or redis
  #url: redis://127.0.0.1:6379/1    # that of state: unless given
  #ttl_s: 3600
  #max_entries: 100000
  #max_mb: 64
  #shared: false                    # whether one client may be given another's answers
  #only_deterministic: false        # only requests with temperature 0 or a seed
  #similarity: 0.95                 # kind semantic

# Traces for an OpenTelemetry collector (OTLP over HTTP).
telemetry:
  #endpoint: http://127.0.0.1:4318
  #headers: {x-team: routing}
  #sample_ratio: 1
  #service_name: herdwise
  #record_texts: false              # prompts and answers in the spans

#state:
  #url: redis://127.0.0.1:6379/0    # Redis or Valkey, where several gateways share one ledger
  #breakers: true                   # whether who fails for one of them is left alone by all
"""


def render(found: Sequence[Found], known: Iterable[str]) -> str:
    """The whole file: a candidate per model found, or an example.

    Args:
        found: servers on this machine; empty = the example.
        known: candidates that ``like:`` may name.
    """
    entries, names = _entries(found, list(known))
    rest = _REST.replace("GENERALIST", _quoted(names[0] if names else "llama3.1:8b"))
    return _HEAD + ("\n".join(entries) if names else "".join(entries) + _EXAMPLE) + _HOSTED + rest


def chat_models(found: Iterable[Found]) -> list[str]:
    """The models found that become candidates."""
    return [model.name for server in found for model in server.models if _chats(model)]


def _entries(found: Sequence[Found], known: list[str]) -> tuple[list[str], list[str]]:
    entries: list[str] = []
    names: list[str] = []
    for server in found:
        if server.needs_key:
            entries.append(f"  # The server at {server.base_url} wants a key before it lists its models.\n")
        for model in server.models:
            if not _chats(model):
                why = "no chat model" if model.name.isprintable() else "its name cannot be written"
                entries.append(f"  # {model.name!a} at {server.base_url} is left out: {why}.\n")
                continue
            name = _unique(_candidate_name(model.name), server, names)
            names.append(name)
            entries.append(_entry(name, model, server, known))
    return entries, names


def _entry(name: str, model: FoundModel, server: Found, known: list[str]) -> str:
    built = f", {model.quantisation}" if model.quantisation else ""
    lines = [
        f"  - name: {_quoted(name)}  # {server.kind}{built}",
        f"    base_url: {_quoted(server.base_url)}",
    ]
    if model.name != name:
        lines.append(f"    model: {_quoted(model.name)}")
    lines += _size_lines(model)
    if server.kind == "openai_compatible" or model.name.endswith("cloud"):
        lines.append("    # It may forward to somebody who charges: only you know its price.")
        lines.append("    #price: {input_usd_per_mtok: 0, output_usd_per_mtok: 0}")
    else:
        free = "{input_usd_per_mtok: 0, output_usd_per_mtok: 0}"
        lines.append(f"    price: {free}  # on this machine: no USD per token")
    if model.context_tokens is not None:
        lines.append(
            f"    context_tokens: {model.context_tokens}  # the server may have been started with less"
        )
    else:
        lines.append("    #context_tokens: 8192  # what the server was started with")
    if model.modalities is not None:
        lines.append(f"    modalities: [{', '.join(sorted(model.modalities))}]")
    if model.tools is not None:
        lines.append(f"    tools: {'true' if model.tools else 'false'}")
    if server.kind != "openai_compatible":  # the four constrain decoding to a schema
        lines.append("    json_schema: true")
    twin = alike(model.name, known)
    if twin is not None:
        lines.append(f"    like: {_quoted(twin)}  # guessed from the name: check it")
    else:
        lines.append("    #quality: 0.5  # what you expect of it, in [0, 1], until a router is trained")
    return "\n".join(lines) + "\n"


def _size_lines(model: FoundModel) -> list[str]:
    total, active = sizes(model.name)
    lines = []
    if model.params_b is not None:
        total = model.params_b
        lines.append(f"    params_b: {total:g}  # as the server says")
    elif total is not None:
        lines.append(f"    params_b: {total:g}  # from the name")
    if active is not None:
        lines.append(f"    active_params_b: {active:g}  # from the name")
    elif total is not None:
        lines.append(f"    #active_params_b: {total:g}  # if it is no mixture of experts")
    return lines


def _chats(model: FoundModel) -> bool:
    return model.name.isprintable() and not any(word in model.name.lower() for word in _NO_CHAT)


def _candidate_name(model: str) -> str:
    """A name that clients can ask for and headers can carry; a path counts by its last part."""
    name = model.rsplit("/", 1)[-1] if model.startswith(("/", ".")) or "\\" in model else model
    name = "".join(c if c.isascii() and c.isprintable() and c not in ", " else "-" for c in name)
    return f"{name}-model" if not name or name == "auto" or name.startswith("auto/") else name


def _unique(name: str, server: Found, taken: list[str]) -> str:
    if name in taken:
        name = f"{name}@{server.kind}"
    if name in taken:
        name = f"{name}:{urlsplit(server.base_url).port}"
    while name in taken:
        name += "+"
    return name


def _quoted(text: str) -> str:
    # JSON's strings are YAML's too; a "${" of the model's own must not be looked up.
    return json.dumps(text, ensure_ascii=False).replace("${", "$${")

"""The whole config on one page. Frozen; unknown keys are refused; ``None`` always means unknown or unset.

``herdwise.config.load`` reads it from YAML, docs/configuration.md explains every key, and
``herdwise init`` writes a commented example.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from herdwise.core.decision import LEAST_PROBABILITY, MOST_PROBABILITY, CostKind

Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Probability = Annotated[float, Meta(ge=LEAST_PROBABILITY, le=MOST_PROBABILITY)]
Count = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=0, le=65535)]


class Secret:
    """A text that shows in no repr, error or dump; ``reveal()`` gives it to whoever must send it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "***" if self._text else "''"


class Node(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all parts of the tree."""


class Timeouts(Node, frozen=True):
    """Seconds until a candidate is given up: to connect, to its first token, between tokens, in all."""

    connect_s: Positive = 5.0
    first_token_s: Positive = 60.0
    idle_s: Positive = 60.0
    total_s: Positive = 600.0


class PriceNode(Node, frozen=True):
    """USD per million tokens. 0 says free; leaving a key out says unknown."""

    input_usd_per_mtok: NotNegative | None = None
    output_usd_per_mtok: NotNegative | None = None


class CandidateNode(Node, frozen=True):
    """One model that may be asked: where it is, and what is known about it."""

    # Where it is.
    name: str
    backend: str = "openai_compatible"
    base_url: str | None = None
    model: str | None = None
    api_key: Secret | None = None
    headers: dict[str, Secret] = {}
    timeouts: Timeouts = Timeouts()
    max_concurrency: Count | None = None
    max_queue: Annotated[int, Meta(ge=0)] | None = None
    options: dict[str, Any] = {}
    # What is known about it.
    params_b: Positive | None = None
    active_params_b: Positive | None = None
    open_weights: bool | None = None
    price: PriceNode = PriceNode()
    context_tokens: Count | None = None
    modalities: list[str] | None = None
    tools: bool | None = None
    json_schema: bool | None = None
    licence: str | None = None
    released: dt.date | None = None
    tags: list[str] = []
    # Until a router is trained.
    quality: Fraction | None = None
    like: str | None = None
    latency_s: NotNegative | None = None

    def __repr__(self) -> str:
        # A plugin's options may hold a key under any name, so none of their values is shown.
        fields = ", ".join(f"{f}={getattr(self, f)!r}" for f in self.__struct_fields__ if f != "options")
        return f"CandidateNode({fields}, options={sorted(self.options)})"


class EncoderNode(Node, frozen=True):
    """What the router's encoder needs on this machine; a saved router holds none of it."""

    api_key: Secret | None = None
    timeout_s: Positive | None = None
    cache_dir: Path | None = None
    weights: Path | None = None
    threads: Count | None = None
    device: str | None = None


class PolicyNode(Node, frozen=True):
    """How candidates are asked; ``options`` go to the policy's constructor."""

    name: str = "single"
    options: dict[str, Any] = {}


class ConstraintsNode(Node, frozen=True):
    """Hard limits (``herdwise.core.decision.Constraints``); an unknown value does not meet a limit."""

    max_cost_usd: NotNegative | None = None
    max_params_b: Positive | None = None
    max_active_params_b: Positive | None = None
    max_latency_s: Positive | None = None
    max_output_tokens: Positive | None = None
    open_weights_only: bool = False
    licences: list[str] = []
    released_after: dt.date | None = None
    tags: list[str] = []
    candidates: list[str] | None = None


class PreferencesNode(Node, frozen=True):
    """Soft goals (``herdwise.core.decision.Preferences``), a weight each."""

    quality: NotNegative = 1.0
    cost: NotNegative = 0.0
    size: NotNegative = 0.0
    latency: NotNegative = 0.0
    recency: NotNegative = 0.0
    brevity: NotNegative = 0.0


class GoalsNode(Node, frozen=True):
    """What a request wants unless it says otherwise (``herdwise.core.decision.Goals``)."""

    cost_weight: NotNegative = 0.0
    cost_kind: CostKind = "usd"
    min_quality: Fraction | None = None
    min_quality_probability: Probability | None = None
    generalist: str | None = None
    limit_probability: Probability | None = 0.8
    leave_margin: NotNegative = 0.02
    switch_margin: NotNegative = 0.05
    max_calls: Count | None = None
    max_seconds: Positive | None = None
    max_total_usd: NotNegative | None = None
    constraints: ConstraintsNode = ConstraintsNode()
    preferences: PreferencesNode = PreferencesNode()


class BreakerNode(Node, frozen=True):
    """When a candidate that fails is left alone, and how often idle ones are probed (0 = never)."""

    failures: Count = 3
    open_s: Positive = 5.0
    max_open_s: Positive = 120.0
    probe_s: NotNegative = 30.0
    all_open: Literal["ranked", "soonest"] = "ranked"


class RetryNode(Node, frozen=True):
    """Whether, when and how soon a candidate that failed is asked again in the same request."""

    retries: Annotated[int, Meta(ge=0)] = 1
    before_fallback: Literal["never", "broken", "always"] = "broken"
    rounds: Annotated[int, Meta(ge=0)] = 2
    base_s: NotNegative = 0.25
    max_wait_s: NotNegative = 10.0


class ServerNode(Node, frozen=True):
    """The endpoint. An address beyond loopback needs at least one key."""

    host: str = "127.0.0.1"
    port: Port = 8484
    workers: Count = 1
    api_keys: list[Secret] = []
    admin_key: Secret | None = None
    flags_in_prompt: bool = False
    explain_by_default: bool = False
    max_body_mb: Positive = 32.0
    request_timeout_s: Positive = 600.0
    max_attempts: Count = 16
    max_open_requests: Count = 4000
    max_waiting: Annotated[int, Meta(ge=0)] = 1000
    max_wait_s: Positive = 10.0
    client_timeout_s: Positive = 60.0
    max_connections: Count = 10_000
    allowed_origins: list[str] = []
    hold_tool_calls: bool = False
    keep_alive_s: Positive = 5.0
    drain_s: NotNegative = 10.0
    run_code_tests: bool = False
    breaker: BreakerNode = BreakerNode()
    retry: RetryNode = RetryNode()
    console: bool = True
    console_examples: list[str] = []
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class StateNode(Node, frozen=True):
    """What several gateways of one ledger share in Redis or Valkey.

    Limits and budgets of virtual keys, conversations, and (``breakers``) who is left alone.
    """

    url: Secret | None = None
    breakers: bool = True


class LedgerNode(Node, frozen=True):
    """Where decisions, completions and feedback are written (any SQLAlchemy URL)."""

    enabled: bool = True
    # A database URL may carry a password.
    url: Secret = Secret("sqlite:///herdwise.db")
    store_texts: bool = True
    keep_texts_days: Positive | None = None
    keep_days: Positive | None = None


class CacheNode(Node, frozen=True):
    """Answers that are given again (docs/cache.md); off unless a kind is chosen."""

    kind: Literal["none", "exact", "semantic"] = "none"
    store: Literal["memory", "redis"] = "memory"
    url: Secret | None = None
    ttl_s: Positive = 3600.0
    max_entries: Count = 100_000
    max_mb: Positive = 64.0
    shared: bool = False
    only_deterministic: bool = False
    similarity: Annotated[float, Meta(gt=0, le=1)] = 0.95


class TelemetryNode(Node, frozen=True):
    """Traces for an OpenTelemetry collector, by OTLP over HTTP; off without an endpoint."""

    endpoint: str | None = None
    headers: dict[str, Secret] = {}
    sample_ratio: Fraction = 1.0
    service_name: str = "herdwise"
    record_texts: bool = False


class Config(Node, frozen=True):
    """The root. Paths are absolute once loaded."""

    candidates: Annotated[list[CandidateNode], Meta(min_length=1)]
    router: Path | None = None
    encoder: EncoderNode = EncoderNode()
    policy: PolicyNode = PolicyNode()
    goals: GoalsNode = GoalsNode()
    server: ServerNode = ServerNode()
    ledger: LedgerNode = LedgerNode()
    state: StateNode = StateNode()
    cache: CacheNode = CacheNode()
    telemetry: TelemetryNode = TelemetryNode()

"""What the endpoint is made of: config wires a Service, ``create_app`` serves it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from herdwise.backends.base import Backend
from herdwise.core.decision import Goals
from herdwise.core.errors import ConfigError
from herdwise.routing.base import Policy
from herdwise.routing.ranker import Ranker
from herdwise.serving.cache_store import CacheSettings
from herdwise.serving.health import BreakerSettings
from herdwise.serving.retrying import RetrySettings
from herdwise.serving.telemetry_settings import TelemetrySettings

if TYPE_CHECKING:
    from herdwise.serving.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Settings:
    """How the endpoint behaves.

    Args:
        host, port: where it listens; port 0 lets the system choose.
        api_keys: keys that a client may show; empty = no key is asked for (loopback only).
        admin_key: opens the admin API, by which virtual keys are made; with one, every client needs a key.
        workers: processes that serve the endpoint together.
        state_url: Redis or Valkey that all gateways of one ledger share; None = this one is alone.
        share_breakers: whether a candidate that fails for one of those gateways is left alone by all.
        flags_in_prompt: whether ``[Flag: smallest model]`` in a user message states a goal.
        explain_by_default: whether answers carry the ``herdwise`` object unasked.
        max_body_bytes: longest request body.
        store_texts: whether prompts and answers go to the ledger (needed to export and learn from it).
        keep_texts_days: after which prompts and answers are erased from the ledger; None = never.
        keep_days: after which decisions are deleted from it; None = never.
        request_timeout_s: for the whole request, all asks together.
        max_attempts: most asks that one request may start.
        max_open_requests: worked on at a time; more wait.
        max_waiting, max_wait_s: how many may wait, and for how long; then they are refused.
        client_timeout_s: how long a client may take to send its request, or take nothing of its
            answer.
        max_connections: of clients, open at a time.
        allowed_origins: of web pages from elsewhere that may use the endpoint.
        hold_tool_calls: whether a streamed tool call is delivered only when it is whole.
        keep_alive_s: while a stream waits for a consultation, seconds between comments to the client.
        drain_s: on shutdown, how long open requests may go on.
        run_code_tests: whether programs that candidates write run in the sandbox, under the tests that the
            question gives, before a policy that consults goes by them.
        breaker: when a candidate that fails is left alone.
        retry: when one that failed is asked again in the same request.
        cache: which answers are given again.
        cache_url: Redis or Valkey that holds them; None = this process's memory does.
        telemetry: where traces go; None = nowhere.
        console: whether ``/`` is a page that asks and shows why.
        console_examples: queries that the page offers.
        log_format: one line of text, or one JSON object, per event.
        log_level: name of a stdlib logging level.
    """

    host: str = "127.0.0.1"
    port: int = 8484
    api_keys: tuple[str, ...] = ()
    admin_key: str | None = None
    workers: int = 1
    state_url: str | None = None
    share_breakers: bool = True
    flags_in_prompt: bool = False
    explain_by_default: bool = False
    max_body_bytes: int = 32 * 1024 * 1024
    store_texts: bool = True
    keep_texts_days: float | None = None
    keep_days: float | None = None
    request_timeout_s: float = 600.0
    max_attempts: int = 16
    max_open_requests: int = 4000
    max_waiting: int = 1000
    max_wait_s: float = 10.0
    client_timeout_s: float = 60.0
    max_connections: int = 10_000
    allowed_origins: tuple[str, ...] = ()
    hold_tool_calls: bool = False
    keep_alive_s: float = 5.0
    drain_s: float = 10.0
    run_code_tests: bool = False
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    retry: RetrySettings = field(default_factory=RetrySettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    cache_url: str | None = None
    telemetry: TelemetrySettings | None = None
    console: bool = True
    console_examples: tuple[str, ...] = ()
    log_format: Literal["text", "json"] = "text"
    log_level: str = "INFO"

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the config; with any of them, nobody comes in without a key."""
        return self.api_keys if self.admin_key is None else (*self.api_keys, self.admin_key)


@dataclass(slots=True)
class Service:
    """A running herd.

    Args:
        ranker: a Router, or a DeclaredRouter.
        backends: candidate name -> backend; every candidate of the ranker's herd has one.
        policies: name -> policy, for ``auto/<name>``.
        default_policy: what ``auto`` means.
        goals: defaults, which a request may override.
        ledger: where decisions, asks and feedback go; None = nowhere.
        settings: see Settings.

    Raises:
        ConfigError: when a candidate has no backend or a name that means a policy, or the default policy
            is not among the policies.
    """

    ranker: Ranker
    backends: Mapping[str, Backend]
    policies: Mapping[str, Policy]
    default_policy: str = "single"
    goals: Goals = field(default_factory=Goals)
    ledger: Ledger | None = None
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        missing = [name for name in self.ranker.herd.names if name not in self.backends]
        if missing:
            raise ConfigError(
                f"no backend reaches {', '.join(repr(n) for n in missing)}.",
                remedy="Give each candidate a backend.",
            )
        taken = [name for name in self.ranker.herd.names if name == "auto" or name.startswith("auto/")]
        if taken:
            raise ConfigError(
                f"a candidate cannot be called {taken[0]!r}: that name lets a policy decide.",
                remedy="Rename the candidate.",
            )
        if self.ledger is None and (self.settings.admin_key or self.settings.state_url):
            raise ConfigError(
                "virtual keys are kept in the ledger, and the config switches it off.",
                remedy="Set ledger.enabled: true, or leave out server.admin_key and state.url.",
            )
        if self.default_policy not in self.policies:
            raise ConfigError(
                f"the default policy {self.default_policy!r} is not among the policies.",
                remedy=f"Known: {', '.join(sorted(self.policies))}.",
            )
        default = self.policies[self.default_policy]
        if not default.configured:
            raise ConfigError(
                f"the default policy {self.default_policy!r} lacks an option that it needs.",
                remedy="Give it under policy: options: (docs/policies.md).",
            )
        default.check(self.ranker.herd)
        if self.default_policy not in self.offered():
            raise ConfigError(
                f"the default policy {self.default_policy!r} needs a router that learned from answers.",
                remedy="Train one from outcomes that have answers and name it under router:, or choose"
                " another policy, such as cascade or vote.",
            )

    def offered(self) -> list[str]:
        """Names of the policies whose needs are met, sorted."""
        names = sorted(self.policies)
        return [name for name in names if self._can(self.policies[name])]

    def _can(self, policy: Policy) -> bool:
        return policy.configured and (not policy.needs_belief or self.ranker.fusion is not None)


def check_bind(host: str, keys: Sequence[str]) -> None:
    """Whether this address may be listened on.

    Args:
        host: IP address or name.
        keys: the keys that clients must show.

    Raises:
        ConfigError: when others than this machine could reach the endpoint and no key is asked for, or
            when a key is empty.
    """
    if any(not key.strip() for key in keys):
        raise ConfigError("an API key is empty.", remedy="Set it, or remove it from the list.")
    if keys:
        return
    try:
        loopback = ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        raise ConfigError(
            f"{host!r} can be reached from outside this machine, but no API key is asked for.",
            remedy="Set server.api_keys, or listen on 127.0.0.1.",
        )

"""Config -> running parts. The only place where floors meet; each part's module is imported when built."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import msgspec

from herdwise.backends.base import BACKENDS, Backend
from herdwise.config.tree import CandidateNode, Config, Secret
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.decision import Constraints, Goals, Preferences
from herdwise.core.errors import ConfigError, UnknownNameError
from herdwise.core.money import Price
from herdwise.core.query import Query
from herdwise.routing.base import POLICIES, Policy

if TYPE_CHECKING:
    from herdwise.routing.declared import DeclaredRouter
    from herdwise.routing.router import Router
    from herdwise.serving.cache_store import CacheSettings
    from herdwise.serving.ledger import Ledger
    from herdwise.serving.service import Service, Settings
    from herdwise.serving.telemetry_settings import TelemetrySettings

#: A request without peculiarities: goals that refuse it would refuse every one.
PLAIN = Query("Hello")


def build_herd(config: Config) -> Herd:
    """The candidates as the config states them, in its order."""
    return Herd(_candidate(node) for node in config.candidates)


def build_goals(config: Config) -> Goals:
    """What a request wants unless it says otherwise."""
    stated = {f.name: getattr(config.goals, f.name) for f in fields(Goals)}
    limits = {f.name: getattr(config.goals.constraints, f.name) for f in fields(Constraints)}
    for name in ("licences", "tags", "candidates"):
        limits[name] = None if limits[name] is None else frozenset(limits[name])
    stated["constraints"] = Constraints(**limits)
    stated["preferences"] = Preferences(**msgspec.structs.asdict(config.goals.preferences))
    return Goals(**stated)


def build_backends(config: Config, kept: Mapping[str, Backend] | None = None) -> dict[str, Backend]:
    """Candidate name -> backend. Opens no connection.

    Args:
        config: whose candidates.
        kept: backends that some of them have already.

    Raises:
        ConfigError: when a candidate's backend lacks a setting, or takes none of that name.
        UnknownNameError: when nobody registered the backend.
    """
    made = kept or {}
    return {node.name: made.get(node.name) or build_backend(node) for node in config.candidates}


def build_backend(node: CandidateNode) -> Backend:
    """One candidate's backend: it gets the settings that its constructor names, and ``options``.

    Raises:
        ConfigError: when it lacks a setting, or takes none of that name.
        UnknownNameError: when nobody registered it.
    """
    try:
        takes = inspect.signature(BACKENDS.get(node.backend)).parameters
    except UnknownNameError as error:
        raise UnknownNameError(f"candidate {node.name!r}: {error.message}", remedy=error.remedy) from None
    anything = any(p.kind is p.VAR_KEYWORD for p in takes.values())
    given = {**reach(node), **node.options}
    refused = [name for name in given if name not in takes and not anything]
    if refused:
        raise ConfigError(
            f"candidate {node.name!r}: backend {node.backend!r} takes no {', '.join(refused)}.",
            remedy=f"It takes {', '.join(name for name in takes if name != 'candidate')}.",
        )
    if "candidate" in takes or anything:
        given["candidate"] = node.name
    missing = [
        name
        for name, p in takes.items()
        if p.default is p.empty and p.kind not in {p.VAR_KEYWORD, p.VAR_POSITIONAL} and name not in given
    ]
    if missing:
        raise ConfigError(
            f"candidate {node.name!r}: backend {node.backend!r} needs {', '.join(missing)}.",
            remedy="Set it for this candidate, or under its `options:`.",
        )
    return BACKENDS.create(node.backend, **given)


def build_ranker(config: Config) -> Router | DeclaredRouter:
    """The saved router for the config's herd; without one, what the config declares.

    What the config says of a candidate counts; what it leaves out is filled in from the router's
    training data, for candidates that it knows by name.

    Raises:
        ArtefactError: when the router's folder is missing, truncated or foreign.
        HerdMismatchError: when the router does not know a candidate.
        UnknownNameError: when ``like`` names a candidate that is not known.
    """
    herd = build_herd(config)
    if config.router is None:
        from herdwise.routing.declared import DeclaredRouter

        return DeclaredRouter(herd)
    from herdwise.routing.router import Router

    router = Router.load(config.router)
    local = {f: getattr(config.encoder, f) for f in config.encoder.__struct_fields__}
    router.encoder.localise(
        **{
            key: value.reveal() if isinstance(value, Secret) else value
            for key, value in local.items()
            if value is not None
        }
    )
    return router.adapt(Herd(_filled_in(c, router.trained.get(c.name)) for c in herd))


class _Policies(Mapping[str, Policy]):
    """All registered policies by name: one is imported, and made with its defaults, when it is asked for."""

    def __init__(self, own: dict[str, Policy]) -> None:
        self._made = own

    def __getitem__(self, name: str) -> Policy:
        if name not in self._made:
            if name not in POLICIES.names():
                raise KeyError(name)
            self._made[name] = POLICIES.create(name)
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._made or name in POLICIES.names()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._made, *POLICIES.names()}))

    def __len__(self) -> int:
        return len({*self._made, *POLICIES.names()})


def build_policies(config: Config) -> Mapping[str, Policy]:
    """What ``auto/<name>`` may name: every registered policy, the config's own with its options.

    Raises:
        UnknownNameError: when nobody registered it, or it takes no option of that name.
    """
    return _Policies({config.policy.name: POLICIES.create(config.policy.name, **config.policy.options)})


def open_ledger(config: Config) -> Ledger | None:
    """The ledger, or None where the config switches it off; its database is opened when serving starts."""
    if not config.ledger.enabled:
        return None
    from herdwise.serving.ledger import Ledger

    return Ledger(config.ledger.url.reveal())


def build_settings(config: Config) -> Settings:
    """How the endpoint behaves.

    Raises:
        ConfigError: when the address can be reached from outside and no key is asked for.
    """
    from herdwise.serving.health import BreakerSettings
    from herdwise.serving.origins import check_origins
    from herdwise.serving.retrying import RetrySettings
    from herdwise.serving.service import Settings, check_bind

    server = config.server
    stated = {f.name: getattr(server, f.name) for f in fields(Settings) if hasattr(server, f.name)}
    stated["console_examples"] = tuple(server.console_examples)
    stated["allowed_origins"] = tuple(server.allowed_origins)
    stated["api_keys"] = tuple(key.reveal() for key in server.api_keys)
    stated["admin_key"] = None if server.admin_key is None else server.admin_key.reveal()
    stated["breaker"] = BreakerSettings(**msgspec.structs.asdict(server.breaker))
    stated["retry"] = RetrySettings(**msgspec.structs.asdict(server.retry))
    settings = Settings(
        **stated,
        max_body_bytes=int(server.max_body_mb * 2**20),
        store_texts=config.ledger.store_texts,
        keep_texts_days=config.ledger.keep_texts_days,
        keep_days=config.ledger.keep_days,
        cache=_cache(config),
        cache_url=_cache_url(config),
        telemetry=_telemetry(config),
        state_url=None if config.state.url is None else config.state.url.reveal(),
        share_breakers=config.state.breakers,
    )
    check_bind(settings.host, settings.keys)
    check_origins(settings.allowed_origins, bool(settings.keys))
    return settings


def _cache(config: Config) -> CacheSettings:
    from herdwise.serving.cache_store import CacheSettings

    node = config.cache
    stated = {f.name: getattr(node, f.name) for f in fields(CacheSettings) if hasattr(node, f.name)}
    return CacheSettings(**stated, max_bytes=int(node.max_mb * 2**20))


def _cache_url(config: Config) -> str | None:
    """Where the cache is, when it is not in memory.

    Raises:
        ConfigError: when nobody says where Redis is.
    """
    if config.cache.store == "memory":
        return None
    url = config.cache.url or config.state.url
    if url is None:
        raise ConfigError(
            "cache.store is redis, and nobody says where it is.", remedy="Set cache.url or state.url."
        )
    return url.reveal()


def _telemetry(config: Config) -> TelemetrySettings | None:
    from herdwise.serving.telemetry_settings import TelemetrySettings

    node = config.telemetry
    if node.endpoint is None:
        return None
    headers = {name: value.reveal() for name, value in node.headers.items()}
    return TelemetrySettings(
        endpoint=node.endpoint,
        headers=headers,
        sample_ratio=node.sample_ratio,
        service_name=node.service_name,
        record_texts=node.record_texts,
    )


def build_service(config: Config, kept: Mapping[str, Backend] | None = None) -> Service:
    """All that the endpoint needs.

    Args:
        config: what to build.
        kept: backends that some of its candidates have already.

    Raises:
        InputError: as the parts above do; also when the default goals can be met by nobody, or weigh a
            cost that nobody's is known of.
    """
    from herdwise.serving.service import Service

    settings, goals, ranker = build_settings(config), build_goals(config), build_ranker(config)
    ranker.situation(PLAIN, goals)
    return Service(
        ranker=ranker,
        backends=build_backends(config, kept),
        policies=build_policies(config),
        default_policy=config.policy.name,
        goals=goals,
        ledger=open_ledger(config),
        settings=settings,
    )


def _candidate(node: CandidateNode) -> Candidate:
    stated = {f.name: getattr(node, f.name) for f in fields(Candidate)}
    stated["price"] = Price(node.price.input_usd_per_mtok, node.price.output_usd_per_mtok)
    stated["tags"] = frozenset(node.tags)
    stated["modalities"] = None if node.modalities is None else frozenset(node.modalities)
    return Candidate(**stated)


def _filled_in(candidate: Candidate, trained: Candidate | None) -> Candidate:
    if trained is None:
        return candidate
    # Half a stated price and half a recorded one would be nobody's price.
    stated = candidate.price
    unpriced = stated.input_usd_per_mtok is None and stated.output_usd_per_mtok is None
    changes: dict[str, Any] = {"price": trained.price} if unpriced else {}
    for f in fields(Candidate):
        if getattr(candidate, f.name) is None:
            changes[f.name] = getattr(trained, f.name)
    return candidate.replace(**changes)


def reach(node: CandidateNode) -> dict[str, Any]:
    """The settings that say how to reach a candidate, those left at their defaults not among them."""
    from herdwise.transport.client import Timeouts

    given: dict[str, Any] = {}
    for name in ("base_url", "model", "max_concurrency", "max_queue"):
        if getattr(node, name) is not None:
            given[name] = getattr(node, name)
    if node.api_key:
        given["api_key"] = node.api_key.reveal()
    if node.headers:
        given["headers"] = {name: value.reveal() for name, value in node.headers.items()}
    if node.timeouts != type(node.timeouts)():
        limits = node.timeouts
        given["timeouts"] = Timeouts(limits.connect_s, limits.first_token_s, limits.idle_s, limits.total_s)
    return given

"""A config becomes a herd, goals, backends, a ranker and a service."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from herdwise.backends.base import BACKENDS, Backend
from herdwise.config.load import load
from herdwise.config.tree import Config
from herdwise.config.wiring import (
    build_backends,
    build_goals,
    build_herd,
    build_policies,
    build_ranker,
    build_service,
    build_settings,
    open_ledger,
)
from herdwise.core.candidate import Candidate
from herdwise.core.decision import Constraints, Goals, Preferences
from herdwise.core.errors import (
    ArtefactError,
    ConfigError,
    HerdMismatchError,
    NoCandidateError,
    UnknownCostError,
    UnknownNameError,
)
from herdwise.core.money import Price
from herdwise.core.query import Query
from herdwise.routing.base import POLICIES
from herdwise.routing.declared import PRIOR_QUALITY, known_quality
from herdwise.serving.cache_store import CacheSettings
from herdwise.serving.telemetry_settings import TelemetrySettings

SPELL = Query("spell the word apple after stone")


@pytest.fixture
def config(tmp_path: Path):
    def _config(*candidates: str, more: str = "") -> Config:
        address = "base_url: 'http://127.0.0.1:9/v1'"
        listed = "".join(
            f"  - {{{c}}}\n" if "base_url" in c else f"  - {{{c}, {address}}}\n" for c in candidates
        )
        (tmp_path / "herdwise.yaml").write_text(f"candidates:\n{listed}{more}", encoding="utf-8")
        return load(tmp_path / "herdwise.yaml", {"KEY": "sk-hunter2hunter2"})

    return _config


def test_a_herd_holds_what_the_config_says_of_its_candidates(config):
    herd = build_herd(
        config(
            "name: a, params_b: 8, active_params_b: 2, open_weights: true, context_tokens: 4096,"
            " tools: false, modalities: [text, image], licence: MIT, released: 2024-05-06,"
            " tags: [x], quality: 0.4, latency_s: 2, price: {input_usd_per_mtok: 1, output_usd_per_mtok: 3}",
            "name: b, like: gemma-7b",
        )
    )
    assert list(herd) == [
        Candidate(
            "a",
            params_b=8,
            active_params_b=2,
            open_weights=True,
            price=Price(1, 3),
            context_tokens=4096,
            modalities=frozenset({"text", "image"}),
            tools=False,
            licence="MIT",
            released=dt.date(2024, 5, 6),
            tags=frozenset({"x"}),
            quality=0.4,
            latency_s=2,
        ),
        Candidate("b", like="gemma-7b"),
    ]


def test_goals_reach_routing_as_they_stand(config):
    goals = build_goals(
        config(
            "name: a",
            more="goals: {cost_weight: 2, cost_kind: calls, min_quality: 0.5, generalist: a, max_calls: 3,"
            " constraints: {max_params_b: 9, licences: [MIT], tags: [x], candidates: [a]},"
            " preferences: {size: 0.5}}\n",
        )
    )
    assert goals == Goals(
        cost_weight=2,
        cost_kind="calls",
        min_quality=0.5,
        generalist="a",
        max_calls=3,
        constraints=Constraints(
            max_params_b=9, licences=frozenset({"MIT"}), tags=frozenset({"x"}), candidates=frozenset({"a"})
        ),
        preferences=Preferences(size=0.5),
    )


def test_a_config_without_goals_has_the_defaults_of_goals(config):
    assert build_goals(config("name: a")) == Goals()


def test_a_backend_reaches_its_upstream_with_key_headers_and_its_own_name_for_the_model(
    config, threaded_upstream
):
    upstream = threaded_upstream(models=("theirs",), api_key="sk-hunter2hunter2")
    read = config(
        f"name: ours, model: theirs, base_url: '{upstream.base_url}', api_key: '${{KEY}}',"
        " headers: {x-team: blue}, max_concurrency: 1, options: {include_usage: false}"
    )

    async def ask() -> str:
        (backend,) = build_backends(read).values()
        try:
            done = await backend.complete({"messages": [{"role": "user", "content": "hi"}]})
            return done.text
        finally:
            await backend.close()

    assert asyncio.run(ask()) == "echo: hi"
    (request,) = upstream.requests
    assert request.headers["x-team"] == "blue"
    assert request.body["model"] == "theirs"


class Pigeon(Backend):
    """A plugin with a setting of its own that must be given, and no address."""

    name = "pigeon"

    def __init__(self, candidate: str, *, colour: str, api_key: str | None = None) -> None:
        self.candidate, self.colour, self.api_key = candidate, colour, api_key

    async def complete(self, body: Any) -> Any:
        raise NotImplementedError

    def stream(self, body: Any) -> Any:
        raise NotImplementedError

    async def probe(self) -> Any:
        raise NotImplementedError


@pytest.fixture
def pigeon(monkeypatch):
    monkeypatch.setitem(BACKENDS._loaded, "pigeon", Pigeon)


@pytest.fixture
def one(tmp_path):
    def _one(candidate: str) -> Config:
        (tmp_path / "one.yaml").write_text(f"candidates:\n  - {{name: a, {candidate}}}\n")
        return load(tmp_path / "one.yaml", {})

    return _one


def test_a_plugin_gets_its_options_and_the_settings_that_it_names(one, pigeon):
    (backend,) = build_backends(one("backend: pigeon, api_key: k, options: {colour: grey}")).values()
    assert (backend.candidate, backend.colour, backend.api_key) == ("a", "grey", "k")


def test_a_setting_that_a_backend_does_not_take_is_refused_by_name(one, pigeon):
    with pytest.raises(ConfigError, match=r"'a': backend 'pigeon' takes no max_queue, size") as caught:
        build_backends(one("backend: pigeon, max_queue: 3, options: {colour: grey, size: 3}"))
    assert "colour, api_key" in caught.value.remedy


def test_a_setting_that_a_backend_needs_is_missed_by_name(one, pigeon):
    with pytest.raises(ConfigError, match="'pigeon' needs colour"):
        build_backends(one("backend: pigeon"))


def test_a_backend_that_nobody_registered_is_refused_with_the_known_ones(one):
    with pytest.raises(UnknownNameError, match="openai_compatible"):
        build_backends(one("backend: nope"))


def test_without_a_router_declared_quality_or_like_or_the_prior_ranks(config):
    ranker = build_ranker(config("name: a, quality: 0.9", "name: b, like: gemma-7b", "name: c"))
    estimates = ranker.estimate_one(SPELL)
    assert estimates.origin == "declared"
    np.testing.assert_allclose(estimates.quality, [0.9, known_quality()["gemma-7b"], PRIOR_QUALITY])


def test_like_somebody_who_is_not_known_is_refused(config):
    with pytest.raises(UnknownNameError, match="'nobody' is not a known candidate"):
        build_ranker(config("name: a, like: nobody"))


def test_a_router_ranks_the_candidates_of_the_config_in_the_order_of_the_config(config, saved_router):
    ranker = build_ranker(config("name: gamma", "name: alpha", more=f"router: {saved_router}\n"))
    assert ranker.herd.names == ["gamma", "alpha"]
    estimates = ranker.estimate_one(SPELL)
    assert estimates.origin == "router"
    assert estimates.quality[1] > estimates.quality[0]


def test_what_the_config_says_of_a_candidate_goes_before_what_the_router_recorded(config, saved_router):
    herd = build_ranker(
        config(
            "name: alpha, price: {input_usd_per_mtok: 5, output_usd_per_mtok: 6}, open_weights: false",
            "name: beta, params_b: 71",
            more=f"router: {saved_router}\n",
        )
    ).herd
    assert herd["alpha"].price == Price(5, 6)
    assert herd["alpha"].open_weights is False
    assert herd["alpha"].params_b == 7.0
    assert (herd["beta"].params_b, herd["beta"].active_params_b) == (71, 70)


def test_a_price_is_taken_whole_from_the_config_or_whole_from_the_router(config, saved_router):
    router = f"router: {saved_router}\n"
    half = build_ranker(config("name: alpha, price: {input_usd_per_mtok: 5}", more=router)).herd
    none = build_ranker(config("name: alpha", more=router)).herd
    assert half["alpha"].price == Price(5, None)
    assert none["alpha"].price == Price(1.0, 2.0)


def test_a_candidate_that_the_router_does_not_know_borrows_from_whom_it_is_like(config, saved_router):
    ranker = build_ranker(config("name: mine, like: alpha, params_b: 3", more=f"router: {saved_router}\n"))
    assert ranker.herd["mine"].params_b == 3
    assert ranker.herd["mine"].price.known is False
    assert ranker.estimate_one(SPELL).quality[0] > 0.7


def test_a_router_for_another_herd_is_refused_naming_every_stranger_and_the_way_out(config, saved_router):
    with pytest.raises(HerdMismatchError, match="candidates 'x', 'y'; it was trained for alpha,") as caught:
        build_ranker(config("name: x", "name: alpha", "name: y", more=f"router: {saved_router}\n"))
    assert "like" in caught.value.remedy


def test_a_router_folder_that_is_missing_or_truncated_is_refused(config, saved_router, tmp_path):
    with pytest.raises(ArtefactError, match="nowhere"):
        build_ranker(config("name: alpha", more="router: nowhere\n"))
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in saved_router.iterdir():
        content = file.read_bytes()
        (broken / file.name).write_bytes(
            content[: len(content) // 2] if file.name != "manifest.json" else content
        )
    with pytest.raises(ArtefactError):
        build_ranker(config("name: alpha", more="router: broken\n"))


def test_a_service_has_everything_that_the_endpoint_needs(config, tmp_path):
    service = build_service(
        config(
            "name: a, quality: 0.9",
            more="server: {api_keys: ['${KEY}'], port: 0, max_body_mb: 1, flags_in_prompt: true}\n"
            "ledger: {store_texts: false}\n",
        )
    )
    assert set(service.backends) == {"a"}
    assert set(service.policies) == set(POLICIES.names()) > {"single", "cascade", "vote", "consult"}
    assert service.ledger.url == f"sqlite:///{tmp_path}/herdwise.db"
    settings = service.settings
    assert (settings.api_keys, settings.max_body_bytes, settings.port) == (("sk-hunter2hunter2",), 2**20, 0)
    assert (settings.store_texts, settings.flags_in_prompt) == (False, True)
    assert not list(tmp_path.glob("*.db*")), "wiring must not open the ledger"


def test_settings_default_to_what_serving_defaults_to(config):
    from herdwise.serving.service import Settings

    assert build_settings(config("name: a")) == Settings()


def test_a_ledger_can_be_switched_off(config):
    assert open_ledger(config("name: a", more="ledger: {enabled: false}\n")) is None


def test_an_address_beyond_loopback_without_a_key_is_refused(config):
    with pytest.raises(ConfigError, match="no API key"):
        build_service(config("name: a", more="server: {host: 0.0.0.0}\n"))
    build_service(config("name: a", more="server: {host: 0.0.0.0, api_keys: [k]}\n"))


def test_a_policy_that_nobody_registered_or_an_option_it_does_not_take_is_refused(config):
    with pytest.raises(UnknownNameError, match="single"):
        build_policies(config("name: a", more="policy: {name: nope}\n"))
    with pytest.raises(UnknownNameError, match=r"takes no option|colour"):
        build_policies(config("name: a", more="policy: {options: {colour: grey}}\n"))


def test_goals_that_nobody_can_meet_are_refused_before_anybody_asks(config):
    with pytest.raises(NoCandidateError, match="params_b unknown"):
        build_service(config("name: a", more="goals: {constraints: {max_params_b: 3}}\n"))


def test_a_weight_on_a_cost_that_nobodys_is_known_of_is_refused(config):
    goals = "goals: {cost_weight: 1}\n"
    with pytest.raises(UnknownCostError, match="no candidate's cost"):
        build_service(config("name: a", more=goals))
    price = "price: {input_usd_per_mtok: 1, output_usd_per_mtok: 1}"
    assert build_service(config(f"name: a, {price}", more=goals)).goals.cost_weight == 1


def test_cache_traces_and_retention_reach_the_settings_as_they_stand(config):
    settings = build_settings(
        config(
            "name: a",
            more="cache: {kind: semantic, ttl_s: 9, max_entries: 7, max_mb: 2, shared: true,"
            " similarity: 0.99, only_deterministic: true}\n"
            "telemetry: {endpoint: 'http://there:4318', headers: {x-key: '${KEY}'}, sample_ratio: 0.5,"
            " service_name: front, record_texts: true}\n"
            "ledger: {keep_texts_days: 30, keep_days: 365}\n",
        )
    )
    assert settings.cache == CacheSettings("semantic", 9, 7, 2 * 2**20, True, True, 0.99)
    assert settings.telemetry == TelemetrySettings(
        "http://there:4318", {"x-key": "sk-hunter2hunter2"}, 0.5, "front", True
    )
    assert "hunter2" not in repr(settings.telemetry)
    assert (settings.keep_texts_days, settings.keep_days) == (30, 365)
    assert (settings.cache_url, build_settings(config("name: a")).telemetry) == (None, None)


def test_a_cache_in_redis_needs_to_know_where_it_is(config):
    redis = "cache: {kind: exact, store: redis}\n"
    with pytest.raises(ConfigError, match=r"nobody says where") as caught:
        build_settings(config("name: a", more=redis))
    assert "cache.url" in caught.value.remedy
    shared = "state: {url: 'redis://one:6379/0'}\n"
    assert build_settings(config("name: a", more=redis + shared)).cache_url == "redis://one:6379/0"
    own = redis.replace("}", ", url: 'redis://two:6379/1'}")
    assert build_settings(config("name: a", more=own + shared)).cache_url == "redis://two:6379/1"

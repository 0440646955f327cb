"""The doctor asks real upstreams, names what is wrong and what is unknown, and writes nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from herdwise.config.doctor import Finding, examine, exit_code
from herdwise.config.load import load

FULL = (
    "price: {input_usd_per_mtok: 0, output_usd_per_mtok: 0}, params_b: 8, active_params_b: 8,"
    " context_tokens: 4096, quality: 0.5, tools: true, json_schema: true, modalities: [text]"
)


@pytest.fixture
def doctor(tmp_path: Path):
    async def _doctor(*candidates: str, more: str = "") -> list[Finding]:
        listed = "".join(f"  - {{{c}}}\n" for c in candidates)
        (tmp_path / "herdwise.yaml").write_text(f"candidates:\n{listed}{more}", encoding="utf-8")
        return await examine(load(tmp_path / "herdwise.yaml", {}))

    return _doctor


def of(findings: list[Finding], subject: str, check: str) -> Finding:
    (found,) = [f for f in findings if f.subject == subject and f.check.startswith(check)]
    return found


def failed(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(f.subject, f.check) for f in findings if f.level == "fail"]


async def test_a_healthy_config_fails_nowhere_and_leaves_no_file(doctor, faulty_upstream, tmp_path):
    up = await faulty_upstream(models=("small",), api_key="k-12345678")
    found = await doctor(f"name: small, base_url: '{up.base_url}', api_key: k-12345678, {FULL}")
    assert failed(found) == []
    assert exit_code(found) == 0
    assert {f.check: f.level for f in found if f.subject == "small"} == {
        "reachable": "ok",
        "key": "ok",
        "model": "ok",
        "price": "ok",
        "size": "ok",
        "context": "ok",
        "abilities": "ok",
        "quality": "ok",
    }
    assert of(found, "router", "trained").level == "warn"
    assert [p.name for p in tmp_path.iterdir()] == ["herdwise.yaml"]
    assert up.bodies == [], "a check costs no tokens"


async def test_an_unreachable_candidate_fails_and_the_others_are_still_checked(
    doctor, faulty_upstream, closed_port
):
    up = await faulty_upstream(models=("small",))
    found = await doctor(
        f"name: gone, base_url: 'http://127.0.0.1:{closed_port}/v1', {FULL}",
        f"name: small, base_url: '{up.base_url}', {FULL}",
    )
    assert failed(found) == [("gone", "reachable")]
    assert of(found, "gone", "reachable").remedy
    assert of(found, "small", "model").level == "ok"
    assert exit_code(found) == 1


async def test_a_key_that_the_upstream_refuses_fails_without_being_shown(doctor, faulty_upstream):
    up = await faulty_upstream(models=("small",), api_key="right-key-123")
    found = await doctor(f"name: small, base_url: '{up.base_url}', api_key: wrong-key-123, {FULL}")
    assert failed(found) == [("small", "reachable")]
    assert "401" in of(found, "small", "reachable").detail
    assert "wrong-key-123" not in repr(found)
    assert exit_code(found) == 1


async def test_a_model_that_the_upstream_does_not_know_fails_with_the_nearest_it_does(
    doctor, faulty_upstream
):
    up = await faulty_upstream(models=("llama3.1:8b", "qwen:7b"))
    found = await doctor(f"name: small, model: 'lama3.1:8b', base_url: '{up.base_url}', {FULL}")
    model = of(found, "small", "model")
    assert (model.level, model.remedy) == ("fail", "Did you mean llama3.1:8b?")
    assert exit_code(found) == 1


async def test_a_model_with_an_implied_tag_is_known(doctor, faulty_upstream):
    up = await faulty_upstream(models=("mistral:latest",))
    found = await doctor(f"name: mistral, base_url: '{up.base_url}', {FULL}")
    assert of(found, "mistral", "model").level == "ok"


async def test_an_upstream_without_a_list_of_models_is_a_warning(doctor, faulty_upstream):
    up = await faulty_upstream(models=("small",))
    found = await doctor(f"name: small, base_url: '{up.base_url}/elsewhere', {FULL}")
    assert of(found, "small", "reachable").level == "ok"
    assert of(found, "small", "model").level == "warn"
    assert exit_code(found) == 0


async def test_what_is_unknown_is_a_warning_that_says_what_follows(doctor, faulty_upstream):
    up = await faulty_upstream(models=("small",))
    found = await doctor(f"name: small, base_url: '{up.base_url}', params_b: 8")
    warned = {f.check: f.detail for f in found if f.subject == "small" and f.level == "warn"}
    assert set(warned) == {"price", "size", "context", "abilities", "quality"}
    assert warned["abilities"].endswith("no request with tools or a JSON schema or images or other media")
    assert warned["size"].startswith("active_params_b unknown")
    assert exit_code(found) == 0


@pytest.mark.parametrize("backend", ["anthropic", "ollama"])
async def test_the_other_backends_are_probed_in_their_own_api(doctor, provider_upstream, backend):
    up = await provider_upstream(backend, models=("small",))
    found = await doctor(
        f"name: small, backend: {backend}, base_url: '{up.base_url}', {FULL}",
        f"name: large, backend: {backend}, base_url: '{up.base_url}', {FULL}",
    )
    assert of(found, "small", "model").level == "ok"
    assert failed(found) == [("large", "model")]


async def test_another_machine_without_a_key_is_a_warning(doctor):
    # A name that resolves nowhere (RFC 2606): the key is looked at whether or not the host answers.
    found = await doctor(f"name: far, base_url: 'http://far.invalid/v1', timeouts: {{connect_s: 2}}, {FULL}")
    assert of(found, "far", "key").level == "warn"
    assert of(found, "far", "reachable").level == "fail"


async def test_a_router_that_fits_says_who_is_learned(doctor, faulty_upstream, saved_router):
    up = await faulty_upstream(models=("alpha", "mine"))
    found = await doctor(
        f"name: alpha, base_url: '{up.base_url}'",
        f"name: mine, base_url: '{up.base_url}', like: beta",
        more=f"router: {saved_router}\n",
    )
    assert of(found, "router", "fits").level == "ok"
    assert of(found, "alpha", "quality").detail == "learned"
    assert "learned of beta" in of(found, "mine", "quality").detail
    assert of(found, "alpha", "price").level == "ok", "known from the router"


@pytest.mark.parametrize("router", ["nowhere", "{saved}"])
async def test_a_router_that_is_missing_or_of_another_herd_is_the_configs_fault(
    doctor, faulty_upstream, saved_router, router
):
    up = await faulty_upstream(models=("stranger",))
    router = router.replace("{saved}", str(saved_router))
    found = await doctor(f"name: stranger, base_url: '{up.base_url}'", more=f"router: {router}\n")
    assert failed(found) == [("router", "fits the herd")]
    assert of(found, "router", "fits").remedy
    assert exit_code(found) == 2


@pytest.mark.parametrize(
    ("more", "subject"),
    [
        ("goals: {cost_weight: 1}\n", "goals"),
        ("goals: {constraints: {max_params_b: 1}}\n", "goals"),
        ("policy: {name: nope}\n", "policy"),
        ("server: {host: 0.0.0.0}\n", "server"),
        ("ledger: {url: 'sqlite:///herdwise.yaml'}\n", "ledger"),
        ("ledger: {url: 'sqlite:///herdwise.yaml/l.db'}\n", "ledger"),
        ("ledger: {url: 'nosuchdb://u:hunter2@h/d'}\n", "ledger"),
        ("ledger: {url: ''}\n", "ledger"),
    ],
)
async def test_a_part_that_cannot_work_is_the_configs_fault(doctor, faulty_upstream, more, subject):
    up = await faulty_upstream(models=("small",))
    found = await doctor(f"name: small, base_url: '{up.base_url}'", more=more)
    assert [f.subject for f in found if f.level == "fail"] == [subject]
    assert [f.remedy for f in found if f.level == "fail"] != [""]
    assert "hunter2" not in repr(found)
    assert exit_code(found) == 2


async def test_a_ledger_that_exists_is_left_as_it_is(doctor, faulty_upstream, tmp_path):
    from herdwise.core.candidate import Herd
    from herdwise.serving.ledger import Ledger

    ledger = Ledger(f"sqlite:///{tmp_path}/herdwise.db")
    ledger.start(Herd([]))
    ledger.close()
    up = await faulty_upstream(models=("small",))
    found = await doctor(f"name: small, base_url: '{up.base_url}'")
    assert of(found, "ledger", "writable").level == "ok"
    with sqlite3.connect(tmp_path / "herdwise.db") as connection:
        assert connection.execute("select count(*) from candidates").fetchone() == (0,)
    connection.close()


async def test_a_ledger_that_is_switched_off_is_a_warning(doctor, faulty_upstream):
    up = await faulty_upstream(models=("small",))
    found = await doctor(f"name: small, base_url: '{up.base_url}'", more="ledger: {enabled: false}\n")
    assert of(found, "ledger", "writable").level == "warn"

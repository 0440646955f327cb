"""Embeddings through the official client: by a named candidate, and by the router's own encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from herdwise.backends.openai_compatible import OpenAICompatible
from herdwise.core.candidate import Candidate
from herdwise.routing.router import Router
from herdwise.serving.embeddings import ENCODER_MODEL

TEXTS = ["spell the word apple", "add the number seven"]


@pytest.fixture
async def learned(endpoint: Any, saved_router: Path) -> Any:
    """An endpoint over a trained router."""
    router = Router.load(saved_router)
    return await endpoint(candidates=tuple(router.herd), ranker=router)


async def test_a_candidate_whose_server_embeds_is_asked_by_its_name(endpoint: Any) -> None:
    e = await endpoint()
    plain = await e.client.embeddings.create(model="small", input=TEXTS, encoding_format="float")
    coded = await e.client.embeddings.create(model="small", input=TEXTS)
    assert plain.model == "small"
    assert [entry.index for entry in plain.data] == [0, 1]
    np.testing.assert_allclose(plain.data[1].embedding, coded.data[1].embedding, rtol=1e-6)
    assert plain.usage.prompt_tokens == 8
    assert e.upstreams["small"].requests[-1].body["model"] == "up-small"


async def test_the_routers_own_encoder_embeds_in_process(learned: Any) -> None:
    encoder = learned.service.ranker.encoder
    told = await learned.client.embeddings.create(model=ENCODER_MODEL, input=TEXTS)
    got = np.array([entry.embedding for entry in told.data], dtype=np.float32)
    np.testing.assert_array_equal(got, encoder.encode(TEXTS))
    one = await learned.client.embeddings.create(
        model=ENCODER_MODEL, input=TEXTS[0], encoding_format="float", dimensions=encoder.n_features
    )
    np.testing.assert_array_equal(np.array(one.data[0].embedding, dtype=np.float32), got[0])
    assert told.usage.prompt_tokens is None
    assert ENCODER_MODEL in [model.id async for model in learned.client.models.list()]
    assert all(not upstream.requests for upstream in learned.upstreams.values())


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": [1, 2]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"dimensions": 3}, "dimensions"),
        ({"dimensions": [3]}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"encoding_format": {}}, "encoding_format"),
    ],
)
async def test_what_the_encoder_cannot_do_is_refused_by_name(learned: Any, body: Any, param: str) -> None:
    reply = await learned.send("POST", "/v1/embeddings", {"model": ENCODER_MODEL, "input": "x", **body})
    assert reply.status == 400
    assert reply.error["param"] == param


async def test_an_embedding_is_a_decision_without_text_or_vector_that_is_no_outcome(
    learned: Any, tmp_path: Path
) -> None:
    from herdwise.serving.ledger_export import export_ledger
    from herdwise.serving.ledger_summary import summarise_ledger

    price = learned.service.ranker.herd["alpha"].price
    for model, asks in (("alpha", 1), (ENCODER_MODEL, 0)):
        reply = await learned.send("POST", "/v1/embeddings", {"model": model, "input": TEXTS})
        told = await learned.decision(reply)
        assert (told["policy"], told["model"], told["status"]) == ("embeddings", model, "answered")
        assert (told["text"], len(told["asks"]), told["attempts"]) == (None, asks, asks)
        assert reply.headers["x-herdwise-attempts"] == str(asks)
    learned.upstreams["alpha"].behave("server_error", everywhere=True)
    failed = await learned.send("POST", "/v1/embeddings", {"model": "alpha", "input": TEXTS})
    told = await learned.decision(failed)
    assert (failed.status, told["status"], told["asks"][0]["error_status"]) == (502, "failed", 500)
    learned.upstreams["alpha"].behave("ok")
    reply = await learned.send("POST", "/v1/embeddings", {"model": "alpha", "input": TEXTS})
    ask = (await learned.decision(reply))["asks"][0]
    assert (ask["candidate"], ask["input_tokens"], ask["output_tokens"]) == ("alpha", 8, 0)
    assert ask["cost_usd"] == price.cost_usd(8, 0)
    assert reply.headers["x-herdwise-candidate"] == "alpha"
    metrics = (await learned.send("GET", "/metrics")).raw.decode()
    assert 'herdwise_requests_total{api="/v1/embeddings",policy="embeddings",status="200"} 3' in metrics
    chat = await learned.chat("a question")
    assert chat.status == 200
    learned.service.ledger.close()
    url = f"sqlite:///{learned.ledger_path}"
    found = summarise_ledger(url)
    assert (found.embeddings, sum(found.decisions.values())) == (4, 5)
    done = export_ledger(url, tmp_path / "out")
    assert (done.queries, done.outcomes, done.without_text, done.without_answer) == (1, 1, 0, 0)


async def test_a_key_with_a_budget_pays_for_embeddings_to_the_last_billionth(endpoint: Any) -> None:
    e = await endpoint(admin_key="admin")
    admin = {"authorization": "Bearer admin"}
    price = e.service.ranker.herd["small"].price
    terms = {"budgets": [{"usd": price.cost_usd(20, 0), "period": "ever"}], "candidates": ["small"]}
    made = (await e.send("POST", "/admin/v1/keys", {"name": "k", "terms": terms}, admin)).json
    key = {"authorization": f"Bearer {made['key']}"}

    async def embed(model: str = "small", text: str = "short") -> Any:
        return await e.send("POST", "/v1/embeddings", {"model": model, "input": [text, "two words"]}, key)

    assert (await embed("large")).error["code"] == "candidate_not_allowed"
    charged = 0.0
    for _ in range(2):
        reply = await embed()
        path = f"/v1/decisions/{reply.headers['x-herdwise-decision-id']}"
        charged += (await e.send("GET", path, headers=key)).json["charged_usd"]
    # Nobody states what a failed one cost: what was predicted of it counts.
    e.upstreams["small"].behave("truncated_json", everywhere=True)
    reply = await embed(text="x" * 7)
    assert reply.status == 502
    path = f"/v1/decisions/{reply.headers['x-herdwise-decision-id']}"
    lost = (await e.send("GET", path, headers=key)).json["charged_usd"]
    assert lost == pytest.approx(price.cost_usd(4, 0), abs=1e-12)
    told = (await e.send("GET", f"/admin/v1/keys/{made['key_id']}", headers=admin)).json
    spent_usd = told["spending"][0]["spent_usd"]
    assert spent_usd == pytest.approx(charged + lost, abs=1e-12)
    assert charged == pytest.approx(price.cost_usd(2 * 3, 0), abs=1e-12)
    refused = await embed(text="x" * 400)
    assert (refused.status, refused.error["code"]) == (429, "insufficient_quota")
    assert "x-herdwise-decision-id" not in refused.headers


async def test_auto_is_not_routed_as_vectors_of_different_models_do_not_compare(endpoint: Any) -> None:
    e = await endpoint()
    for model in ("auto", ENCODER_MODEL, "nobody"):
        with pytest.raises(openai.NotFoundError, match="do not compare"):
            await e.client.embeddings.create(model=model, input="x")


async def test_a_candidate_that_cannot_embed_says_so(endpoint: Any, provider_upstream: Any) -> None:
    from herdwise.backends.anthropic import Anthropic
    from herdwise.core.candidate import Candidate

    up = await provider_upstream("anthropic")
    backends = {"claude": Anthropic("claude", up.base_url, "test-model")}
    e = await endpoint(candidates=[Candidate("claude", quality=0.5)], backends=backends)
    reply = await e.send("POST", "/v1/embeddings", {"model": "claude", "input": "x"})
    assert (reply.status, reply.error["code"]) == (400, "unsupported_value")
    assert up.requests == []
    failing = await endpoint()
    failing.upstreams["small"].behave("server_error", everywhere=True)
    reply = await failing.send("POST", "/v1/embeddings", {"model": "small", "input": "x"})
    assert (reply.status, reply.error["code"]) == (502, "upstream_failed")


async def test_what_the_ledger_says_of_a_failure_that_nobody_expected_is_what_the_client_was_told(
    endpoint: Any,
) -> None:
    class Broken(OpenAICompatible):
        async def embed(self, body: Any) -> Any:
            raise ZeroDivisionError

    backends = {"small": Broken("small", "http://127.0.0.1:1/v1", "m")}
    e = await endpoint(candidates=[Candidate("small", quality=0.5)], backends=backends)
    reply = await e.send("POST", "/v1/embeddings", {"model": "small", "input": "x"})
    assert reply.status == 500
    metrics = (await e.send("GET", "/metrics")).raw.decode()
    assert 'herdwise_requests_total{api="/v1/embeddings",policy="embeddings",status="500"} 1' in metrics

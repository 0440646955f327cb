"""Embeddings through the official client: by a named candidate, and by the router's own encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

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

"""The semantic cache: a question alike gets the same answer, where everything else is equal."""

from __future__ import annotations

import asyncio
import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import HerdwiseError
from herdwise.encoding.static import StaticEncoder
from herdwise.routing.declared import DeclaredRouter
from herdwise.routing.router import Router
from herdwise.serving.cache_similar import SimilarQuestions
from herdwise.serving.cache_store import CacheSettings

ALIKE = CacheSettings(kind="semantic", similarity=0.9)
QUESTION, REWORDED = "What is the capital of France?", "what is the capital of France"


def status(reply: Any) -> str:
    told: str = reply.headers["x-herdwise-cache"]
    return told


async def test_a_question_alike_gets_the_same_answer_and_the_similarity_is_told(endpoint: Any) -> None:
    e = await endpoint(cache=ALIKE)
    first = await e.chat(QUESTION)
    again = await e.chat(REWORDED, headers={"x-herdwise-explain": "true"})
    assert status(again) == "similar"
    similarity = float(again.headers["x-herdwise-cache-similarity"])
    assert 0.9 <= similarity < 1
    assert again.json["herdwise"]["cache"]["similarity"] == pytest.approx(similarity)
    assert again.json["choices"] == first.json["choices"]
    found = await e.decision(again)
    assert found["origin"] == "similar"
    assert f"({similarity:.3f})" in found["reason"]
    assert status(await e.chat(QUESTION)) == "hit"
    assert len(e.upstreams["large"].bodies) == 1


@pytest.mark.parametrize(
    "other",
    [
        "What is the population of France?",
        "How do I bake bread?",
        "\N{SNOWMAN}",
    ],
)
async def test_another_question_is_asked(endpoint: Any, other: str) -> None:
    e = await endpoint(cache=CacheSettings(kind="semantic", similarity=0.95))
    await e.chat(QUESTION)
    assert status(await e.chat(other)) == "miss"


@pytest.mark.parametrize(
    ("question", "other", "reworded"),
    [
        ("What is 17 times 23, please?", "What is 17 times 24, please?", "Please: what is 17 times 23?"),
        ("Is gold soluble in water?", "Is gold not soluble in water?", "Is gold soluble in the water?"),
        ("Why can I fly?", "Why can\u2019t I fly?", "why can I fly"),
        ("Which is the most likely?", "Which is the least likely?", "Which one is the most likely?"),
    ],
)
async def test_other_numbers_or_negations_are_another_question_however_alike(
    endpoint: Any, question: str, other: str, reworded: str
) -> None:
    e = await endpoint(cache=CacheSettings(kind="semantic", similarity=0.5))
    await e.chat(question)
    assert status(await e.chat(other)) == "miss"
    assert status(await e.chat(reworded)) == "similar"


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 0.1},
        {"model": "small"},
        {"herdwise": {"cost_weight": 1}},
        {"messages": [{"role": "system", "content": "In French."}, {"role": "user", "content": REWORDED}]},
        {
            "messages": [
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": "Hi"},
                {"role": "user", "content": REWORDED},
            ]
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": REWORDED},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
                    ],
                }
            ]
        },
    ],
)
async def test_whatever_else_differs_keeps_questions_apart(endpoint: Any, more: Any) -> None:
    e = await endpoint(cache=ALIKE)
    await e.chat(QUESTION)
    body = {"model": "auto", "messages": [{"role": "user", "content": REWORDED}], **more}
    reply = await e.send("POST", "/v1/chat/completions", body)
    assert (reply.status, status(reply)) == (200, "miss")


async def test_questions_of_other_keys_are_never_looked_at(endpoint: Any) -> None:
    e = await endpoint(cache=ALIKE, api_keys=("one", "two"))
    await e.chat(QUESTION, headers={"authorization": "Bearer one"})
    assert status(await e.chat(REWORDED, headers={"authorization": "Bearer two"})) == "miss"
    assert status(await e.chat(REWORDED, headers={"authorization": "Bearer one"})) == "similar"


async def test_a_message_by_the_other_api_finds_its_like(endpoint: Any) -> None:
    e = await endpoint(cache=ALIKE)
    body = {"model": "auto", "max_tokens": 50, "messages": [{"role": "user", "content": QUESTION}]}
    assert status(await e.send("POST", "/v1/messages", body)) == "miss"
    body["messages"] = [{"role": "user", "content": [{"type": "text", "text": REWORDED}]}]
    assert status(await e.send("POST", "/v1/messages", body)) == "similar"
    body["system"] = "In French."
    assert status(await e.send("POST", "/v1/messages", body)) == "miss"


async def test_a_question_whose_answer_has_gone_is_forgotten(endpoint: Any) -> None:
    e = await endpoint(cache=CacheSettings(kind="semantic", similarity=0.9, max_entries=1))
    await e.chat(QUESTION)
    await e.chat("How do I bake bread?")
    assert status(await e.chat(REWORDED)) == "miss"


async def test_who_wants_a_younger_answer_takes_it_from_nobody_else(endpoint: Any) -> None:
    e = await endpoint(cache=ALIKE)
    await e.chat(QUESTION)
    await asyncio.sleep(1.1)
    young = await e.chat(REWORDED, headers={"cache-control": "max-age=1, no-store"})
    assert status(young) == "miss"
    assert status(await e.chat(REWORDED)) == "similar"


async def test_a_learned_router_compares_by_its_own_encoder(endpoint: Any, saved_router: Any) -> None:
    router = Router.load(saved_router)
    e = await endpoint(cache=ALIKE, candidates=tuple(router.herd), ranker=router)
    first = await e.chat("spell the word apple after river")
    assert first.headers["x-herdwise-candidate"] == "alpha"
    assert status(await e.chat("Spell the word apple after river!")) == "similar"
    assert status(await e.chat("add the number twelve to forty")) == "miss"


class Remote(StaticEncoder):
    """Makes its vectors somewhere else, and is away at times."""

    blocking = True
    away = False

    def encode_one(self, text: str) -> np.ndarray:
        assert threading.current_thread() is not threading.main_thread()
        if self.away:
            raise HerdwiseError("the embeddings endpoint does not answer.")
        return super().encode_one(text)


class Learned(DeclaredRouter):
    """Has an encoder that waits for somebody else."""

    remote = Remote()

    @property
    def encoder(self) -> Remote:
        return self.remote


async def test_an_encoder_elsewhere_holds_up_nobody_and_its_failure_is_a_miss(
    endpoint: Any, caplog: pytest.LogCaptureFixture
) -> None:
    candidates = (Candidate("large", quality=0.5),)
    ranker = Learned(Herd(candidates))
    e = await endpoint(cache=ALIKE, candidates=candidates, ranker=ranker)
    await e.chat(QUESTION)
    assert status(await e.chat(REWORDED)) == "similar"
    ranker.remote.away = True
    reply = await e.chat(REWORDED, model="large")
    assert (reply.status, status(reply)) == (200, "miss")
    assert "does not answer" in caplog.text
    assert status(await e.chat(QUESTION)) == "hit"


def test_the_index_finds_what_is_there_after_any_order_of_adding_and_dropping() -> None:
    rng = np.random.default_rng(7)
    index = SimilarQuestions(StaticEncoder(), most=20, most_bytes=2**20)
    alive: dict[bytes, tuple[bytes, np.ndarray]] = {}
    for step in range(300):
        key, group = bytes([int(rng.integers(40))]), bytes([int(rng.integers(3))])
        if rng.random() < 0.3:
            index.drop(key)
            alive.pop(key, None)
        else:
            vector = rng.normal(size=8).astype(np.float32)
            vector /= np.linalg.norm(vector)
            index.add(group, key, "no numbers", vector)
            alive.pop(key, None)
            while len(alive) >= 20:
                alive.pop(next(iter(alive)))
            alive[key] = (group, vector)
        assert len(index) == len(alive), step
        for name, (home, vector) in alive.items():
            found = index.nearest(home, "no numbers", vector, 0.5)
            assert found is not None
            assert (found[0], round(found[1], 5)) == (name, 1.0)
    assert index.nearest(b"nowhere", "no numbers", vector, 0.5) is None


def test_questions_stay_below_their_bound_in_bytes_however_few_have_anything_in_common() -> None:
    rng, dim, most_bytes = np.random.default_rng(7), 284, 2**20
    index = SimilarQuestions(StaticEncoder(), most=100_000, most_bytes=most_bytes)

    def add(number: int, group: bytes) -> None:
        vector = rng.normal(size=dim).astype(np.float32)
        index.add(group, number.to_bytes(16, "big"), "no numbers", vector / np.linalg.norm(vector))

    def peak(n_groups: int) -> int:
        tracemalloc.start()
        for number in range(900):
            add(number, (number % n_groups).to_bytes(16, "big"))
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return taken

    for n_groups in (900, 1):
        assert peak(n_groups) <= most_bytes
        assert len(index) > 200
        index.clear()
    peak(10)
    index.limit(5, most_bytes)
    assert len(index) == 5
    index.limit(100, 100)
    add(1, b"group")
    assert len(index) == 0, "one that alone is beyond the bound is not kept"

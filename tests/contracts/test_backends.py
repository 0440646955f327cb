"""What every registered backend promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from herdwise.backends.base import BACKENDS, Backend, Health
from herdwise.backends.recorded import sample_questions
from herdwise.core.errors import BackendError

#: Backends that this suite knows how to make; a new one must be added, or the first test fails.
KNOWN = ("anthropic", "any_llm", "embedded", "ollama", "openai_compatible", "recorded")


@dataclass
class Case:
    """A backend that answers the question, and one of the same class that cannot."""

    able: Backend
    unable: Backend
    body: dict[str, Any]


def test_every_registered_backend_is_walked() -> None:
    assert sorted(KNOWN) == BACKENDS.names()


@pytest.fixture(params=KNOWN)
async def case(
    request: pytest.FixtureRequest, faulty_upstream: Any, provider_upstream: Any, nano_folder: Any
) -> AsyncIterator[Case]:
    cls: Any = BACKENDS.get(request.param)
    question = "Hello there"
    if request.param == "recorded":
        question = sample_questions(1)[0]
        able, unable = cls("Yi-34B"), cls("nobody")
    elif request.param == "embedded":
        able, unable = cls("test-model", folder=nano_folder), cls("nobody", folder=nano_folder / "none")
    else:
        own = request.param in {"anthropic", "ollama"}
        up = await (provider_upstream(request.param) if own else faulty_upstream())
        if request.param == "any_llm":
            pytest.importorskip("any_llm", reason="the extra `providers` is not installed")
            reach = {"api_key": "any", "base_url": up.base_url}
            able, unable = (cls(name, "openai", **reach) for name in ("test-model", "nobody"))
        else:
            able, unable = (cls(name, up.base_url) for name in ("test-model", "nobody"))
    body = {"model": "auto", "messages": [{"role": "user", "content": question}], "x_unknown": {"a": 1}}
    yield Case(able, unable, body)
    await able.close()
    await unable.close()


def test_it_carries_the_name_that_it_is_registered_by() -> None:
    for name in BACKENDS.names():
        assert BACKENDS.get(name).name == name
        assert issubclass(BACKENDS.get(name), Backend)


async def test_whole_and_streamed_answers_say_the_same(case: Case) -> None:
    done = await case.able.complete(case.body)
    chunks = [chunk async for chunk in case.able.stream(case.body)]
    assert done.text
    assert "".join(chunk.text for chunk in chunks) == done.text
    assert [c.finish_reason for c in chunks if c.finish_reason] == [done.finish_reason]
    stated = [c.usage for c in chunks if c.usage is not None]
    assert stated in ([], [done.usage])


async def test_a_whole_answer_is_a_well_formed_object(case: Case) -> None:
    done = await case.able.complete(case.body)
    assert done.candidate
    assert done.body["object"] == "chat.completion"
    assert done.body["choices"][0]["message"]["content"] == done.text
    assert done.latency_s is not None
    assert done.latency_s >= 0


async def test_every_chunk_is_a_well_formed_object_and_the_first_names_the_role(case: Case) -> None:
    chunks = [chunk async for chunk in case.able.stream(case.body)]
    assert len({chunk.body["id"] for chunk in chunks}) == 1
    for chunk in chunks:
        assert chunk.body["object"] == "chat.completion.chunk"
        assert {"id", "created", "model", "choices"} <= chunk.body.keys()
    assert chunks[0].body["choices"][0]["delta"]["role"] == "assistant"


async def test_the_request_is_not_changed(case: Case) -> None:
    before = repr(case.body)
    await case.able.complete(case.body)
    _ = [chunk async for chunk in case.able.stream(case.body)]
    assert repr(case.body) == before


async def test_a_failure_is_a_backend_error_that_names_the_candidate(case: Case) -> None:
    for call in (case.unable.complete(case.body), anext(aiter(case.unable.stream(case.body)))):
        with pytest.raises(BackendError) as caught:
            await call
        assert caught.value.candidate == "nobody"
        assert "'nobody'" in caught.value.message
        assert caught.value.kind in {"no_record", "upstream_status", "connect_error"}


async def test_a_probe_answers_and_does_not_raise(case: Case) -> None:
    able, unable = await case.able.probe(), await case.unable.probe()
    assert isinstance(able, Health)
    assert able.reachable
    assert able.models is not None
    assert "'nobody'" in unable.detail


async def test_a_stream_may_be_left_in_the_middle(case: Case) -> None:
    stream: Any = case.able.stream(case.body)
    await anext(stream)
    await stream.aclose()
    assert (await case.able.complete(case.body)).text


async def test_closing_twice_is_as_good_as_once(case: Case) -> None:
    await case.able.complete(case.body)
    await case.able.close()
    await case.able.close()

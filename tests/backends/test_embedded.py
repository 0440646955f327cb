from __future__ import annotations

import asyncio
import math
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from herdwise.backends.embedded import Embedded
from herdwise.backends.nano.model import NanoModel
from herdwise.core.errors import ConfigError, OverloadedError, UnreachableError, UnsupportedError


@pytest.fixture
def backend(nano_folder: Path) -> Embedded:
    return Embedded("babbler", folder=nano_folder)


def body(question: str = "hello there", **fields: Any) -> dict[str, Any]:
    return {"model": "auto", "messages": [{"role": "user", "content": question}], **fields}


async def test_an_answer_is_what_the_model_says_with_its_counts(backend: Embedded, nano_folder: Path) -> None:
    model = NanoModel.load(nano_folder)
    said = model.answers(["hello there"], 12)[0]
    done = await backend.complete(body(max_tokens=12))
    assert done.text == said.text
    assert done.usage.input_tokens == len(model.tokens.encode_prompt("hello there"))
    assert done.usage.output_tokens == len(said.tokens)
    assert done.finish_reason == ("stop" if said.ended else "length")


async def test_only_the_last_user_message_is_read(backend: Embedded) -> None:
    alone = await backend.complete(body())
    earlier = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "said"},
    ]
    talk = {"messages": [*earlier, {"role": "user", "content": [{"type": "text", "text": "hello there"}]}]}
    assert (await backend.complete(talk)).text == alone.text


async def test_a_last_message_of_the_assistants_is_gone_on_from(backend: Embedded) -> None:
    # It babbles bytes; one of these answers begins with a character of one byte.
    for asked in (body(f"question {i}", max_tokens=10) for i in range(40)):
        told = (await backend.complete(asked)).text
        if told[0].isascii():
            break
    assert told[0].isascii()
    begun = {"role": "assistant", "content": told[0]}
    rest = await backend.complete({"messages": [*asked["messages"], begun], "max_tokens": 9})
    assert told[0] + rest.text == told


async def test_logprobs_have_openais_shape_and_only_when_asked_for(backend: Embedded) -> None:
    done = await backend.complete(body(logprobs=True, top_logprobs=2, max_tokens=5))
    entries = done.body["choices"][0]["logprobs"]["content"]
    assert len(entries) == done.usage.output_tokens
    for entry in entries:
        assert entry["logprob"] == entry["top_logprobs"][0]["logprob"] <= 0
        assert len(entry["top_logprobs"]) == 2
        assert bytes(entry["bytes"]).decode(errors="replace") == entry["token"]
    streamed = [c async for c in backend.stream(body(logprobs=True, top_logprobs=2, max_tokens=5))]
    told = [c.body["choices"][0]["logprobs"] for c in streamed if c.body["choices"]]
    assert [entry for part in told if part for entry in part["content"]] == entries
    assert (await backend.complete(body(max_tokens=5))).body["choices"][0]["logprobs"] is None


async def test_the_probabilities_of_all_tokens_sum_to_one(nano_folder: Path) -> None:
    model = NanoModel.load(nano_folder)
    token = next(model.generate(model.tokens.encode_prompt("hi"), 1, n_top=len(model.tokens)))
    assert math.fsum(math.exp(logprob) for _, logprob in token.top) == pytest.approx(1, abs=1e-5)


async def test_an_answer_ends_before_a_stop_and_none_of_it_is_streamed(backend: Embedded) -> None:
    told = (await backend.complete(body(max_tokens=30))).text
    stop = told[6:9]
    cut = told[: told.index(stop)]
    done = await backend.complete(body(max_tokens=30, stop=["never said", stop]))
    assert (done.text, done.finish_reason) == (cut, "stop")
    chunks = [c async for c in backend.stream(body(max_tokens=30, stop=stop))]
    assert "".join(c.text for c in chunks) == cut
    assert [c.finish_reason for c in chunks if c.finish_reason] == ["stop"]


async def test_what_could_begin_a_stop_is_told_when_the_answer_ends(backend: Embedded) -> None:
    told = (await backend.complete(body(max_tokens=10))).text
    done = await backend.complete(body(max_tokens=10, stop=told[-2:] + "and more"))
    assert done.text == told


async def test_several_choices_draw_with_seeds_of_their_own_and_repeat(backend: Embedded) -> None:
    asked = body(n=3, temperature=1.5, seed=4, max_tokens=12)
    first, second = await backend.complete(asked), await backend.complete(asked)
    texts = [choice["message"]["content"] for choice in first.body["choices"]]
    assert len(set(texts)) == 3
    assert texts == [choice["message"]["content"] for choice in second.body["choices"]]
    streamed = {0: "", 1: "", 2: ""}
    async for chunk in backend.stream(asked):
        for choice in chunk.body["choices"]:
            streamed[choice["index"]] += choice["delta"].get("content", "")
    assert list(streamed.values()) == texts
    assert chunk.usage == first.usage


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "image_url"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "user message"),
        ({"messages": [{"role": "user", "content": 5}]}, "content"),
        ({"temperature": "hot"}, "temperature = 'hot'"),
        ({"max_tokens": 1.5}, "max_tokens = 1.5"),
        ({"max_tokens": 0}, "max_tokens = 0"),
        ({"n": 99}, "n = 99"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs = 21"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"messages": [{"role": "user", "content": "q" * 200}]}, "202 tokens in a context of 96"),
    ],
)
async def test_what_it_cannot_do_is_refused_by_name(
    backend: Embedded, fields: dict[str, Any], named: str
) -> None:
    for call in (backend.complete({**body(), **fields}), anext(aiter(backend.stream({**body(), **fields})))):
        with pytest.raises(UnsupportedError, match="'babbler'") as caught:
            await call
        assert named in caught.value.message


async def test_what_only_tunes_is_left_out(backend: Embedded) -> None:
    plain = await backend.complete(body(max_tokens=8))
    tuned = body(max_completion_tokens=8, presence_penalty=1.0, response_format={"type": "text"}, user="u")
    assert (await backend.complete(tuned)).text == plain.text


async def test_many_at_once_answer_as_one_alone(backend: Embedded, nano_folder: Path) -> None:
    questions = [f"question {i}" for i in range(24)]
    other = Embedded("twin", folder=nano_folder, max_concurrency=4)
    alone = [(await backend.complete(body(q))).text for q in questions]
    for one in (backend, other):
        assert [c.text for c in await asyncio.gather(*(one.complete(body(q)) for q in questions))] == alone


async def test_a_full_queue_refuses(nano_folder: Path) -> None:
    busy = Embedded("busy", folder=nano_folder, max_concurrency=1, max_queue=0)
    stream = busy.stream(body())
    await anext(stream)
    with pytest.raises(OverloadedError, match="'busy' is busy"):
        await busy.complete(body())
    await stream.aclose()
    assert (await busy.complete(body())).text


async def test_who_leaves_a_stream_leaves_no_thread_at_work(nano_folder: Path) -> None:
    one = Embedded("left", folder=nano_folder, max_concurrency=1)
    for _ in range(5):
        stream = one.stream(body(temperature=2.0))
        await anext(stream)
        await stream.aclose()
    task = asyncio.create_task(one.complete(body()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await one.complete(body())).text
    await one.close()
    for thread in threading.enumerate():
        if thread.name.startswith("nano-left"):
            thread.join(10)
            assert not thread.is_alive()


@pytest.mark.timeout(60)
async def test_a_stream_that_was_not_begun_when_it_is_closed_ends(nano_folder: Path) -> None:
    one, let_go = Embedded("closed", folder=nano_folder, max_concurrency=1), threading.Event()
    one._executor().submit(let_go.wait, 30)
    begun = asyncio.create_task(anext(one.stream(body())))
    await asyncio.sleep(0)
    assert one._pool is not None
    assert one._pool._work_queue.qsize() == 1
    await one.close()
    with pytest.raises(asyncio.CancelledError):
        await begun
    let_go.set()


async def test_a_folder_put_right_is_loaded_without_a_restart(nano_folder: Path, tmp_path: Path) -> None:
    late = Embedded("late", folder=tmp_path / "model")
    with pytest.raises(UnreachableError, match="'late': its model cannot be loaded"):
        await late.complete(body())
    assert not (await late.probe()).reachable
    shutil.copytree(nano_folder, tmp_path / "model")
    found = await late.probe()
    assert found.reachable
    assert "M parameters" in found.detail
    assert (await late.complete(body())).text


async def test_a_probe_lists_the_name_that_a_config_looks_for(nano_folder: Path, backend: Embedded) -> None:
    assert (await backend.probe()).models == ("babbler",)
    named = Embedded("x", "nano/dates")
    assert named.model == "nano/dates"


def test_it_wants_a_model_or_a_folder_and_not_both(nano_folder: Path) -> None:
    with pytest.raises(ConfigError, match="either `model` or"):
        Embedded("x")
    with pytest.raises(ConfigError, match="either `model` or"):
        Embedded("x", "nano/dates", folder=nano_folder)
    for name in ("dates", "nano/", "nano/../secret", "micro/dates"):
        with pytest.raises(ConfigError, match="is no model of"):
            Embedded("x", name)
    assert Embedded("x", "nano/dates").folder.parts[-3:] == ("data", "nano", "dates")

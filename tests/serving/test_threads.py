"""Follow-ups go to who has the thread: found by the leading messages, or by the session's name."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.money import Price
from herdwise.routing.declared import DeclaredRouter
from herdwise.serving.threads import Threads, answered, tool_loop

USER = {"role": "user", "content": "How many legs has a spider?"}
ANSWER = {"role": "assistant", "content": "Eight."}
MORE = {"role": "user", "content": "And an ant?"}
PAIR = tuple(
    Candidate(name, quality=quality, price=Price(1.0, 1.0), tools=True)
    for name, quality in (("even", 0.5), ("odd", 0.5))
)
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]


class ByLength(DeclaredRouter):
    """Questions of an odd number of characters are the odd candidate's, by ``gain``."""

    gain = 0.04

    def estimate_one(self, query: Any) -> Any:
        found = super().estimate_one(query)
        odd = len(query.text) % 2
        quality = np.array([0.5 - odd * self.gain / 2, 0.5 + odd * self.gain / 2])
        if not odd:
            quality = quality[::-1] + np.array([self.gain, 0.0])
        return replace(found, quality=quality)


def test_a_conversation_is_known_by_what_stands_before_its_last_answer() -> None:
    threads = Threads()
    threads.note([USER], None, "a")
    assert threads.find([USER, ANSWER, MORE], None) == "a"
    assert threads.find([USER], None) is None  # the same beginning, but no answer yet
    assert threads.find([{**USER, "content": "edited"}, ANSWER, MORE], None) is None
    threads.note([USER, ANSWER, MORE], None, "b")
    assert threads.find([USER, ANSWER, MORE, ANSWER, MORE], None) == "b"


def test_a_session_is_known_by_its_name_and_sessions_are_kept_apart_by_key() -> None:
    threads = Threads()
    threads.note([USER], b"mine", "a", scope=b"one")
    assert threads.find([MORE], b"mine", scope=b"one") == "a"
    assert threads.find([MORE], b"mine", scope=b"other") is None
    assert threads.find([MORE], b"yours", scope=b"one") is None


def test_threads_are_forgotten_after_a_while_and_the_longest_unused_first() -> None:
    now = [0.0]
    threads = Threads(most=2, keep_s=10, clock=lambda: now[0])
    for name in (b"1", b"2", b"3"):
        threads.note([USER], name, "a")
    assert [threads.find([USER], name) for name in (b"1", b"2", b"3")] == [None, "a", "a"]
    now[0] = 10.1
    assert threads.find([USER], b"3") is None
    assert len(threads) == 1


def test_conversations_take_no_object_each() -> None:
    threads = Threads()
    threads.note([USER], b"first", "a")
    before = sys.getallocatedblocks()
    for i in range(20_000):
        threads.note([USER], b"%d" % i, "a")
    assert len(threads) > 19_900
    assert sys.getallocatedblocks() - before < 200


def test_hardly_any_conversation_is_forgotten_before_half_as_many_newer_ones_are_noted() -> None:
    threads = Threads(most=3_200)
    for i in range(500):
        threads.note([USER], b"old %d" % i, f"candidate-{i % 7}")
    for i in range(1_100):
        threads.note([USER], b"new %d" % i, "new")
    held = [threads.find([USER], b"old %d" % i) for i in range(500)]
    assert all(name in (None, f"candidate-{i % 7}") for i, name in enumerate(held))
    assert sum(name is not None for name in held) >= 499
    for i in range(10_000):
        threads.note([USER], b"more %d" % i, "new")
    assert 3_100 < len(threads) <= 3_200


def test_a_conversation_that_goes_on_is_kept_once_and_is_the_latest() -> None:
    threads = Threads(most=3)
    for name in (b"1", b"2", b"3", b"1", b"4"):
        threads.note([USER], name, f"of {name.decode()}")
    assert [threads.find([USER], name) for name in (b"1", b"2", b"3", b"4")] == ["of 1", None, "of 3", "of 4"]
    assert len(threads) == 3


def test_what_another_gateway_noted_does_not_go_before_what_was_noted_since() -> None:
    told: list[tuple[bytes, str]] = []
    threads, other = Threads(clock=lambda: 100.0), Threads(clock=lambda: 100.0)
    other.on_note = lambda key, candidate: told.append((key, candidate))
    other.note([USER], b"s", "theirs")
    key = told[0][0]
    threads.hear(key, "theirs", 4000.0)  # longer ago than it is kept
    assert threads.find([USER], b"s") is None
    threads.hear(key, "theirs", 50.0)
    assert threads.find([USER], b"s") == "theirs"
    threads.note([USER], b"s", "ours")
    threads.hear(key, "theirs", 10.0)
    assert threads.find([USER], b"s") == "ours"


def test_tool_loops_are_seen() -> None:
    call = {"role": "assistant", "tool_calls": [{"id": "1"}]}
    result = {"role": "tool", "tool_call_id": "1", "content": "8"}
    assert tool_loop([USER, call, result])
    assert not tool_loop([USER, call, result, ANSWER, MORE])
    assert answered([USER, call, result, result]) == 1
    assert answered([USER]) == 0


@pytest.fixture
async def pair(endpoint: Any) -> Any:
    return await endpoint(candidates=PAIR, ranker=ByLength(Herd(PAIR)))


async def test_a_follow_up_stays_with_who_answered(pair: Any) -> None:
    first = await pair.chat("odd")
    assert first.json["model"] == "odd"
    said = first.json["choices"][0]["message"]
    messages = [{"role": "user", "content": "odd"}, said, {"role": "user", "content": "e" * 70}]
    follow_up = await pair.chat(messages=messages, headers={"x-herdwise-explain": "1"})
    assert follow_up.json["model"] == "odd"
    assert follow_up.json["herdwise"]["ranking"] == (
        "odd keeps the thread: a gain of 0.040 is within the margin of 0.05"
    )
    assert (await pair.chat("e" * 70)).json["model"] == "even"  # by itself it would go there


async def test_a_clear_gain_moves_it_and_so_does_a_request_that_wants_no_margin(pair: Any) -> None:
    said = (await pair.chat("odd")).json["choices"][0]["message"]
    messages = [{"role": "user", "content": "odd"}, said, {"role": "user", "content": "e" * 70}]
    moved = await pair.chat(messages=messages, herdwise={"switch_margin": 0.0})
    assert moved.json["model"] == "even"


async def test_a_streamed_answer_has_the_thread_too(pair: Any) -> None:
    first = await pair.chat("odd", stream=True)
    messages = [
        {"role": "user", "content": "odd"},
        {"role": "assistant", "content": first.text},
        {"role": "user", "content": "e" * 70},
    ]
    assert (await pair.chat(messages=messages)).json["model"] == "odd"


async def test_a_named_session_stays_whatever_its_messages(pair: Any) -> None:
    session = {"x-herdwise-session": "s-1"}
    assert (await pair.chat("odd", headers=session)).json["model"] == "odd"
    assert (await pair.chat("even", headers=session)).json["model"] == "odd"
    assert (await pair.chat("even")).json["model"] == "even"


@pytest.mark.parametrize("policy", ["single", "vote"])
async def test_a_tool_loop_stays_with_its_candidate_under_every_policy(endpoint: Any, policy: str) -> None:
    from herdwise.routing.base import POLICIES

    ranker = ByLength(Herd(PAIR))
    e = await endpoint(candidates=PAIR, ranker=ranker, policies={policy: POLICIES.create(policy)})
    session = {"x-herdwise-session": "s-2"}
    first = await e.chat("odd", model="odd", headers=session, tools=TOOLS)
    assert first.json["model"] == "odd"
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "even"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "8"},
    ]
    reply = await e.chat(messages=messages, headers=session, tools=TOOLS)
    assert reply.json["model"] == "odd"
    assert reply.headers["x-herdwise-attempts"] == "1"
    assert len(e.upstreams["even"].requests) == 0

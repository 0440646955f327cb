"""A teacher over real HTTP: its journal, its budget, and what is read from what it says."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from herdwise.backends.base import Backend
from herdwise.backends.embedded import Embedded
from herdwise.backends.openai_compatible import OpenAICompatible
from herdwise.core.candidate import Candidate
from herdwise.core.completion import Completion, Usage
from herdwise.core.errors import (
    ArtefactError,
    BackendError,
    ConfigError,
    InputError,
    TimeoutError_,
    UnsupportedError,
    UpstreamStatusError,
)
from herdwise.core.money import Price
from herdwise.experts.distil import distil
from herdwise.experts.examples import Example
from herdwise.experts.synthesise import prompts, read_queries, synthesise
from herdwise.experts.teacher import Teacher

Start = Callable[..., Awaitable[Any]]
SEEDS = [f"Double the number {n}." for n in range(12)]
PRICED = Candidate("teacher", price=Price(1.0, 1.0))


def doubling(body: Mapping[str, Any]) -> str:
    """Writes doubling questions after the examples it is shown; answers them when asked."""
    text = body["messages"][-1]["content"]
    if "JSON array" in text:
        first = int(re.findall(r"number (\d+)", text)[0])
        return json.dumps([f"Double the number {100 * (first + 1) + i}." for i in range(10)])
    number = int(re.findall(r"\d+", text)[-1])
    if "last line" in body["messages"][0]["content"]:
        return f"Twice {number} is {number} + {number}.\nThe answer is {2 * number}."
    return str(2 * number)


@pytest.fixture
async def make(faulty_upstream: Start, tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """``await make(answer)``: a server, and what makes teachers over it that share one journal."""
    backends: list[OpenAICompatible] = []

    async def start(answer: Callable[[Mapping[str, Any]], str] = doubling) -> tuple[Any, Any]:
        up = await faulty_upstream(models=("m",), answer=answer)
        backends.append(OpenAICompatible("teacher", up.base_url, model="m"))

        def teacher(candidate: Candidate = PRICED, **options: Any) -> Teacher:
            return Teacher(candidate, backends[-1], tmp_path / "journal.jsonl", **options)

        return up, teacher

    yield start
    for backend in backends:
        await backend.close()


async def test_queries_are_written_and_answered_and_none_is_a_seed(make: Any) -> None:
    up, teacher = await make()
    with teacher() as asked:
        written = await synthesise(asked, SEEDS, 25, task="Doubling")
        answered = await distil(asked, written.queries, shown=[Example("Double the number 3.", "6")])
    assert len(written.queries) == len(set(written.queries)) == 25
    assert not set(written.queries) & set(SEEDS)
    assert all(e.answer == str(2 * int(e.query.split()[-1][:-1])) for e in answered.examples)
    assert [e.query for e in answered.examples] == written.queries
    assert "Doubling" in up.bodies[0]["messages"][-1]["content"]
    shown = up.bodies[-1]["messages"]
    assert [m["content"] for m in shown[1:3]] == ["Double the number 3.", "6"]


async def test_what_was_paid_for_is_not_asked_again_after_a_kill_in_the_midst_of_a_line(
    make: Any, tmp_path: Path
) -> None:
    up, teacher = await make()
    with teacher() as asked:
        first = await synthesise(asked, SEEDS, 20)
        await distil(asked, first.queries)
        spent = asked.spent_usd
    n_calls = len(up.bodies)
    journal = tmp_path / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == n_calls
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    with teacher() as asked:
        again = await synthesise(asked, SEEDS, 20)
        answered = await distil(asked, again.queries)
        assert (asked.n_asked, asked.n_kept) == (1, n_calls - 1)
        assert asked.spent_usd == pytest.approx(spent)
    assert again.queries == first.queries
    assert len(answered.examples) == 20
    assert len(up.bodies) == n_calls + 1


async def test_the_budget_is_never_exceeded_and_ends_the_work_cleanly(make: Any) -> None:
    up, teacher = await make()
    with teacher(budget_usd=0.002, max_tokens=100) as asked:
        written = await synthesise(asked, SEEDS, 1000)
        answered = await distil(asked, written.queries)
        assert asked.spent_usd <= 0.002
    assert written.budget_spent
    assert 0 < len(written.queries) < 1000
    assert answered.n_left == len(written.queries) - len(answered.examples)
    with teacher(budget_usd=0.002, max_tokens=100) as asked:  # what was spent before counts
        n_calls = len(up.bodies)
        await synthesise(asked, SEEDS, 1000)
        assert asked.spent_usd <= 0.002
        assert len(up.bodies) - n_calls <= 2


async def test_the_budget_holds_for_writing_of_many_tokens_a_character(make: Any) -> None:
    # The upstream bills a token per byte, as tokenizers do for writing that they hardly know.
    text = "ಠ" * 300
    _, teacher = await make(lambda body: "x")
    with teacher(budget_usd=0.0005, max_tokens=10) as asked:
        assert asked.most_usd([{"role": "user", "content": text}]) >= len(text.encode()) / 1e6
        assert await asked.ask([{"role": "user", "content": text}]) is None
        assert asked.budget_spent


class Uneven(Backend):
    """Refuses one question at once, takes its time with the others; counts what it was asked."""

    name = "uneven"

    def __init__(self, error: type[BackendError] | None = None, status: int | None = None) -> None:
        self.asked: list[str] = []
        self._error, self._status = error, status

    async def complete(self, body: Mapping[str, Any]) -> Completion:
        text = body["messages"][-1]["content"]
        self.asked.append(text)
        if text.startswith("bad") and self._error is not None:
            await asyncio.sleep(0.01)
            raise self._error(f"no {text}", candidate="teacher", status=self._status)
        await asyncio.sleep(0.1 if text == "good" else 0)
        return Completion(candidate="teacher", text="42", finish_reason="stop", usage=Usage(1, 1))

    async def stream(self, body: Mapping[str, Any]) -> AsyncIterator[Any]:
        raise NotImplementedError
        yield

    async def probe(self) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("status", [401, 402, 404])
async def test_what_is_under_way_when_nothing_more_can_work_is_kept_and_nothing_more_is_asked(
    tmp_path: Path, status: int
) -> None:
    backend = Uneven(UpstreamStatusError, status)
    with (
        Teacher(PRICED, backend, tmp_path / "journal.jsonl", concurrency=2) as asked,
        pytest.raises(UpstreamStatusError, match="answered is kept"),
    ):
        await distil(asked, ["good", "bad", "later", "never"])
    assert backend.asked == ["good", "bad"]
    with Teacher(PRICED, backend, tmp_path / "journal.jsonl") as asked:
        await distil(asked, ["good"])
        assert (asked.n_asked, asked.n_kept) == (0, 1)


async def test_a_query_beyond_the_teachers_context_is_left_out_and_the_others_are_answered(
    nano_folder: Path, tmp_path: Path
) -> None:
    backend = Embedded("teacher", folder=nano_folder)
    long = "x" * 5000
    with Teacher(PRICED, backend, tmp_path / "journal.jsonl", max_tokens=5) as asked:
        found = await distil(asked, ["How many?", long])
        assert asked.n_asked == 1
        assert "x" not in {e.query[0] for e in found.examples}
        assert len(found.examples) + found.n_unread == 1
        assert found.n_set_aside == 1
        with pytest.raises(UnsupportedError, match="context"):
            await distil(asked, [long])
    await backend.close()


@pytest.mark.parametrize(
    ("error", "status"), [(UpstreamStatusError, 400), (UpstreamStatusError, 403), (TimeoutError_, None)]
)
async def test_a_query_that_the_teacher_refuses_is_set_aside_and_asked_again_by_a_later_run(
    tmp_path: Path, error: type[BackendError], status: int | None
) -> None:
    queries = [f"q{i}" for i in range(8)] + ["bad one", "bad two"]
    with Teacher(PRICED, Uneven(error, status), tmp_path / "journal.jsonl") as asked:
        found = await distil(asked, queries)
        assert asked.ending.error is None
        assert {(e.asked, e.reason) for e in asked.ending.set_aside} == {
            ("bad one", "no bad one"),
            ("bad two", "no bad two"),
        }
    assert ([e.query for e in found.examples], found.n_set_aside) == (queries[:8], 2)
    mended = Uneven()
    with Teacher(PRICED, mended, tmp_path / "journal.jsonl") as asked:
        assert len((await distil(asked, queries)).examples) == 10
    assert sorted(mended.asked) == ["bad one", "bad two"]


async def test_a_teacher_that_refuses_more_than_its_share_is_asked_no_more_and_goes_on_with_a_higher_one(
    tmp_path: Path,
) -> None:
    queries = [f"{'bad' if i % 2 else 'q'} {i}" for i in range(100)]
    backend = Uneven(UpstreamStatusError, 400)
    with (
        Teacher(PRICED, backend, tmp_path / "journal.jsonl", concurrency=1) as asked,
        pytest.raises(BackendError, match=r"11 of 22 asks failed, more than 20%; the last: no bad 21"),
    ):
        await distil(asked, queries)
    assert len(backend.asked) == 22
    backend.asked.clear()
    with Teacher(PRICED, backend, tmp_path / "journal.jsonl", max_refused=0.6) as asked:
        found = await distil(asked, queries)
        assert (asked.n_kept, len(found.examples), found.n_set_aside) == (11, 50, 50)


async def test_a_teacher_that_answers_nothing_raises_its_first_reason(tmp_path: Path) -> None:
    with Teacher(PRICED, Uneven(UpstreamStatusError, 400), tmp_path / "journal.jsonl") as asked:
        with pytest.raises(UpstreamStatusError, match="no bad 1"):
            await distil(asked, ["bad 1", "bad 2"])
        assert len(asked.ending.set_aside) == 2


async def test_a_prompt_that_the_teacher_refuses_costs_no_query(make: Any) -> None:
    up, teacher = await make()
    refused = ("server_error", {"status": 400, "message": "flagged by the filter"})
    up.behave(["ok", refused, "ok"])
    with teacher(concurrency=1) as asked:
        written = await synthesise(asked, SEEDS, 20)
        assert asked.ending.told() == "1 times candidate 'teacher' answered HTTP 400: flagged by the filter."
    assert (len(written.queries), written.n_set_aside) == (20, 1)
    up.behave(refused[0], **refused[1])
    with teacher(temperature=0.1) as asked, pytest.raises(BackendError, match="flagged"):
        await synthesise(asked, SEEDS, 20)


async def test_a_call_that_ran_out_of_time_counts_in_the_budgets_of_later_runs(
    tmp_path: Path,
) -> None:
    backend = Uneven(TimeoutError_)
    with Teacher(PRICED, backend, tmp_path / "journal.jsonl", budget_usd=1.0) as asked:
        most = asked.most_usd([{"role": "user", "content": "bad"}])
        with pytest.raises(TimeoutError_):
            await asked.ask([{"role": "user", "content": "bad"}])
        assert asked.spent_usd == pytest.approx(most)
    with Teacher(PRICED, backend, tmp_path / "journal.jsonl", budget_usd=1.0) as asked:
        assert asked.spent_usd == pytest.approx(most)


async def test_the_same_ask_made_twice_at_a_time_is_paid_for_once(tmp_path: Path) -> None:
    backend = Uneven()
    with Teacher(PRICED, backend, tmp_path / "journal.jsonl") as asked:
        await distil(asked, ["same", "same"])
    assert backend.asked == ["same"]


async def test_one_seed_gives_several_samples_and_a_later_run_reads_the_same_ones(make: Any) -> None:
    said = iter(range(100))
    up, teacher = await make(lambda body: json.dumps([f"Double {next(said)}."]))
    with teacher(concurrency=1) as asked:
        first = await synthesise(asked, ["Double 7?"], 3, per_prompt=1)
    assert len(first.queries) == 3
    n_calls = len(up.bodies)
    with teacher(concurrency=1) as asked:
        assert (await synthesise(asked, ["Double 7?"], 3, per_prompt=1)).queries == first.queries
    assert len(up.bodies) == n_calls


async def test_a_budget_without_a_price_is_refused(make: Any) -> None:
    _, teacher = await make()
    with pytest.raises(ConfigError, match="no price"):
        teacher(Candidate("teacher"), budget_usd=1.0)


async def test_two_processes_cannot_fill_one_journal_and_a_damaged_one_is_refused(
    make: Any, tmp_path: Path
) -> None:
    _, teacher = await make()
    with teacher(), pytest.raises(ConfigError, match="in use"):
        teacher()
    (tmp_path / "journal.jsonl").write_bytes(b"nonsense\n")
    with pytest.raises(ArtefactError, match="line 1"):
        teacher()


async def test_reasoning_is_kept_apart_from_the_answer(make: Any) -> None:
    _, teacher = await make()
    with teacher() as asked:
        (example,) = (await distil(asked, ["Double the number 21."], reasoning=True)).examples
    assert (example.answer, example.reasoning) == ("42", "Twice 21 is 21 + 21.")
    assert example.target(with_reasoning=True) == "Twice 21 is 21 + 21.\nThe answer is 42"


async def test_the_majority_of_several_samples_counts_and_without_one_there_is_no_example(make: Any) -> None:
    said = iter(["4", "5", "4", "1", "2", "3"])
    up, teacher = await make(lambda body: next(said))
    with teacher(concurrency=1) as asked:
        found = await distil(asked, ["2 + 2?"], samples=3)
        assert [e.answer for e in found.examples] == ["4"]
        none = await distil(asked, ["3 + 3?"], samples=3)
    assert (none.examples, none.n_disagreed) == ([], 1)
    assert len(up.bodies) == 6


async def test_refusals_and_answers_that_were_cut_off_are_no_examples(make: Any) -> None:
    _, teacher = await make(lambda body: "I'm sorry, but I can't help with that request.")
    with teacher() as asked:
        found = await distil(asked, ["How?"])
    assert (found.examples, found.n_refused) == ([], 1)


async def test_replies_without_a_list_are_counted_not_guessed_at(make: Any) -> None:
    _, teacher = await make(lambda body: "I would rather write a poem.")
    with teacher() as asked:
        found = await synthesise(asked, SEEDS, 10)
    assert (found.queries, found.n_unreadable) == ([], 2)


def test_every_prompt_shows_seeds_of_its_own_and_the_same_ones_each_time() -> None:
    asked = prompts(SEEDS, "", 30, shown=4, seed=1)
    assert asked == prompts(SEEDS, "", 30, shown=4, seed=1)
    assert len({msgspec.json.encode(messages) for messages in asked}) == 3
    with pytest.raises(InputError, match="no query"):
        prompts([" "], "", 5)


def test_queries_are_read_from_fenced_json_and_from_lists() -> None:
    assert read_queries('```json\n["a?", {"query": "b?"}, 3]\n```') == ["a?", "b?"]
    assert read_queries("Here:\n- a?\n* b?\n3. c?") == ["a?", "b?", "c?"]
    assert read_queries("[not json") == []

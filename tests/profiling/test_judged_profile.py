"""A profile whose answers a candidate judges, over real HTTP: what is asked, paid once, and left ungraded."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from herdwise.backends.openai_compatible import OpenAICompatible
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import ConfigError
from herdwise.core.money import Price
from herdwise.profiling.asking import Patience
from herdwise.profiling.benchmark import Item
from herdwise.profiling.estimate import estimate
from herdwise.profiling.journal import read_journal
from herdwise.profiling.profiler import JOURNAL, Profiler
from herdwise.storage.outcomes import read_outcomes, read_texts

Start = Callable[..., Awaitable[Any]]
QUICK = Patience(attempts=2, first_wait_s=0.01, longest_wait_s=0.02, give_up_after=2)
PRICED = Price(1.0, 2.0)


def items(n: int, *, turns: int = 1, **options: Any) -> list[Item]:
    made: list[Item] = []
    for i in range(n):
        for turn in range(turns):
            asked = f"{'Tell' if turn == 0 else 'Again'} {i}"
            made.append(
                Item(
                    id=f"{i}-{turn}",
                    text=asked,
                    messages=({"role": "user", "content": asked},),
                    grader="judge",
                    options={"candidate": "owl", **options},
                    benchmark=f"turn {turn + 1}",
                    after=made[-1].id if turn else None,
                )
            )
    return made


def tells(body: Any) -> str:
    said = body["messages"][-1]["content"]
    return f"tale of {said.split()[-1]}"


def rates(body: Any) -> str:
    """Even tales are good, odd ones bad."""
    number = int(re.findall(r"tale of (\d+)", body["messages"][-1]["content"])[-1])
    return f"Hm. [[{10 if number % 2 == 0 else 1}]]"


class Setup:
    """Candidates and a judge behind upstreams of ours."""

    def __init__(self, start: Start) -> None:
        self._start, self.ups, self.backends = start, {}, {}
        self.judge = Candidate("owl", price=PRICED)
        self.herd = Herd([])

    async def add(self, name: str, answer: Any = tells, *, profiled: bool = True) -> Any:
        up = self.ups[name] = await self._start(models=(name,), answer=answer)
        self.backends[name] = OpenAICompatible(name, up.base_url)
        if profiled:
            self.herd = Herd([*self.herd, Candidate(name, price=PRICED)])
        return up

    def profiler(self, asked: list[Item], **options: Any) -> Profiler:
        given = {"patience": QUICK, "judges": [self.judge], **options}
        return Profiler(self.herd, self.backends, asked, **given)


@pytest.fixture
async def setup(faulty_upstream: Start) -> Any:
    made = Setup(faulty_upstream)
    await made.add("ant")
    await made.add("owl", rates, profiled=False)
    yield made
    for backend in made.backends.values():
        await backend.close()


async def test_every_answer_is_judged_once_and_the_judges_cost_is_counted(
    setup: Setup, tmp_path: Path
) -> None:
    summary = await setup.profiler(items(6)).run(tmp_path)
    assert read_outcomes(tmp_path).matrix("quality")[:, 0].tolist() == [1.0, 0.0] * 3
    assert len(setup.ups["owl"].bodies) == 6
    assert {b["model"] for b in setup.ups["owl"].bodies} == {"owl"}
    assert {(b["temperature"], b["max_tokens"]) for b in setup.ups["owl"].bodies} == {(0.0, 1024)}
    [judge] = summary.judges
    replies = read_journal(tmp_path / JOURNAL).replies.values()
    cost = sum(r.cost_usd or 0 for r in replies)
    assert (judge.n, judge.cost_usd) == (6, pytest.approx(cost))
    assert summary.spent_usd == pytest.approx(cost + (summary.candidates[0].cost_usd or 0))
    # The judge is no candidate of the outcomes, and its cost no candidate's cost.
    assert read_outcomes(tmp_path).herd.names == ["ant"]


async def test_what_a_judge_said_is_never_asked_for_again(setup: Setup, tmp_path: Path) -> None:
    await setup.profiler(items(4)).run(tmp_path)
    setup.ups["owl"].requests.clear()
    again = await setup.profiler(items(4)).run(tmp_path)
    assert setup.ups["owl"].requests == []
    assert again.judges[0].n == 4
    # Another rubric asks other questions; the candidates are left alone.
    setup.ups["ant"].requests.clear()
    await setup.profiler(items(4, rubric="Rhymes?")).run(tmp_path)
    assert len(setup.ups["owl"].requests) == 4
    assert setup.ups["ant"].requests == []


async def test_answers_that_are_alike_are_judged_once(setup: Setup, tmp_path: Path) -> None:
    await setup.add("bee")
    summary = await setup.profiler(items(4)).run(tmp_path)
    assert len(setup.ups["owl"].bodies) == 4
    assert [c.quality for c in summary.candidates] == [0.5, 0.5]


async def test_another_model_behind_the_judge_judges_anew(setup: Setup, tmp_path: Path) -> None:
    await setup.profiler(items(2), identities={"owl": "owl-1"}).run(tmp_path)
    await setup.profiler(items(2), identities={"owl": "owl-2"}).run(tmp_path)
    assert len(setup.ups["owl"].bodies) == 4
    assert len(setup.ups["ant"].bodies) == 2


async def test_where_the_judge_fails_the_answer_is_kept_ungraded_and_judged_next_time(
    setup: Setup, tmp_path: Path
) -> None:
    setup.ups["owl"].behave(["ok", "context_length_exceeded", "ok"])
    first = await setup.profiler(items(4), concurrency=1).run(tmp_path)
    assert (first.n_outcomes, first.candidates[0].n_ungraded, first.candidates[0].n_not_asked) == (4, 1, 0)
    assert [(f.item, f.error) for f in first.failures] == [("1-0", "judge_upstream_status")]
    assert np.isnan(read_outcomes(tmp_path).matrix("quality")[1, 0])
    setup.ups["ant"].requests.clear()
    second = await setup.profiler(items(4), concurrency=1).run(tmp_path)
    assert (second.candidates[0].n_ungraded, second.candidates[0].quality) == (0, 0.5)
    assert setup.ups["ant"].requests == []
    assert len(setup.ups["owl"].bodies) == 5


async def test_a_dead_judge_stops_the_asking_that_could_not_be_graded(
    setup: Setup, tmp_path: Path, closed_port: int
) -> None:
    setup.backends["owl"] = OpenAICompatible("owl", f"http://127.0.0.1:{closed_port}/v1")
    summary = await setup.profiler(items(20), concurrency=1).run(tmp_path)
    assert summary.judges[0].gave_up is not None
    assert len(setup.ups["ant"].bodies) == 2
    assert summary.candidates[0].n_not_asked == 18


async def test_a_candidate_that_also_judges_is_never_asked_more_at_a_time_than_allowed(
    setup: Setup, tmp_path: Path
) -> None:
    most = 0

    def both(body: Any) -> str:
        nonlocal most
        most = max(most, setup.ups["owl"].in_flight)
        return rates(body) if "Rate the answer" in body["messages"][0]["content"] else tells(body)

    setup.ups["owl"].answer = both
    setup.ups["owl"].behave("slow", delay_s=0.02)
    setup.herd = Herd([*setup.herd, setup.judge])
    summary = await setup.profiler(items(8), concurrency={"ant": 6, "owl": 2}, judges=[]).run(tmp_path)
    assert 1 <= most <= 2
    assert [c.n_ungraded for c in summary.candidates] == [0, 0]


async def test_a_judge_that_is_overloaded_is_waited_for(setup: Setup, tmp_path: Path) -> None:
    setup.ups["owl"].behave(["server_error", "ok", ("rate_limited", {"retry_after": 1}), "ok"])
    summary = await setup.profiler(items(4), concurrency=1).run(tmp_path)
    assert (summary.candidates[0].quality, summary.failures) == (0.5, [])
    assert len(setup.ups["owl"].bodies) == 6


async def test_a_reply_without_a_rating_grades_nothing_and_is_not_asked_for_again(
    setup: Setup, tmp_path: Path
) -> None:
    setup.ups["owl"].answer = lambda body: "I would rather not."
    for _ in range(2):
        summary = await setup.profiler(items(2)).run(tmp_path)
        assert (summary.candidates[0].quality, summary.candidates[0].n_ungraded) == (None, 2)
    assert len(setup.ups["owl"].bodies) == 2


async def test_a_second_turn_carries_the_candidates_own_first_answer(setup: Setup, tmp_path: Path) -> None:
    setup.ups["ant"].answer = lambda body: f"<think>hm</think>{tells(body)} ({len(body['messages'])})"
    summary = await setup.profiler(items(3, turns=2)).run(tmp_path)
    second = [b["messages"] for b in setup.ups["ant"].bodies if len(b["messages"]) > 1]
    assert [[m["role"] for m in messages] for messages in second] == [["user", "assistant", "user"]] * 3
    assert {m[1]["content"] for m in second} == {f"tale of {i} (1)" for i in range(3)}
    assert read_texts(tmp_path)["1-1", "ant"].endswith("tale of 1 (3)")
    judged = [b["messages"][0]["content"] for b in setup.ups["owl"].bodies]
    assert sum("ASSISTANT: tale of" in text for text in judged) == 3
    assert [f.benchmark for f in summary.benchmarks] == ["turn 1", "turn 2"]
    # Turns of one conversation stand in one split.
    table = read_outcomes(tmp_path)
    assert table.splits[0::2] == table.splits[1::2]


async def test_a_turn_whose_first_has_no_answer_is_not_asked(setup: Setup, tmp_path: Path) -> None:
    setup.ups["ant"].behave(["context_length_exceeded", "ok"])
    first = await setup.profiler(items(2, turns=2), concurrency=1).run(tmp_path)
    assert [f.item for f in first.failures] == ["0-0"]
    assert (first.candidates[0].n, first.candidates[0].n_not_asked) == (2, 1)
    second = await setup.profiler(items(2, turns=2), concurrency=1).run(tmp_path)
    assert (second.candidates[0].n, second.failures) == (4, [])


async def test_grading_anew_asks_no_candidate_and_pays_no_reply_twice(setup: Setup, tmp_path: Path) -> None:
    await setup.profiler(items(4)).run(tmp_path)
    for up in setup.ups.values():
        up.requests.clear()
    same = await setup.profiler(items(4)).run(tmp_path, regrade=True)
    assert same.candidates[0].quality == 0.5
    worded = [
        Item(f"{i}-0", "other", ({"role": "user", "content": "other"},), "regex", options={"pattern": "tale"})
        for i in range(4)
    ]
    other = await setup.profiler(worded).run(tmp_path, regrade=True)
    assert other.candidates[0].quality == 1.0
    assert [up.requests for up in setup.ups.values()] == [[], []]
    with pytest.raises(ConfigError, match="not asked for"):
        await setup.profiler(worded[:2]).run(tmp_path, regrade=True)
    with pytest.raises(ConfigError, match="no profile to grade anew"):
        await setup.profiler(worded).run(tmp_path / "none", regrade=True)


async def test_a_judge_that_nobody_knows_is_refused_before_anything_is_asked(setup: Setup) -> None:
    with pytest.raises(ConfigError, match="asks 'eagle', which is no candidate"):
        setup.profiler(items(1, candidate="eagle"))
    with pytest.raises(ConfigError, match="no backend for owl"):
        Profiler(setup.herd, {"ant": setup.backends["ant"]}, items(1), judges=[setup.judge])


async def test_an_estimate_counts_the_judges_questions(setup: Setup, tmp_path: Path) -> None:
    profiler = setup.profiler(items(8, turns=2), sampling={"max_tokens": 10})
    ant, owl = estimate(profiler.plan, profiler.recorded(tmp_path))
    assert (ant.calls, ant.output_tokens, ant.judges) == (16, 160, False)
    assert (owl.calls, owl.output_tokens, owl.judges) == (16, 16 * 1024, True)
    assert owl.cost_usd is not None
    unknown = setup.profiler(items(8))
    assert estimate(unknown.plan, unknown.recorded(tmp_path))[1].input_tokens is None
    await profiler.run(tmp_path)
    assert [
        (e.calls, e.cost_usd, e.seconds) for e in estimate(profiler.plan, profiler.recorded(tmp_path))
    ] == [(0, 0.0, 0.0)] * 2

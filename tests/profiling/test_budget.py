"""A profile that may not cost more than so much: over real HTTP, with prices."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from herdwise.backends.openai_compatible import OpenAICompatible
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import ConfigError, HerdwiseError
from herdwise.core.money import FREE, UNKNOWN_PRICE, Price
from herdwise.profiling.asking import Patience
from herdwise.profiling.benchmark import Item
from herdwise.profiling.profiler import Profiler
from herdwise.profiling.spending import Budget, most_usd
from herdwise.storage.outcomes import read_outcomes

Start = Callable[..., Awaitable[Any]]
QUICK = Patience(attempts=2, first_wait_s=0.01, longest_wait_s=0.02, give_up_after=3)
#: A dollar per token of output: figures that can be counted on fingers.
BY_OUTPUT = Price(0.0, 1e6)
LIMIT = {"max_tokens": 4}


def words(n: int, grader: str = "regex", **options: Any) -> list[Item]:
    return [
        Item(f"w{i}", f"word {i}", ({"role": "user", "content": f"word {i}"},), grader, options=options)
        for i in range(n)
    ]


@pytest.fixture
async def herd_of(faulty_upstream: Start) -> Any:
    opened: list[OpenAICompatible] = []

    async def make(**prices: Price) -> tuple[dict[str, Any], Herd, dict[str, OpenAICompatible]]:
        ups = {
            name: await faulty_upstream(models=(name,), answer=lambda body: "two words") for name in prices
        }
        backends = {name: OpenAICompatible(name, up.base_url) for name, up in ups.items()}
        opened.extend(backends.values())
        return ups, Herd(Candidate(name, price=price) for name, price in prices.items()), backends

    yield make
    for backend in opened:
        await backend.close()


async def test_a_profile_stops_before_its_budget_and_goes_on_with_a_larger_one(
    herd_of: Any, tmp_path: Path
) -> None:
    ups, herd, backends = await herd_of(ant=BY_OUTPUT)

    async def run(budget_usd: float) -> Any:
        profiler = Profiler(
            herd,
            backends,
            words(10, pattern="two"),
            sampling=LIMIT,
            budget_usd=budget_usd,
            patience=QUICK,
        )
        return await profiler.run(tmp_path)

    # Two tokens each, but four held: the sixth would need 10 + 4.
    first = await run(13.0)
    assert (first.spent_usd, first.n_outcomes) == (10.0, 5)
    assert (first.candidates[0].over_budget, first.candidates[0].n_not_asked) == (True, 5)
    assert first.budget_usd == 13.0
    assert len(ups["ant"].bodies) == 5
    assert read_outcomes(tmp_path).n_outcomes == 5
    # What was spent counts again; nothing is asked twice.
    second = await run(13.0)
    assert (second.spent_usd, len(ups["ant"].bodies)) == (10.0, 5)
    third = await run(1000.0)
    assert (third.spent_usd, third.n_outcomes, len(ups["ant"].bodies)) == (20.0, 10, 10)
    assert not third.candidates[0].over_budget


async def test_when_the_budget_is_too_small_for_one_the_others_go_on(herd_of: Any, tmp_path: Path) -> None:
    _, herd, backends = await herd_of(cheap=Price(0.0, 1e5), dear=Price(0.0, 1e7), free=FREE)
    profiler = Profiler(herd, backends, words(6, pattern="two"), sampling=LIMIT, budget_usd=30.0)
    summary = await profiler.run(tmp_path)
    assert [(c.candidate, c.n, c.over_budget) for c in summary.candidates] == [
        ("cheap", 6, False),
        ("dear", 0, True),
        ("free", 6, False),
    ]
    assert summary.spent_usd == pytest.approx(1.2)


async def test_an_answer_that_broke_off_counts_at_its_most(herd_of: Any, tmp_path: Path) -> None:
    ups, herd, backends = await herd_of(ant=BY_OUTPUT)
    ups["ant"].behave(["truncated_json", "ok"])
    profiler = Profiler(
        herd,
        backends,
        words(4, pattern="two"),
        sampling=LIMIT,
        budget_usd=100.0,
        concurrency=1,
        patience=QUICK,
    )
    summary = await profiler.run(tmp_path)
    assert [f.error for f in summary.failures] == ["bad_response"]
    assert (summary.candidates[0].n, summary.spent_usd) == (3, 3 * 2 + 4)


async def test_an_answer_whose_judge_does_not_fit_ends_the_asking(herd_of: Any, tmp_path: Path) -> None:
    ups, herd, backends = await herd_of(ant=FREE, owl=BY_OUTPUT)
    ups["owl"].answer = lambda body: "[[10]]"
    profiler = Profiler(
        herd.subset(["ant"]),
        backends,
        words(9, "judge", candidate="owl", max_tokens=3),
        judges=[herd["owl"]],
        budget_usd=5.0,
        concurrency=1,
        patience=QUICK,
    )
    summary = await profiler.run(tmp_path)
    # One token a reply, three held: the fourth would need 3 + 3.
    assert (len(ups["owl"].bodies), len(ups["ant"].bodies), summary.spent_usd) == (3, 4, 3.0)
    assert summary.judges[0].over_budget
    assert (summary.candidates[0].n_ungraded, summary.candidates[0].n_not_asked) == (1, 5)


async def test_a_budget_that_holds_nothing_fails(herd_of: Any, tmp_path: Path) -> None:
    ups, herd, backends = await herd_of(ant=BY_OUTPUT)
    profiler = Profiler(herd, backends, words(1, pattern="x"), sampling=LIMIT, budget_usd=1.0)
    with pytest.raises(HerdwiseError, match=r"the first ask could cost more than 1\.0 USD"):
        await profiler.run(tmp_path)
    assert ups["ant"].bodies == []


def test_a_budget_needs_prices_and_a_limit_on_the_answers() -> None:
    def made(price: Price, **options: Any) -> Profiler:
        herd = Herd([Candidate("ant", price=price)])
        backends: Any = {"ant": None}
        return Profiler(herd, backends, words(1, pattern="x"), budget_usd=1.0, **options)

    with pytest.raises(ConfigError, match="the price of ant is unknown"):
        made(UNKNOWN_PRICE, sampling=LIMIT)
    with pytest.raises(ConfigError, match="length has no limit"):
        made(BY_OUTPUT)
    with pytest.raises(ConfigError, match="at least 0"):
        Profiler(Herd([]), {}, words(1, pattern="x"), budget_usd=-1.0)
    made(FREE)
    made(BY_OUTPUT, sampling=LIMIT)


def test_the_most_that_an_ask_can_cost_counts_bytes_and_the_limit() -> None:
    said = [{"role": "user", "content": "ü" * 50}]
    most = most_usd(Price(1.0, 2.0), said, {"max_tokens": 10})
    assert most is not None
    assert most * 1e6 >= 100 + 20
    assert most_usd(Price(1.0, 2.0), said, {}) is None
    assert most_usd(Price(1.0, None), said, {"max_tokens": 1}) is None
    assert most_usd(FREE, said, {}) == 0.0


def test_the_most_that_an_ask_can_cost_counts_every_choice_and_calls_of_tools() -> None:
    price, asked = Price(1.0, 1.0), {"role": "user", "content": "How?"}
    one = most_usd(price, [asked], {"max_tokens": 100})
    assert one is not None
    assert most_usd(price, [asked], {"max_tokens": 100, "n": 5}) == pytest.approx(one + 400e-6)
    called = {"role": "assistant", "content": None, "tool_calls": [{"function": {"arguments": "x" * 1000}}]}
    more = most_usd(price, [asked, called], {"max_tokens": 100})
    assert more is not None
    assert more > one + 1000e-6


async def test_what_does_not_fit_waits_for_what_is_open() -> None:
    budget = Budget(10.0, 4.0)
    assert await budget.hold(6.0)
    waiting = asyncio.create_task(budget.hold(5.0))
    await asyncio.sleep(0)
    assert not waiting.done()
    await budget.settle(6.0, 1.0)
    assert await waiting
    assert not await asyncio.wait_for(_refused(budget), 5)
    assert budget.spent_usd == 10.0


async def _refused(budget: Budget) -> bool:
    await budget.settle(5.0, 5.0)
    return await budget.hold(0.5)

"""A profile over real HTTP: what is asked, graded, written, resumed and left out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from herdwise.backends.openai_compatible import OpenAICompatible
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.completion import Completion
from herdwise.core.errors import ConfigError, HerdwiseError, ItemsError
from herdwise.core.money import Price
from herdwise.profiling.asking import Patience
from herdwise.profiling.benchmark import Item
from herdwise.profiling.by_benchmark import wilson
from herdwise.profiling.estimate import estimate
from herdwise.profiling.graders.base import GRADERS, Grade
from herdwise.profiling.graders.exact import Exact
from herdwise.profiling.profiler import JOURNAL, Profiler
from herdwise.profiling.sources import read_benchmark
from herdwise.storage.outcomes import read_outcomes, read_texts

Start = Callable[..., Awaitable[Any]]
QUICK = Patience(attempts=3, first_wait_s=0.01, longest_wait_s=0.02, give_up_after=3)
PRICED = Price(1.0, 2.0)


def sums(n: int) -> list[Item]:
    return [
        Item(
            id=f"sum-{i}",
            text=f"{i} + 1?",
            messages=({"role": "user", "content": f"{i} + 1?"},),
            grader="exact",
            reference=str(i + 1),
            benchmark="sums",
        )
        for i in range(n)
    ]


def right(body: Any) -> str:
    return f"The answer is {int(body['messages'][-1]['content'].split()[0]) + 1}."


def wrong(body: Any) -> str:
    return "The answer is 1000000."


class Setup:
    """Candidates behind upstreams of ours, and profilers over them."""

    def __init__(self, start: Start) -> None:
        self._start, self.ups, self.backends = start, {}, {}
        self.herd = Herd([])

    async def add(self, name: str, answer: Any = right, price: Price = PRICED) -> Any:
        up = self.ups[name] = await self._start(models=(name,), answer=answer)
        self.backends[name] = OpenAICompatible(name, up.base_url)
        self.herd = Herd([*self.herd, Candidate(name, price=price)])
        return up

    def profiler(self, items: list[Item], **options: Any) -> Profiler:
        return Profiler(self.herd, self.backends, items, **{"patience": QUICK, **options})

    def asked(self, name: str) -> Counter[str]:
        return Counter(b["messages"][-1]["content"] for b in self.ups[name].bodies)


@pytest.fixture
async def setup(faulty_upstream: Start) -> Any:
    made = Setup(faulty_upstream)
    yield made
    for backend in made.backends.values():
        await backend.close()


async def test_every_pair_is_asked_once_graded_and_written(setup: Setup, tmp_path: Path) -> None:
    await setup.add("ant")
    await setup.add("bee", wrong, Price(None, None))
    seen: list[tuple[int, int]] = []
    summary = await setup.profiler(sums(12)).run(tmp_path / "out", progress=lambda *p: seen.append(p))
    table = read_outcomes(tmp_path / "out")
    assert table.matrix("quality").tolist() == [[1.0, 0.0]] * 12
    assert set(setup.asked("ant").values()) == set(setup.asked("bee").values()) == {1}
    assert seen == [(i + 1, 24) for i in range(24)]
    assert table.answers is not None
    assert table.answers.tolist()[:2] == ["1", "1000000"]
    assert read_texts(tmp_path / "out")["sum-3", "ant"] == "The answer is 4."
    assert set(table.split_names()) == {"train", "test"}
    assert "fingerprint" in table.source
    ant, bee = summary.candidates
    assert (ant.n, ant.quality, bee.quality) == (12, 1.0, 0.0)
    assert bee.cost_usd is None
    tokens = table.matrix("input_tokens")[:, 0] + 2 * table.matrix("output_tokens")[:, 0]
    assert ant.cost_usd == pytest.approx(float(tokens.sum()) / 1e6)
    assert table.matrix("cost_usd")[:, 0] == pytest.approx(tokens / 1e6)
    assert np.isnan(table.matrix("cost_usd")[:, 1]).all()


async def test_logprobs_are_recorded_where_the_backend_gives_them(setup: Setup, tmp_path: Path) -> None:
    up = await setup.add("ant")
    up.logprob = -0.25
    await setup.profiler(sums(2), sampling={"logprobs": True}).run(tmp_path / "out")
    table = read_outcomes(tmp_path / "out")
    # "The", " answer", " is", " 2." at a quarter each; the answer stands in one of them.
    for column in ("mean_logprob", "min_logprob", "answer_logprob"):
        assert table.matrix(column).tolist() == [[-0.25]] * 2
    await setup.profiler(sums(2)).run(tmp_path / "plain")
    assert not read_outcomes(tmp_path / "plain").has("mean_logprob")


async def test_sampling_goes_with_every_ask_and_samples_are_rows_of_their_own(
    setup: Setup, tmp_path: Path
) -> None:
    up = await setup.add("ant")
    profiler = setup.profiler(sums(3), samples=2, sampling={"temperature": 0.7, "max_tokens": 9})
    await profiler.run(tmp_path)
    assert {(b["temperature"], b["max_tokens"]) for b in up.bodies} == {(0.7, 9)}
    table = read_outcomes(tmp_path)
    assert sorted(table.sample.tolist()) == [0, 0, 0, 1, 1, 1]


async def test_a_dead_candidate_is_named_and_has_no_rows_and_the_others_are_whole(
    setup: Setup, tmp_path: Path, closed_port: int
) -> None:
    await setup.add("ant")
    setup.backends["gone"] = OpenAICompatible("gone", f"http://127.0.0.1:{closed_port}/v1")
    setup.herd = Herd([*setup.herd, Candidate("gone")])
    summary = await setup.profiler(sums(20), concurrency=1).run(tmp_path)
    ant, gone = summary.candidates
    assert (ant.n, ant.n_not_asked, ant.gave_up) == (20, 0, None)
    assert (gone.n, gone.quality, gone.failures) == (0, None, {"connect_error": 3})
    assert gone.n_not_asked == 17
    assert gone.gave_up is not None
    assert {f.candidate for f in summary.failures} == {"gone"}
    assert np.isnan(read_outcomes(tmp_path).matrix("quality")[:, 1]).all()


async def test_a_failure_is_never_graded_and_is_asked_again_next_time(setup: Setup, tmp_path: Path) -> None:
    up = await setup.add("ant")
    up.behave(["ok", "context_length_exceeded", "ok"])
    first = await setup.profiler(sums(5), concurrency=1).run(tmp_path)
    assert (first.n_outcomes, [f.item for f in first.failures]) == (4, ["sum-1"])
    assert np.isfinite(read_outcomes(tmp_path).matrix("quality")).sum() == 4
    second = await setup.profiler(sums(5), concurrency=1).run(tmp_path)
    assert (second.n_outcomes, second.n_resumed, second.failures) == (5, 4, [])
    assert setup.asked("ant") == Counter({f"{i} + 1?": 1 + (i == 1) for i in range(5)})


async def test_a_finished_profile_asks_nothing_more(setup: Setup, tmp_path: Path) -> None:
    up = await setup.add("ant")
    await setup.profiler(sums(4)).run(tmp_path)
    up.requests.clear()
    summary = await setup.profiler(sums(4)).run(tmp_path)
    assert (summary.n_resumed, up.requests) == (4, [])


async def test_a_mended_reference_is_graded_anew_without_asking(setup: Setup, tmp_path: Path) -> None:
    up = await setup.add("ant")
    items = sums(4)
    items[2] = replace(items[2], reference="wrong by mistake")
    first = await setup.profiler(items).run(tmp_path)
    up.requests.clear()
    second = await setup.profiler(sums(4)).run(tmp_path)
    assert (first.candidates[0].quality, second.candidates[0].quality) == (0.75, 1.0)
    assert up.requests == []


async def test_a_grader_that_breaks_is_loud_and_costs_no_second_ask(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Exact):
        def grade(self, item: Item, completion: Completion) -> Grade:
            raise ConfigError("the sandbox cannot start.")

    up = await setup.add("ant")
    with monkeypatch.context() as patched:
        patched.setitem(GRADERS._loaded, "exact", Broken)
        with pytest.raises(ConfigError, match="the sandbox cannot start"):
            await setup.profiler(sums(4), concurrency=1).run(tmp_path)
    assert len(up.bodies) == 1
    summary = await setup.profiler(sums(4)).run(tmp_path)
    assert (summary.n_resumed, summary.candidates[0].quality) == (1, 1.0)
    assert len(up.bodies) == 4


async def test_what_is_under_way_when_a_grader_breaks_is_kept(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Exact):
        def grade(self, item: Item, completion: Completion) -> Grade:
            if completion.candidate == "ant":
                raise ConfigError("the sandbox cannot start.")
            return super().grade(item, completion)

    await setup.add("ant")
    slow = await setup.add("slow")
    slow.behave("slow", delay_s=0.3)
    with monkeypatch.context() as patched:
        patched.setitem(GRADERS._loaded, "exact", Broken)
        with pytest.raises(ConfigError, match="the sandbox cannot start"):
            await setup.profiler(sums(4), concurrency=1).run(tmp_path)
    assert len(slow.bodies) == 1
    summary = await setup.profiler(sums(4)).run(tmp_path)
    assert summary.n_resumed == 2
    assert setup.asked("slow").most_common(1)[0][1] == 1


@pytest.mark.parametrize("change", ["items", "sampling", "identities", "herd"])
async def test_another_profiles_journal_is_refused(setup: Setup, tmp_path: Path, change: str) -> None:
    await setup.add("ant")
    await setup.profiler(sums(4)).run(tmp_path)
    if change == "herd":
        await setup.add("bee")
    options: dict[str, Any] = {
        "sampling": {"sampling": {"temperature": 1.0}},
        "identities": {"identities": {"ant": "another model"}},
    }.get(change, {})
    with pytest.raises(ConfigError, match="another profile"):
        await setup.profiler(sums(5 if change == "items" else 4), **options).run(tmp_path)


async def test_outcomes_that_no_profile_made_are_not_written_over(setup: Setup, tmp_path: Path) -> None:
    await setup.add("ant")
    await setup.profiler(sums(2)).run(tmp_path)
    (tmp_path / JOURNAL).unlink()
    with pytest.raises(ConfigError, match="no profile made"):
        await setup.profiler(sums(2)).run(tmp_path)
    assert read_outcomes(tmp_path).n_outcomes == 2


async def test_no_more_asks_are_open_than_allowed(setup: Setup, tmp_path: Path) -> None:
    most = 0

    def counting(body: Any) -> str:
        nonlocal most
        most = max(most, setup.ups["ant"].in_flight)
        return right(body)

    up = await setup.add("ant", counting)
    up.behave("slow", delay_s=0.02)
    await setup.profiler(sums(12), concurrency={"ant": 3}).run(tmp_path)
    assert 1 <= most <= 3


async def test_a_refused_and_an_empty_answer_were_run_and_are_worth_nothing(
    setup: Setup, tmp_path: Path
) -> None:
    await setup.add("ant", lambda body: "I'm sorry, but I can't help with that.")
    up = await setup.add("bee")
    up.behave("empty_answer")
    summary = await setup.profiler(sums(3)).run(tmp_path)
    assert [c.quality for c in summary.candidates] == [0.0, 0.0]
    assert [c.n for c in summary.candidates] == [3, 3]
    assert summary.candidates[1].n_unread == 3


async def test_when_nobody_answers_anything_the_profile_fails(
    setup: Setup, tmp_path: Path, closed_port: int
) -> None:
    setup.backends["gone"] = OpenAICompatible("gone", f"http://127.0.0.1:{closed_port}/v1")
    setup.herd = Herd([Candidate("gone")])
    with pytest.raises(HerdwiseError, match="no candidate answered"):
        await setup.profiler(sums(2)).run(tmp_path)


async def test_an_estimate_counts_what_is_missing_and_says_what_is_unknown(
    setup: Setup, tmp_path: Path
) -> None:
    await setup.add("ant")
    await setup.add("bee", right, Price(None, None))
    profiler = setup.profiler(sums(8))

    def now(max_tokens: int | None) -> list[Any]:
        limit = {} if max_tokens is None else {"max_tokens": max_tokens}
        plan = setup.profiler(sums(8), sampling=limit).plan
        return estimate(plan, profiler.recorded(tmp_path))

    ant, bee = now(None)
    assert (ant.calls, ant.output_tokens, ant.basis, ant.cost_usd) == (8, None, "unknown", None)
    ant, bee = now(100)
    assert (ant.output_tokens, ant.basis) == (800, "limit")
    assert ant.cost_usd == pytest.approx((ant.input_tokens + 2 * 800) / 1e6)
    assert bee.cost_usd is None
    await profiler.run(tmp_path)
    assert [(e.calls, e.basis, e.cost_usd) for e in now(None)] == [(0, "recorded", 0.0)] * 2


def test_no_items_and_an_id_that_stands_twice_are_refused() -> None:
    with pytest.raises(ItemsError, match="no items"):
        Profiler(Herd([]), {}, [])
    with pytest.raises(ItemsError, match="'sum-0' stands twice"):
        Profiler(Herd([]), {}, [*sums(1), *sums(1)])


def test_a_candidate_without_a_backend_is_refused() -> None:
    with pytest.raises(ConfigError, match="no backend for ant"):
        Profiler(Herd([Candidate("ant")]), {}, sums(1))


def test_the_interval_stays_within_bounds() -> None:
    assert wilson(0.0, 5)[0] == 0.0
    assert wilson(1.0, 5)[1] == 1.0
    assert wilson(1.0, 5)[0] == pytest.approx(0.5655, abs=1e-3)


async def test_how_far_it_is_tells_money_and_time(setup: Setup, tmp_path: Path) -> None:
    await setup.add("ant")
    profiler = setup.profiler(sums(6), concurrency=1)
    assert profiler.standing() is None
    told: list[Any] = []
    summary = await profiler.run(tmp_path, progress=lambda done, total: told.append(profiler.standing()))
    assert [s.done for s in told] == [1, 2, 3, 4, 5, 6]
    assert all(s.left_s > 0 and s.total_usd > s.spent_usd > 0 for s in told[:-1])
    assert (told[-1].left_s, told[-1].total_usd) == (0.0, told[-1].spent_usd)
    assert (
        told[-1].spent_usd
        == pytest.approx(summary.spent_usd)
        == pytest.approx(summary.candidates[0].cost_usd)
    )


async def test_money_that_is_unknown_is_told_to_be_so(setup: Setup, tmp_path: Path) -> None:
    await setup.add("ant", right, Price(None, None))
    profiler = setup.profiler(sums(3))
    summary = await profiler.run(tmp_path)
    standing = profiler.standing()
    assert standing is not None
    assert (standing.spent_usd, standing.total_usd, summary.spent_usd) == (None, None, None)


async def test_an_items_own_request_is_sent_under_the_sampling(setup: Setup, tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "add", "parameters": {}}}
    up = await setup.add("ant")
    items = [
        replace(sums(1)[0], request={"stop": ["x"], "max_tokens": 5, "tools": [tool], "tool_choice": "none"})
    ]
    await setup.profiler(items, sampling={"max_tokens": 9}).run(tmp_path)
    [body] = up.bodies
    assert (body["stop"], body["max_tokens"], body["tools"]) == (["x"], 9, [tool])
    assert read_outcomes(tmp_path).recorded_tools(0) == (tool,)


async def test_figures_per_benchmark_and_their_oracle(setup: Setup, tmp_path: Path) -> None:
    await setup.add(
        "even", lambda body: right(body) if int(body["messages"][0]["content"][0]) % 2 == 0 else "0"
    )
    await setup.add("odd", lambda body: right(body) if int(body["messages"][0]["content"][0]) % 2 else "0")
    items = [replace(item, benchmark="low" if i < 4 else "high") for i, item in enumerate(sums(6))]
    summary = await setup.profiler(items).run(tmp_path)
    assert [(b.benchmark, b.n_items, b.oracle, b.n_oracle) for b in summary.benchmarks] == [
        ("low", 4, 1.0, 4),
        ("high", 2, 1.0, 2),
    ]
    assert [[c.quality for c in b.candidates] for b in summary.benchmarks] == [[0.5, 0.5], [0.5, 0.5]]


async def test_an_endless_pattern_ends_the_profile_and_is_graded_once_it_is_mended(
    setup: Setup, tmp_path: Path
) -> None:
    up = await setup.add("ant", answer=lambda body: "a" * 40 + "b")

    def profiler(pattern: str) -> Profiler:
        file = tmp_path / "items.jsonl"
        file.write_text(json.dumps({"id": "i", "question": "q", "grader": "regex", "answer": pattern}))
        return setup.profiler(list(read_benchmark(str(file))))

    with pytest.raises(ItemsError, match=r"items.jsonl, line 1, reference of item 'i': .* 2 seconds"):
        await profiler("(a+)+$").run(tmp_path / "out")
    assert not (tmp_path / "out" / "outcomes.parquet").exists()
    summary = await profiler("a+b$").run(tmp_path / "out")
    assert summary.n_resumed == 1
    assert len(up.bodies) == 1
    assert read_outcomes(tmp_path / "out").matrix("quality").tolist() == [[1.0]]

"""One run of a profile: workers that ask, have judged, grade and write down."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

from herdwise.answers.extract import without_thinking
from herdwise.answers.logprobs import token_logprobs
from herdwise.core.completion import Completion, Usage
from herdwise.core.errors import BackendError, BadResponseError, TimeoutError_
from herdwise.core.money import Price
from herdwise.profiling.asking import Asker
from herdwise.profiling.benchmark import Item, conversations
from herdwise.profiling.graders.base import AskingGrader, Grade, Messages
from herdwise.profiling.journal import Answered, Failed, Graded, Journal, Pair, Replied, question_digest
from herdwise.profiling.plan import Judge, Plan
from herdwise.profiling.spending import Budget, most_usd

#: Called with (done, total) pairs.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a run is.

    Args:
        done, total: pairs.
        spent_usd: so far, earlier runs and judges included; None when the price of any part is unknown.
        total_usd: estimate for the whole, from the mean so far; None = unknown yet.
        left_s: estimate until the slowest candidate is done; None = unknown yet.
    """

    done: int
    total: int
    spent_usd: float | None
    total_usd: float | None
    left_s: float | None


class Run:
    """One run.

    Args:
        plan: what to ask.
        journal: where it is written, and what is there already.
        budget_usd: spend no more than that, earlier runs included; None = no limit.
        progress: called after each pair.
        grade_only: ask no candidate, and grade every recorded answer anew.
    """

    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        *,
        budget_usd: float | None = None,
        progress: Progress | None = None,
        grade_only: bool = False,
    ) -> None:
        self._plan, self._journal, self._progress, self._grade_only = plan, journal, progress, grade_only
        record = journal.record
        paid: list[Answered | Replied] = [*record.answers.values(), *record.replies.values()]
        self.budget = Budget(
            budget_usd, sum(p.cost_usd or p.at_most_usd or 0.0 for p in paid) + record.lost_usd
        )
        self.failures: list[Failed] = []
        #: Candidates and judges whose next ask did not fit the budget.
        self.over_budget: set[str] = set()
        self._slots = {name: asyncio.Semaphore(n) for name, n in plan.limits.items()}
        # Code under test shares the machine with its own clock: more at a time would only time out.
        self._grading = asyncio.Semaphore(os.cpu_count() or 1)
        self._asking: dict[str, asyncio.Lock] = {}
        self._began_s = time.monotonic()
        self._done = 0
        self._left = Counter({name: len(plan.items) * plan.samples for name in plan.herd.names})
        self._asked = Counter[str]()
        self._took_usd: dict[str, float] = dict.fromkeys(plan.herd.names, 0.0)
        self._unknown_usd = any(p.cost_usd is None for p in paid)
        #: What ends the run: a grader that broke, a full disk.
        self._broken: Exception | None = None

    async def work(self) -> None:
        """Ask, have judged and grade all that is missing.

        Raises:
            HerdwiseError: when a grader breaks.
        """
        talks = conversations(self._plan.items)
        async with asyncio.TaskGroup() as group:
            for name in self._plan.herd.names:
                groups = deque((turns, sample) for sample in range(self._plan.samples) for turns in talks)
                for _ in range(self._plan.limits[name]):
                    group.create_task(self._worker(name, groups))
        if self._broken is not None:
            raise self._broken

    def standing(self) -> Standing:
        """See ``Standing``."""
        elapsed_s = time.monotonic() - self._began_s
        total_usd: float | None = self.budget.spent_usd
        left_s = 0.0
        for name, left in self._left.items():
            if not left or self._stopped(name):
                continue
            if not self._asked[name]:
                return Standing(self._done, self._plan.n_pairs, self._spent(), None, None)
            left_s = max(left_s, left * elapsed_s / self._asked[name])
            if total_usd is not None:
                total_usd += left * self._took_usd[name] / self._asked[name]
        known = None if self._unknown_usd else total_usd
        return Standing(self._done, self._plan.n_pairs, self._spent(), known, left_s)

    def _spent(self) -> float | None:
        return None if self._unknown_usd else self.budget.spent_usd

    async def _worker(self, name: str, groups: deque[tuple[list[Item], int]]) -> None:
        try:
            while groups:
                turns, sample = groups.popleft()
                await asyncio.sleep(0)  # where nothing needs asking, others still get their turn
                for item in turns:
                    if self._broken is not None:
                        return
                    await self._one(name, item, sample)
                    self._done += 1
                    self._left[name] -= 1
                    if self._progress is not None:
                        self._progress(self._done, self._plan.n_pairs)
        except Exception as error:  # noqa: BLE001 - raised again once all have ended
            # Nobody is cancelled for it: the answers that are under way are paid for.
            self._broken = self._broken or error

    async def _one(self, name: str, item: Item, sample: int) -> None:
        pair: Pair = (item.id, name, sample)
        record = self._journal.record
        messages = self._conversation(item, name, sample)
        answered = record.answers.get(pair)
        if answered is None:
            if messages is None or self._grade_only or self._stopped(name, item):
                return
            answered = await self._answer(pair, item, messages)
            if answered is None:
                return
            self._journal.add(answered)
            record.answers[pair] = answered
        graded = record.grades.get(pair)
        if graded is not None and graded.by == self._plan.digests[item.id] and not self._grade_only:
            return
        grade = await self._grade(pair, replace(item, messages=messages or item.messages), answered)
        if grade is None:
            return
        graded = Graded(*pair, self._plan.digests[item.id], grade.quality, grade.answer, grade.note)
        self._journal.add(graded)
        record.grades[pair] = graded

    def _stopped(self, name: str, item: Item | None = None) -> bool:
        """Whether a candidate is asked no more, or the item's judge is not, who would have to grade it."""
        if self._plan.askers[name].gave_up is not None or name in self.over_budget:
            return True
        judge = None if item is None else self._plan.judge_of(item)
        return judge is not None and (
            judge.asker.gave_up is not None or judge.candidate.name in self.over_budget
        )

    def _conversation(self, item: Item, name: str, sample: int) -> Messages | None:
        """All that is sent: the turns before with this candidate's own answers; None where one is missing."""
        if item.after is None:
            return item.messages
        first = self._plan.by_id[item.after]
        before = self._conversation(first, name, sample)
        answered = self._journal.record.answers.get((first.id, name, sample))
        if before is None or answered is None:
            return None
        said = {"role": "assistant", "content": without_thinking(answered.text).strip()}
        return (*before, said, *item.messages)

    async def _answer(self, pair: Pair, item: Item, messages: Messages) -> Answered | None:
        name = pair[1]
        request, price = self._plan.request(item), self._plan.herd[name].price
        completion = await self._paid(self._plan.askers[name], name, price, messages, request, pair, "")
        if completion is None:
            return None
        paid = _paid_for(completion, price, messages, request)
        return Answered(*pair, tokens=token_logprobs([completion.body]) or None, **paid)

    async def _paid(
        self,
        asker: Asker,
        who: str,
        price: Price,
        messages: Messages,
        request: Mapping[str, Any],
        pair: Pair,
        kind: str,
    ) -> Completion | None:
        """One ask within budget and concurrency; None where it does not fit or fails, which is recorded."""
        most = most_usd(price, messages, request)
        if not await self.budget.hold(most or 0.0):
            self.over_budget.add(who)
            return None
        took = 0.0
        try:
            async with self._slots[who]:
                if asker.gave_up is not None:
                    return None
                completion = await asker.ask({"messages": list(messages), **request})
            cost = price.cost_usd(completion.usage.input_tokens, completion.usage.output_tokens)
            self._unknown_usd |= cost is None
            took = cost if cost is not None else most or 0.0
            return completion
        except BackendError as error:
            # Work was done for these, and may be billed.
            billed = most if isinstance(error, TimeoutError_ | BadResponseError) else None
            took = billed or 0.0
            failed = Failed(*pair, kind + error.kind, error.message, billed or None)
            self.failures.append(failed)
            self._journal.add(failed)
            return None
        finally:
            self._asked[pair[1]] += not kind
            self._took_usd[pair[1]] += took
            await self.budget.settle(most or 0.0, took)

    async def _grade(self, pair: Pair, item: Item, answered: Answered) -> Grade | None:
        completion = Completion(
            candidate=pair[1],
            text=answered.text,
            finish_reason=answered.finish_reason,
            usage=Usage(answered.input_tokens, answered.output_tokens),
            latency_s=answered.latency_s,
        )
        grader, judge = self._plan.graders[item.id], self._plan.judge_of(item)
        if judge is None or not isinstance(grader, AskingGrader):
            if grader.quick:
                return grader.grade(item, completion)
            async with self._grading:
                return await asyncio.to_thread(grader.grade, item, completion)
        replies: list[str] = []
        for question in grader.questions(item, completion):
            reply = await self._reply(pair, judge, question, grader.request)
            if reply is None:
                return None
            replies.append(reply)
        return grader.grade(item, completion, replies)

    async def _reply(
        self, pair: Pair, judge: Judge, question: Messages, request: Mapping[str, Any]
    ) -> str | None:
        """A judge's reply: the recorded one, else asked for once, however many answers raise the question."""
        asked, name = question_digest(judge.identity, question, request), judge.candidate.name
        async with AsyncExitStack() as stack:
            if asked not in self._journal.record.replies:
                await stack.enter_async_context(self._asking.setdefault(asked, asyncio.Lock()))
            found = self._journal.record.replies.get(asked)
            if found is not None:
                return found.text
            if judge.asker.gave_up is not None or name in self.over_budget:
                return None
            price = judge.candidate.price
            completion = await self._paid(judge.asker, name, price, question, request, pair, "judge_")
            if completion is None:
                return None
            replied = Replied(name, asked, **_paid_for(completion, price, question, request))
            self._journal.add(replied)
            self._journal.record.replies[asked] = replied
            return replied.text


def _paid_for(
    completion: Completion, price: Price, messages: Messages, request: Mapping[str, Any]
) -> dict[str, Any]:
    """What the journal keeps of a call."""
    used = completion.usage
    cost = price.cost_usd(used.input_tokens, used.output_tokens)
    return {
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "input_tokens": used.input_tokens,
        "output_tokens": used.output_tokens,
        "latency_s": completion.latency_s,
        "cost_usd": cost,
        "at_most_usd": most_usd(price, messages, request) if cost is None else None,
    }

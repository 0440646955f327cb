"""Answers of a teacher, for an expert to learn from: black-box distillation.

Sources: Hsieh et al., Distilling Step-by-Step (2023), for answers with their reasoning; Wang et al.,
Self-Consistency (2023), for the majority of several samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from herdwise.answers.agree import groups
from herdwise.answers.extract import read_short_text, without_thinking
from herdwise.answers.refusal import read_refusal
from herdwise.core.errors import BackendError
from herdwise.experts.examples import ANSWER_MARK, Example
from herdwise.experts.teacher import Teacher, all_of

Progress = Callable[[int, int], None]

_SHORT = "Answer with the answer alone: no explanation, no punctuation around it."
_STEPS = f'Think in few short steps. Then write a last line: "{ANSWER_MARK}" and the answer alone.'


@dataclass(frozen=True, slots=True)
class Distilled:
    """What a teacher answered.

    Args:
        examples: one per query that was answered, in the order of the queries.
        n_refused: queries that it refused.
        n_unread: queries whose answer could not be read, or was cut off.
        n_set_aside: queries on which the teacher failed, or that are beyond it.
        n_disagreed: queries on which too few of its samples agreed.
        n_left: queries that the budget did not reach.
    """

    examples: list[Example]
    n_refused: int
    n_unread: int
    n_set_aside: int
    n_disagreed: int
    n_left: int


def messages_for(
    query: str, *, task: str = "", shown: Sequence[Example] = (), reasoning: bool = False
) -> list[dict[str, Any]]:
    """What a teacher is asked: the task, some examples as turns, the query."""
    told = "\n".join(part for part in (task.strip(), _STEPS if reasoning else _SHORT) if part)
    messages: list[dict[str, Any]] = [{"role": "system", "content": told}]
    for example in shown:
        target = example.target(with_reasoning=reasoning)
        if reasoning and not example.reasoning:
            target = f"{ANSWER_MARK}{example.answer}"
        messages += [{"role": "user", "content": example.query}, {"role": "assistant", "content": target}]
    return [*messages, {"role": "user", "content": query}]


async def distil(
    teacher: Teacher,
    queries: Sequence[str],
    *,
    task: str = "",
    shown: Sequence[Example] = (),
    reasoning: bool = False,
    samples: int = 1,
    min_agreement: float = 0.5,
    progress: Progress | None = None,
) -> Distilled:
    """Have a teacher answer queries.

    Args:
        teacher: asked, within its budget.
        queries: what to answer.
        task: what they are about, in words; may be "".
        shown: examples with known answers, shown with every query.
        reasoning: keep the steps that lead to the answers.
        samples: answers asked for per query; with several, the most frequent counts.
        min_agreement: more than this share of the samples must agree on it (all of them always suffice).

    Raises:
        BackendError: when the teacher answers none of the queries, or too few.
    """
    done = 0
    failed: list[BackendError] = []

    async def one(query: str) -> Example | str:
        nonlocal done
        messages = messages_for(query, task=task, shown=shown, reasoning=reasoning)
        try:
            replies = await all_of(teacher.ask(messages, number) for number in range(samples))
        except BackendError as error:
            if teacher.ending.error is not None:
                raise teacher.ending.error from error
            failed.append(error)
            return "set aside"
        finally:
            done += 1
        if progress is not None:
            progress(done, len(queries))
        texts = [r.text for r in replies if r is not None and r.finish_reason != "length"]
        if any(r is None for r in replies):
            return "left"
        if texts and all(read_refusal(text) is not None for text in texts):
            return "refused"
        read = [_answer(text, reasoning=reasoning) for text in texts]
        labels = groups(read)
        heads = [label for label in labels if label >= 0]
        if not heads:
            return "unread"
        best = max(dict.fromkeys(heads), key=heads.count)
        share = heads.count(best) / samples
        if share < 1 and share <= min_agreement:
            return "disagreed"
        place = labels.index(best)
        answer, text = read[place], without_thinking(texts[place]).strip()
        steps = text[: text.rfind(ANSWER_MARK)].strip() if reasoning and ANSWER_MARK in text else ""
        return Example(query, answer or "", reasoning=steps, source=teacher.candidate.name)

    found = await all_of(one(query) for query in queries)
    if failed and len(failed) == len(queries):
        raise failed[0]
    lost = [each for each in found if isinstance(each, str)]
    return Distilled(
        examples=[each for each in found if isinstance(each, Example)],
        n_refused=lost.count("refused"),
        n_unread=lost.count("unread"),
        n_set_aside=lost.count("set aside"),
        n_disagreed=lost.count("disagreed"),
        n_left=lost.count("left"),
    )


def _answer(text: str, *, reasoning: bool) -> str | None:
    """The answer alone: after the mark where there is one, the whole text where it was to be the answer."""
    said = without_thinking(text).strip()
    if ANSWER_MARK in said:
        said = said[said.rfind(ANSWER_MARK) + len(ANSWER_MARK) :].strip()
        return said.removesuffix(".").strip() or None
    if reasoning:
        return read_short_text(said)
    return said or None

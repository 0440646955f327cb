"""Where an expert's examples come from: a teacher, a file, a task family; and the cluster's own answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from herdwise.backends.base import Backend
from herdwise.core.candidate import Candidate
from herdwise.core.outcomes import OutcomeTable
from herdwise.experts.distil import distil, messages_for
from herdwise.experts.examples import Example, pretty, read_examples
from herdwise.experts.families import family
from herdwise.experts.order import Source
from herdwise.experts.set_aside import MAX_SHARE, kept_aside
from herdwise.experts.synthesise import prompts, synthesise
from herdwise.experts.teacher import Teacher, most_usd
from herdwise.experts.weakness import Target
from herdwise.storage.whole_files import write_whole

#: What real queries of the cluster with known answers count as source.
RECORDED = "recorded"
#: Known answers that a teacher is shown with every query.
_SHOWN = 4

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a teacher is asked for.

    Args:
        n: new queries.
        task: what they are about, in words; may be "".
        reasoning: keep the steps to the answers.
        samples: answers asked for per query; the most frequent counts.
        per_prompt: queries that one prompt asks for.
        budget_usd: most that the teacher may cost in all; None = no limit.
        max_tokens: of a reply.
        temperature: None = the upstream's default.
        concurrency: asks at a time.
        max_refused: share of the asks that may fail and be set aside; beyond it, the lesson ends.
        seed: of the examples that prompts show.
    """

    n: int = 1000
    task: str = ""
    reasoning: bool = False
    samples: int = 1
    per_prompt: int = 10
    budget_usd: float | None = None
    max_tokens: int = 1024
    temperature: float | None = 0.8
    concurrency: int = 4
    max_refused: float = MAX_SHARE
    seed: int = 0


@dataclass(frozen=True, slots=True)
class LessonEstimate:
    """What a lesson takes where nothing is repeated: asks, and USD at most (None = the price is unknown)."""

    n_asks: int
    most_usd: float | None


def recorded_examples(target: Target, table: OutcomeTable) -> list[Example]:
    """The cluster's own queries whose right answer is on record, held-back ones not among them."""
    references = dict(zip(table.query_ids, table.references or (), strict=False))
    texts = dict(zip(table.query_ids, table.texts, strict=True))
    return [
        Example(texts[id_], str(references[id_]), source=RECORDED)
        for id_ in target.seeds
        if references.get(id_)
    ]


def from_teacher(
    candidate: Candidate,
    reach: Callable[[], Backend],
    lesson: Lesson,
    *,
    identity: str = "",
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> Source:
    """A teacher writes queries like the cluster's and answers them.

    Its journal lies in the source's folder: what was paid for is never asked for again. Beside it,
    ``set_aside.jsonl`` names what the teacher did not answer, and why; a rerun asks that again.

    Args:
        candidate, reach, identity: the teacher.
        lesson: what it is asked for.
        progress: called with (stage, done, total).
        note: told in a sentence what was set aside.
    """
    report = progress or (lambda _stage, _done, _total: None)

    def give(target: Target, table: OutcomeTable, folder: Path) -> list[Example]:
        known = recorded_examples(target, table)
        seeds = _texts(target, table)

        async def ask() -> list[Example]:
            backend = reach()
            try:
                with (
                    Teacher(
                        candidate,
                        backend,
                        folder / "journal.jsonl",
                        identity=identity,
                        budget_usd=lesson.budget_usd,
                        max_tokens=lesson.max_tokens,
                        temperature=lesson.temperature,
                        concurrency=lesson.concurrency,
                        max_refused=lesson.max_refused,
                    ) as teacher,
                    kept_aside(teacher.ending, folder / "set_aside.jsonl", note),
                ):
                    written = await synthesise(
                        teacher,
                        seeds,
                        lesson.n,
                        task=lesson.task,
                        per_prompt=lesson.per_prompt,
                        seed=lesson.seed,
                        progress=lambda done, total: report("write queries", done, total),
                    )
                    answered = await distil(
                        teacher,
                        written.queries,
                        task=lesson.task,
                        shown=known[:_SHOWN],
                        reasoning=lesson.reasoning,
                        samples=lesson.samples,
                        progress=lambda done, total: report("answer them", done, total),
                    )
                    told = {
                        "teacher": candidate.name,
                        "asked": teacher.n_asked,
                        "kept": teacher.n_kept,
                        "spent_usd": teacher.spent_usd,
                        "budget_spent": teacher.budget_spent,
                        "set_aside": len(teacher.ending.set_aside),
                        "synthesis": {**_counts(written), "queries": len(written.queries)},
                        "answers": {**_counts(answered), "examples": len(answered.examples)},
                    }
                    write_whole(folder / "report.json", pretty(told))
                    return answered.examples
            finally:
                await backend.close()

        return [*known, *asyncio.run(ask())]

    return give


def from_file(path: Path) -> Source:
    """Examples that somebody wrote, with the cluster's own."""

    def give(target: Target, table: OutcomeTable, folder: Path) -> list[Example]:
        del folder
        given = read_examples(path)
        named = [e if e.source else msgspec.structs.replace(e, source=path.name) for e in given]
        return [*recorded_examples(target, table), *named]

    return give


def from_family(name: str, n: int, *, seed: int = 0) -> Source:
    """Training items of a task family, with the cluster's own examples.

    Raises:
        UnknownNameError: when there is no such family.
    """
    made = family(name)

    def give(target: Target, table: OutcomeTable, folder: Path) -> list[Example]:
        del folder
        items = made.items("train", n, seed=seed)
        return [*recorded_examples(target, table), *(Example(i.query, i.answer, source=name) for i in items)]

    return give


def estimate(target: Target, table: OutcomeTable, candidate: Candidate, lesson: Lesson) -> LessonEstimate:
    """What ``from_teacher`` takes, were new queries as long as the longest seed; nothing is asked."""
    seeds, known = _texts(target, table), recorded_examples(target, table)
    asked = prompts(seeds, lesson.task, lesson.n, per_prompt=lesson.per_prompt, seed=lesson.seed)
    longest = max(seeds, key=len)
    answer = messages_for(longest, task=lesson.task, shown=known[:_SHOWN], reasoning=lesson.reasoning)
    n_answers = lesson.n * lesson.samples
    costs = [most_usd(candidate, messages, lesson.max_tokens) for messages in asked]
    one = most_usd(candidate, answer, lesson.max_tokens)
    known_costs = [cost for cost in costs if cost is not None]
    total = None if one is None or len(known_costs) < len(costs) else sum(known_costs) + n_answers * one
    return LessonEstimate(len(asked) + n_answers, total)


def _texts(target: Target, table: OutcomeTable) -> list[str]:
    texts = dict(zip(table.query_ids, table.texts, strict=True))
    return [texts[id_] for id_ in target.seeds]


def _counts(found: object) -> dict[str, object]:
    """The numbers of a dataclass, its lists left out."""
    value = msgspec.to_builtins(found)
    return {name: each for name, each in value.items() if not isinstance(each, list)}

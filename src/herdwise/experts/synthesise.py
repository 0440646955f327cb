"""New queries of one kind, written by a teacher from examples of that kind.

Sources: Wang et al., Self-Instruct (2023); Viswanathan et al., Prompt2Model (2023). Unlike theirs, no prompt
holds what was written before: so each can be asked at the same time, and again after a kill, for nothing.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from herdwise.core.errors import BackendError, InputError
from herdwise.experts.examples import plain
from herdwise.experts.teacher import Reply, Teacher, all_of

#: Called with (done, total).
Progress = Callable[[int, int], None]

_SYSTEM = "You write questions that people put to an assistant. You answer with JSON alone."
_LIST_MARK = re.compile(r"^\s*(?:\d+[.)]|[-*•])\s+")


@dataclass(frozen=True, slots=True)
class Synthesis:
    """What a teacher wrote.

    Args:
        queries: new ones, each once, none a seed.
        n_prompts: asks that the answer rests on.
        n_repeated: queries left out because they were a seed or stood there already.
        n_unreadable: replies in which no list of queries could be read.
        n_set_aside: prompts that the teacher did not answer.
        budget_spent: whether the budget ended it.
    """

    queries: list[str]
    n_prompts: int
    n_repeated: int
    n_unreadable: int
    n_set_aside: int
    budget_spent: bool


def prompt_for(seeds: Sequence[str], task: str, n: int) -> list[dict[str, Any]]:
    """The messages that ask for ``n`` queries like ``seeds``."""
    shown = json.dumps(list(seeds), ensure_ascii=False, indent=0)
    told = f"The task: {task.strip()}\n\n" if task.strip() else ""
    text = (
        f"{told}Questions that people have asked:\n{shown}\n\n"
        f"Write {n} new questions of the same kind: as different from each other and from these as such"
        " questions are, with other names, numbers, wordings and difficulties, each complete in itself and"
        f" with one right answer. Give a JSON array of {n} strings."
    )
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": text}]


def prompts(
    seeds: Sequence[str], task: str, n: int, *, per_prompt: int = 10, shown: int = 6, seed: int = 0
) -> list[list[dict[str, Any]]]:
    """The asks that ``n`` queries take where none is repeated; each shows seeds of its own drawing.

    Raises:
        InputError: when there is no seed.
    """
    texts = list(dict.fromkeys(text for text in seeds if text.strip()))
    if not texts:
        raise InputError("no query to write others from.", remedy="Choose a cluster that holds some.")
    asked = []
    for number in range(-(-n // per_prompt)):
        drawn = np.random.default_rng([seed, number]).permutation(len(texts))[:shown]
        asked.append(prompt_for([texts[int(i)] for i in drawn], task, per_prompt))
    return asked


async def synthesise(
    teacher: Teacher,
    seeds: Sequence[str],
    n: int,
    *,
    task: str = "",
    per_prompt: int = 10,
    shown: int = 6,
    seed: int = 0,
    progress: Progress | None = None,
) -> Synthesis:
    """Have a teacher write ``n`` new queries.

    Up to twice as many prompts as ``n`` takes are asked, so that repeats can be made up for.

    Args:
        teacher: asked, within its budget.
        seeds: queries of the kind that is wanted.
        n: how many new ones.
        task: what the kind is, in words; may be "".
        per_prompt: queries that one prompt asks for.
        shown: seeds that one prompt shows.
        seed: of their drawing.

    Raises:
        InputError: when there is no seed.
        BackendError: when the teacher answers none of the prompts, or too few.
    """
    # Few seeds give few different prompts; one that comes again is another sample.
    asked = Counter[bytes]()
    planned = []
    for messages in prompts(seeds, task, 2 * n, per_prompt=per_prompt, shown=shown, seed=seed):
        form = msgspec.json.encode(messages)
        planned.append((messages, asked[form]))
        asked[form] += 1

    async def one(messages: list[dict[str, Any]], number: int) -> Reply | None:
        try:
            return await teacher.ask(messages, number)
        except BackendError as error:
            if teacher.ending.error is not None:
                raise teacher.ending.error from error
            failed.append(error)
            return None

    failed: list[BackendError] = []
    taken = {plain(text) for text in seeds}
    found: list[str] = []
    n_repeated = n_unreadable = n_prompts = 0
    wave = max(1, -(-n // per_prompt))
    for start in range(0, len(planned), wave):
        # A wave asks for what is still missing, so that a good teacher is asked no more than needed.
        missing = -(-(n - len(found)) // per_prompt)
        if missing <= 0 or teacher.budget_spent:
            break
        replies = await all_of(one(*ask) for ask in planned[start : start + missing])
        for reply in replies:
            if reply is None:
                continue
            n_prompts += 1
            read = read_queries(reply.text)
            n_unreadable += not read
            for text in read:
                if plain(text) in taken:
                    n_repeated += 1
                    continue
                taken.add(plain(text))
                found.append(text)
        if progress is not None:
            progress(min(len(found), n), n)
    if failed and not n_prompts:
        raise failed[0]
    return Synthesis(found[:n], n_prompts, n_repeated, n_unreadable, len(failed), teacher.budget_spent)


def read_queries(text: str) -> list[str]:
    """The queries of a reply: a JSON array of texts (or of objects that name one), else a list's lines.

    >>> read_queries('Sure: ["What is 2 + 3?", {"question": "And 4 + 9?"}]')
    ['What is 2 + 3?', 'And 4 + 9?']
    >>> read_queries("1. What is 2 + 3?\\n2) And 4 + 9?")
    ['What is 2 + 3?', 'And 4 + 9?']
    """
    start, end = text.find("["), text.rfind("]")
    if 0 <= start < end:
        try:
            values = msgspec.json.decode(text[start : end + 1])
        except msgspec.DecodeError:
            values = None
        if isinstance(values, list):
            return [query for query in map(_query, values) if query]
    lines = [line for line in text.splitlines() if _LIST_MARK.match(line)]
    return [found for line in lines if (found := _LIST_MARK.sub("", line).strip().strip('"').strip())]


def _query(value: Any) -> str:
    if isinstance(value, Mapping):
        value = next((value[key] for key in ("question", "query", "text", "prompt") if key in value), None)
    return value.strip() if isinstance(value, str) else ""

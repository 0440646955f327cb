"""Ask one candidate recorded queries, and grade its answers: what the gate knows of a new expert."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from herdwise.backends.base import Backend
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import InputError
from herdwise.core.outcomes import OutcomeTable
from herdwise.profiling.benchmark import Item
from herdwise.profiling.profiler import Profiler
from herdwise.storage.outcomes import read_outcomes

Progress = Callable[[int, int], None]


def gradable(table: OutcomeTable) -> np.ndarray:
    """Which queries have a reference to grade by, ``(n,)`` bool."""
    references = table.references or [None] * table.n_queries
    return np.array([bool(reference) for reference in references], dtype=bool)


def items_of(
    table: OutcomeTable, ids: Collection[str], grader: str, options: Mapping[str, Any] | None = None
) -> list[Item]:
    """Recorded queries as items; those without a reference are left out.

    Args:
        table: has the references.
        ids: which queries.
        grader: registered name; a reference that is the letter of an option of its query is graded by
            ``choice``, whatever this says.
        options: of the grader.
    """
    wanted, references = set(ids), table.references or ()
    items = []
    for id_, text, benchmark, reference in zip(
        table.query_ids, table.texts, table.benchmarks, references, strict=False
    ):
        if id_ not in wanted or not reference:
            continue
        lettered = len(reference) == 1 and f"\n{reference}. " in f"\n{text}"
        items.append(
            Item(
                id=id_,
                text=text,
                messages=({"role": "user", "content": text},),
                grader="choice" if lettered else grader,
                reference=reference,
                options={} if lettered else dict(options or {}),
                benchmark=benchmark,
                split="train",
            )
        )
    return items


def probe(
    candidate: Candidate,
    reach: Callable[[], Backend],
    items: list[Item],
    out: Path,
    *,
    identity: str = "",
    max_tokens: int | None = None,
    concurrency: int = 4,
    progress: Progress | None = None,
) -> OutcomeTable:
    """Ask a candidate, and grade its answers; resumed where an earlier run was interrupted.

    Args:
        candidate: who is asked.
        reach: makes its backend, on the event loop that uses it.
        items: what is asked.
        out: the profile's folder.
        identity: what stands behind the name; another model's answers are never taken for this one's.

    Raises:
        InputError: when there is nothing to ask.
        HerdwiseError: when it answered nothing.
    """
    if not items:
        raise InputError(
            f"there is no query with a reference to ask {candidate.name!r}.",
            remedy="Record references: items with answers, or feedback with demonstrations.",
        )

    async def run() -> None:
        backend = reach()
        try:
            profiler = Profiler(
                Herd([candidate]),
                {candidate.name: backend},
                items,
                sampling={} if max_tokens is None else {"max_tokens": max_tokens},
                concurrency=concurrency,
                identities={candidate.name: identity or candidate.name},
            )
            await profiler.run(out, progress=progress)
        finally:
            await backend.close()

    asyncio.run(run())
    return read_outcomes(out)

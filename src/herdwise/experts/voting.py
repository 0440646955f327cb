"""What other candidates answer to examples' queries, so that answers nobody else gives can be told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from herdwise.backends.base import Backend
from herdwise.core.candidate import Candidate
from herdwise.experts.distil import distil
from herdwise.experts.set_aside import kept_aside
from herdwise.experts.teacher import Teacher

Progress = Callable[[int, int], None]


def vote(
    candidate: Candidate,
    reach: Callable[[], Backend],
    queries: Sequence[str],
    journal: Path,
    *,
    identity: str = "",
    task: str = "",
    budget_usd: float | None = None,
    max_tokens: int = 256,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> dict[str, str]:
    """A candidate's answers by query; those that it refused, or that could not be read, are left out.

    Asks that failed alone stand beside the journal, in ``*.set_aside.jsonl``; a rerun asks them again.

    Args:
        candidate: who votes.
        reach: makes its backend.
        queries: what it is asked.
        journal: of its replies; none is paid for twice.
        identity: what stands behind the candidate's name.
        task: what they are about, in words.
        budget_usd: most that its replies may cost; None = no limit.
        max_tokens: of a reply.
        progress: called with (done, total).
        note: told in a sentence what was set aside.

    Raises:
        BackendError: when it cannot answer.
    """

    async def run() -> dict[str, str]:
        backend = reach()
        try:
            with (
                Teacher(
                    candidate,
                    backend,
                    journal,
                    identity=identity,
                    budget_usd=budget_usd,
                    max_tokens=max_tokens,
                    temperature=0.0,
                ) as voter,
                kept_aside(voter.ending, journal.with_suffix(".set_aside.jsonl"), note),
            ):
                found = await distil(voter, list(dict.fromkeys(queries)), task=task, progress=progress)
                return {e.query: e.answer for e in found.examples}
        finally:
            await backend.close()

    return asyncio.run(run())

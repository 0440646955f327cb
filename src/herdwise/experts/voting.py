"""What other candidates answer to examples' queries, so that answers nobody else gives can be told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from herdwise.backends.base import Backend
from herdwise.core.candidate import Candidate
from herdwise.experts.distil import distil
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
) -> dict[str, str]:
    """A candidate's answers by query; those that it refused, or that could not be read, are left out.

    Args:
        candidate: who votes.
        reach: makes its backend.
        queries: what it is asked.
        journal: of its replies; none is paid for twice.
        identity: what stands behind the candidate's name.
        task: what they are about, in words.
        budget_usd: most that its replies may cost; None = no limit.
        max_tokens: of a reply.

    Raises:
        BackendError: when it cannot answer.
    """

    async def run() -> dict[str, str]:
        backend = reach()
        try:
            with Teacher(
                candidate,
                backend,
                journal,
                identity=identity,
                budget_usd=budget_usd,
                max_tokens=max_tokens,
                temperature=0.0,
            ) as voter:
                found = await distil(voter, list(dict.fromkeys(queries)), task=task, progress=progress)
                return {e.query: e.answer for e in found.examples}
        finally:
            await backend.close()

    return asyncio.run(run())

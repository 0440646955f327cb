"""A router whose encoder waits for somebody else must not hold up the endpoint."""

from __future__ import annotations

import asyncio
import threading

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.decision import Estimates
from herdwise.core.query import Query
from herdwise.routing.declared import DeclaredRouter


class Waiting(DeclaredRouter):
    """Predicts only once it is let go."""

    def __init__(self, herd: Herd) -> None:
        super().__init__(herd)
        self.entered, self.let_go = threading.Event(), threading.Event()

    @property
    def blocking(self) -> bool:
        return True

    def estimate_one(self, query: Query) -> Estimates:
        self.entered.set()
        assert self.let_go.wait(10)
        return super().estimate_one(query)


async def test_others_are_answered_while_one_request_waits_for_its_vector(endpoint):
    candidates = (Candidate("only", quality=0.5),)
    ranker = Waiting(Herd(candidates))
    at = await endpoint(candidates=candidates, ranker=ranker)
    asked = asyncio.create_task(at.chat("Hello"))
    assert await asyncio.to_thread(ranker.entered.wait, 5)
    assert (await at.send("GET", "/healthz")).status == 200
    assert not asked.done()
    ranker.let_go.set()
    assert (await asked).status == 200

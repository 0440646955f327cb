"""An answer that is there and paid for goes out, even when it cannot be explained in full."""

from __future__ import annotations

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import ArtefactError
from herdwise.core.query import Query
from herdwise.routing.declared import DeclaredRouter
from herdwise.routing.explain import Neighbour


class Forgetful(DeclaredRouter):
    """Cannot reach its recorded queries."""

    def explain(self, query: Query, k: int = 5) -> tuple[Neighbour, ...]:
        raise ArtefactError("the recorded queries are gone.")


async def test_the_answer_comes_with_the_reason_why_no_neighbours_are_shown(endpoint):
    candidates = (Candidate("only", quality=0.5),)
    at = await endpoint(candidates=candidates, ranker=Forgetful(Herd(candidates)))
    for stream in (False, True):
        reply = await at.chat("Hello", headers={"x-herdwise-explain": "1"}, stream=stream)
        assert reply.status == 200
        told = reply.events[-2]["herdwise"] if stream else reply.json["herdwise"]
        assert told["neighbours"] == []
        assert told["neighbours_error"] == "the recorded queries are gone."
        assert told["scores"][0]["candidate"] == "only"

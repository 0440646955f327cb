"""Which live answers say the same: free texts by their vectors, programs by the question's own tests."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import numpy as np

from herdwise.answers.code import asks_for_code, given_tests, program_of, run_tests
from herdwise.answers.similar import cosines, say_the_same
from herdwise.core.query import Query
from herdwise.routing.free_votes import stands_for_more
from herdwise.routing.ranker import Ranker
from herdwise.serving.course import Course, LiveAsk

#: Of longer texts the beginning is compared.
_MOST_CHARS = 4000
_KEPT_VECTORS = 512
#: What programs that pass all given tests answer: the same.
PASSES = "code: passes the tests that the question gives ... 000000000000"


class Agreeing:
    """Compares answers for one service. Belongs to one event loop.

    Args:
        ranker: whose encoder compares texts; one that waits for somebody else is left alone.
    """

    def __init__(self, ranker: Ranker) -> None:
        self._ranker = ranker
        self._vectors: OrderedDict[str, np.ndarray] = OrderedDict()

    def joined(self, course: Course, ask: LiveAsk, value: str | None) -> tuple[str | None, tuple[float, ...]]:
        """An answer's value, that of an earlier one which says the same, and its cosines with the earlier.

        The cosines are in the order of ``course.answers``; empty where texts can't be compared.
        """
        if not stands_for_more(value) or value == PASSES or not ask.text.strip():
            return value, ()
        texts = [answer.text[:_MOST_CHARS] for answer in course.answers]
        vectors = self._encoded([*texts, ask.text[:_MOST_CHARS]])
        if vectors is None:
            return value, ()
        cosine = cosines(vectors)[-1, :-1]
        if value is not None and value.startswith("text: "):
            for answer, likeness in zip(course.answers, cosine.tolist(), strict=True):
                if stands_for_more(answer.value) and say_the_same(answer.text, ask.text, likeness):
                    value = answer.value
                    break
        return value, tuple(cosine.tolist())

    def _encoded(self, texts: list[str]) -> np.ndarray | None:
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            vectors = self._ranker.vectors(new)
            if vectors is None:
                return None
            self._vectors.update(zip(new, vectors, strict=True))
        found = np.stack([self._vectors[text] for text in texts])
        while len(self._vectors) > _KEPT_VECTORS:
            self._vectors.popitem(last=False)
        return found


async def tested(query: Query, text: str) -> tuple[str | None, str] | None:
    """Value and reason of a program under the tests that the question gives; None where there is none to run.

    Runs the candidate's code in the sandbox, off the event loop (see ``sandbox.python`` for its limits).
    """
    tests = given_tests(query.text) if asks_for_code(query.text) else []
    program = program_of(text) if tests else None
    if program is None:
        return None
    run = await asyncio.to_thread(run_tests, program, tests)
    return (PASSES, "") if run.passed else (None, "fails_tests")

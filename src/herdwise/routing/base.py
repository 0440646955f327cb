"""The policy seam. A policy is pure: it is told what is known and says what to do next.

``serving/dispatch`` carries out Steps against live candidates, ``evaluation/replay`` against recorded
outcomes; both call ``Policy.step`` after every event (an answer, a failure, a deadline) until it
returns ``Finish``. Candidates are named by their position in the situation's herd.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from herdwise.core.candidate import Herd
from herdwise.core.decision import Estimates, Goals
from herdwise.core.frozen import made_fast
from herdwise.core.query import Query
from herdwise.core.registry import Registry


@made_fast
@dataclass(frozen=True, slots=True)
class Answer:
    """One answer that came back.

    Args:
        ask: the ask's number, from 0, in the order of asking.
        candidate: position in the herd.
        text: the answer's text ("" for tool calls or where only the extracted answer was recorded).
        value: the extracted answer in normal form, None when none could be read.
        trust: P(right) once seen, None while nothing has learned it.
        latency_s, cost_usd: what it took, None = unknown.
        evidence: log-odds of being right that its signals add to who said it; 0 = they tell nothing.
        alike: cosine of its text with that of each answer before it, where texts are compared; else empty.
    """

    ask: int
    candidate: int
    text: str = ""
    value: str | None = None
    trust: float | None = None
    latency_s: float | None = None
    cost_usd: float | None = None
    evidence: float = 0.0
    alike: tuple[float, ...] = ()


#: In place of a failure's candidate that may be asked again.
NOBODY = -1


@dataclass(frozen=True, slots=True)
class Failure:
    """One ask that failed.

    Args:
        ask: the ask's number.
        candidate: position in the herd, or NOBODY.
        kind: the error's ``kind`` (see core.errors), or why an answer is none: "refused", "empty",
            "unreadable", "malformed", "truncated".
        message: for people.
        delivered: text that the client already has of it.
        returnable: whether it holds text all the same, to be returned when nobody has an answer.
    """

    ask: int
    candidate: int
    kind: str
    message: str = ""
    delivered: str = ""
    returnable: bool = False


@made_fast
@dataclass(frozen=True, slots=True)
class InFlight:
    """One ask that has not ended.

    Args:
        ask: the ask's number.
        candidate: position in the herd.
        started_s: seconds after the request began.
        delivering: whether the client has something of it.
    """

    ask: int
    candidate: int
    started_s: float
    delivering: bool = False


@made_fast
@dataclass(frozen=True, slots=True)
class Spent:
    """What the request has used so far; ``usd`` counts a lost bill as predicted, None = unknown."""

    usd: float | None = 0.0
    seconds: float = 0.0
    calls: int = 0


@made_fast
@dataclass(frozen=True, slots=True)
class Thread:
    """The conversation: who has it (position in the herd), and whether a tool loop is open."""

    candidate: int | None = None
    tool_loop: bool = False


#: Before anybody was asked; and of a conversation that nobody has.
NOTHING_SPENT, NO_THREAD = Spent(), Thread()


class Belief(Protocol):
    """What the answers heard so far say of each answer's chance to be right. Immutable.

    ``herdwise.prediction.fusion`` learns one; candidates are positions in the situation's herd.
    """

    def observe(self, candidate: int, value: str | None) -> Belief:
        """After one more answer; None = it gave none that could be read."""

    def posterior(self) -> Mapping[Any, float]:
        """Value -> P(it is right), over the values heard; None -> that none of them is, where it is told."""

    def best(self) -> tuple[str | None, float]:
        """The likeliest value and its P(right); (None, 0.0) before any was heard."""

    def trust(self, candidate: int) -> float:
        """P(right) of the value that this candidate gave."""

    def gain(self, candidates: np.ndarray) -> np.ndarray:
        """Expected increase of ``best()``'s P(right) by asking each of them next, ``(k,)``."""


@made_fast
@dataclass(frozen=True, slots=True)
class Situation:
    """All that a policy may know.

    Args:
        query: the request.
        herd: the candidates; positions below refer to it.
        estimates: predictions for this query.
        goals: the user's goals and limits.
        admitted: ``(m,)`` bool, who meets every constraint.
        removed: name -> the constraint that removed it.
        utility: ``(m,)`` quality - cost_weight * cost and preferences; -inf where not admitted.
        answers, in_flight, failures: the course so far.
        spent: what was used.
        healthy: ``(m,)`` bool, or None when nothing is known against anyone.
        thread: the conversation.
        now_s: seconds since the request began.
        seed: for policies that explore.
        belief: after all answers so far, or None where nothing was learned from recorded answers, or
            where the policy does not consult.
    """

    query: Query
    herd: Herd
    estimates: Estimates
    goals: Goals
    admitted: np.ndarray
    removed: Mapping[str, str]
    utility: np.ndarray
    answers: Sequence[Answer] = ()
    in_flight: Sequence[InFlight] = ()
    failures: Sequence[Failure] = ()
    spent: Spent = NOTHING_SPENT
    healthy: np.ndarray | None = None
    thread: Thread = NO_THREAD
    now_s: float = 0.0
    seed: int = 0
    belief: Belief | None = None


@made_fast
@dataclass(frozen=True, slots=True)
class Ask:
    """Ask these candidates, in parallel.

    Args:
        candidates: positions in the herd.
        messages: instead of the query's own (Merge).
        sampling: overrides such as temperature; None takes the client's own field out.
        deliver: stream this answer to the client as it comes. Of several that may, the first that has
            something to say is delivered, and the others are cancelled.
        continue_from: text already delivered that the answer must continue; "" = the client has a part of
            another answer, and this one begins anew.
        propensity: probability with which an exploring policy made this choice.
    """

    candidates: tuple[int, ...]
    messages: tuple[Mapping[str, Any], ...] | None = None
    sampling: Mapping[str, Any] | None = None
    deliver: bool = False
    continue_from: str | None = None
    propensity: float | None = None


@made_fast
@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing until the next event, or until ``until_s`` seconds after the request began."""

    until_s: float | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Close these asks (by number)."""

    asks: tuple[int, ...]


@made_fast
@dataclass(frozen=True, slots=True)
class Finish:
    """End the request.

    Args:
        answer: number of the ask whose answer is returned; None = nobody could answer.
        reason: for people, shown in explain.
    """

    answer: int | None
    reason: str


Step = Ask | Wait | Cancel | Finish


class Policy(ABC):
    """Situation -> Step. Holds options only; never I/O, never state between requests."""

    name: ClassVar[str]
    #: Whether it looks at answers before one is delivered: only then is ``Situation.belief`` filled.
    consults: ClassVar[bool] = False
    #: Whether it can do nothing without a belief that was learned from recorded answers.
    needs_belief: ClassVar[bool] = False
    #: Whether it may ask one candidate more than once.
    resamples: ClassVar[bool] = False
    #: Whether it lives by several samples of one candidate.
    samples_of_one: ClassVar[bool] = False
    #: Whether recorded outcomes can tell what it would have come to.
    replayable: ClassVar[bool] = True

    @abstractmethod
    def step(self, situation: Situation) -> Step:
        """What to do next."""

    @property
    def configured(self) -> bool:
        """Whether it has all that it needs; one that has not is not offered by name."""
        return True

    def check(self, herd: Herd) -> None:
        """Whether it can work with a herd.

        Raises:
            ConfigError: when an option names somebody who is not in it.
        """
        del herd

    def options(self) -> dict[str, Any]:
        """Constructor arguments as JSON values, for a saved router."""
        return {}

    def spectrum(self, n_candidates: int) -> Sequence[Policy]:
        """The same policy from frugal to lavish, for a cost-quality curve.

        Empty where ``goals.cost_weight`` alone trades quality against cost.
        """
        del n_candidates
        return ()


POLICIES: Registry[Policy] = Registry("policy", "herdwise.policies")

"""What the ledger keeps: one record per decision with its asks, one per feedback.

Field names are those of an outcome folder wherever the thing is the same (query_id, text, cost_usd,
latency_s, input_tokens, output_tokens, output_chars), so that what was served is learned from as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

#: The policy of decisions that are embeddings: nothing is routed, and nothing can be learned from them.
EMBEDDINGS = "embeddings"

Status = Literal["open", "answered", "failed", "cancelled"]


@dataclass(slots=True)
class AskRecord:
    """One ask. None = unknown, or not stored.

    Args:
        ask: its number within the decision, from 0.
        candidate: who was asked.
        status: how it ended.
        error_kind, error_status: of a failure; the upstream's HTTP status where there was one.
        started_s: seconds after the request began.
        latency_s: seconds from ask to end.
        first_token_s: seconds from ask to the first text, when streamed.
        output_chars: characters of the text.
        cost_usd: from the stated tokens and the candidate's price.
        propensity: the probability with which an exploring policy made this choice.
        continued: whether it went on from others' texts (a broken answer's, or those that it merged), so that
            a grade is not its own.
        predicted_quality, predicted_cost_usd: what was expected before the ask.
        text: the answer, where texts are stored.
        mean_logprob, min_logprob, answer_logprob: of its tokens, where the upstream gave them and the answer
            was not passed on as it streamed (see ``answers.logprobs``).
    """

    ask: int
    candidate: str
    status: Status
    error_kind: str | None = None
    error_status: int | None = None
    started_s: float | None = None
    latency_s: float | None = None
    first_token_s: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    output_chars: int | None = None
    cost_usd: float | None = None
    finish_reason: str | None = None
    propensity: float | None = None
    continued: bool = False
    predicted_quality: float | None = None
    predicted_cost_usd: float | None = None
    text: str | None = None
    mean_logprob: float | None = None
    min_logprob: float | None = None
    answer_logprob: float | None = None


@dataclass(slots=True)
class DecisionRecord:
    """One request, from the decision to the answer.

    Args:
        query_id: the decision's id.
        created_at: Unix time of the request, in seconds.
        model: as the client named it.
        policy: who decided; "direct" when the client named a candidate, "embeddings" for embeddings.
        origin: where predicted quality came from: router, declared, none; cache or similar where nothing was
            predicted because the cache had the answer, or that to a question alike.
        status: how it ended.
        reason: why, for people.
        candidate: who gave the answer that was returned.
        returned_ask: its number.
        streamed: whether the client asked for a stream.
        attempts: asks started.
        cost_usd, input_tokens, output_tokens: over all asks; None when one of them is unknown.
        latency_s: seconds from the request to the end of its answer.
        overhead_s: the part of it in which no upstream was waited for.
        goals: the request's own goals, as JSON.
        text: what was routed on, where texts are stored.
        tools: offered tools, as JSON, where texts are stored.
        key_id: the virtual key that it was asked with.
        charged_usd: what it takes off that key's budgets: its cost, with what was predicted for asks whose
            cost nobody stated.
        cached_from: the decision whose answer was given again; None = the answer is its own.
    """

    query_id: str
    created_at: float
    model: str
    policy: str
    origin: str
    status: Status = "open"
    reason: str | None = None
    candidate: str | None = None
    returned_ask: int | None = None
    streamed: bool = False
    attempts: int = 0
    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    latency_s: float | None = None
    overhead_s: float | None = None
    goals: str | None = None
    text: str | None = None
    tools: str | None = None
    key_id: str | None = None
    charged_usd: float | None = None
    cached_from: str | None = None
    asks: list[AskRecord] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Roughly the bytes that it holds while it waits to be written."""
        texts = len(self.text or "") + len(self.tools or "") + sum(len(a.text or "") for a in self.asks)
        return 1024 + texts


@dataclass(slots=True)
class FeedbackRecord:
    """What a user says about one decision.

    Args:
        query_id: the decision.
        created_at: Unix time, in seconds.
        score: in [0, 1]; thumbs up is 1, thumbs down is 0; None = not graded.
        comment: for people.
        demonstration: the answer that would have been right.
    """

    query_id: str
    created_at: float
    score: float | None = None
    comment: str | None = None
    demonstration: str | None = None

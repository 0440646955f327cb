"""Errors in OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}`` and the status to it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from herdwise.core.errors import (
    BackendError,
    HerdwiseError,
    InputError,
    NoCandidateError,
    RequestError,
    UnknownCostError,
)

#: Statuses of an upstream that say the request itself is at fault, whoever is asked.
_CLIENT_FAULTS = frozenset({400, 413, 422})
#: Statuses that may be others in a while.
_FOR_NOW = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class WireError:
    """What the client gets instead of an answer.

    Args:
        status: HTTP status.
        error: the object under "error".
        headers: sent with it.
    """

    status: int
    error: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        """The whole body."""
        return {"error": dict(self.error)}


def wire_error(
    message: str,
    *,
    status: int,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> WireError:
    """An error of our own making; ``more`` goes into the error object beside OpenAI's four fields."""
    kind = (
        "rate_limit_error" if status == 429 else "invalid_request_error" if status < 500 else "server_error"
    )
    error = {"message": message, "type": kind, "param": param, "code": code, **more}
    return WireError(status, error, headers or {})


def from_exception(error: Exception) -> WireError:
    """The wire form of an exception; an unexpected one says nothing of what is inside."""
    if isinstance(error, RequestError):
        headers = {"www-authenticate": "Bearer"} if error.status == 401 else {}
        if error.retry_after_s is not None:
            headers["retry-after"] = str(math.ceil(error.retry_after_s))
        return wire_error(
            str(error), status=error.status, code=error.code, param=error.param, headers=headers
        )
    if isinstance(error, NoCandidateError):
        return _no_candidate(error)
    if isinstance(error, UnknownCostError):
        return wire_error(str(error), status=400, code="unknown_cost", param="herdwise.cost_weight")
    if isinstance(error, InputError):
        return wire_error(str(error), status=400, code="invalid_request")
    if isinstance(error, HerdwiseError):
        return wire_error(str(error), status=500, code="internal_error")
    return wire_error("internal error; the server's log says more.", status=500, code="internal_error")


def _no_candidate(error: NoCandidateError) -> WireError:
    reasons = error.removed.values()
    if error.removed and all(reason.startswith("context_tokens") for reason in reasons):
        return wire_error(
            f"the request is too long for every candidate: {error.message}",
            status=400,
            code="context_length_exceeded",
            param="messages",
            removed=error.removed,
        )
    return wire_error(str(error), status=422, code="no_candidate", param="herdwise", removed=error.removed)


def from_failures(
    problems: list[BackendError], *, reason: str, timed_out: bool, retry_after_s: float | None = None
) -> WireError:
    """What to say when nobody could answer: each attempt's reason, and the status that fits them all.

    Args:
        problems: one per attempt that failed, in order.
        reason: why no further candidate was asked.
        timed_out: whether the request's own time ran out.
        retry_after_s: after which another try may do better, where no candidate said so itself.
    """
    attempts = [
        {"candidate": p.candidate, "kind": p.kind, "status": p.status, "message": p.message} for p in problems
    ]
    told = " ".join(dict.fromkeys(p.message for p in problems[:8]))
    message = f"no candidate could answer: {reason}. {told}".rstrip()
    status, code = _status(problems, timed_out=timed_out)
    waits = [p.retry_after_s for p in problems if p.retry_after_s is not None]
    headers = {}
    if waits and status in {429, 503}:
        headers = {"retry-after": str(math.ceil(min(waits)))}
    elif retry_after_s is not None and status in _FOR_NOW:
        headers = {"retry-after": str(math.ceil(retry_after_s))}
    return wire_error(message, status=status, code=code, headers=headers, attempts=attempts)


def nobody_asked(reason: str) -> WireError:
    """What to say when the request's own limits on calls, USD and seconds let nobody be asked."""
    message = f"nobody could be asked within the request's limits: {reason}."
    return wire_error(message, status=422, code="no_candidate", param="herdwise")


def _status(problems: list[BackendError], *, timed_out: bool) -> tuple[int, str]:
    kinds = {p.kind for p in problems}
    statuses = {p.status for p in problems}
    if timed_out or kinds == {"timeout"}:
        return 504, "upstream_timeout"
    if kinds == {"rate_limited"}:
        return 429, "rate_limit_exceeded"
    if kinds and kinds <= {"rate_limited", "overloaded"}:
        return 503, "overloaded"
    if kinds == {"unsupported"}:
        return 400, "unsupported_value"
    if kinds == {"no_record"}:
        return 404, "no_record"
    if kinds == {"upstream_status"} and len(statuses) == 1 and statuses <= _CLIENT_FAULTS:
        return problems[0].status or 400, "upstream_refused"
    return 502, "upstream_failed"

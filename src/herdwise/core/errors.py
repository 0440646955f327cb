"""The one exception tree.

    HerdwiseError
    |-- InputError                  the caller can mend it: exit code 2, HTTP 4xx
    |   |-- ConfigError             a config file or command line
    |   |-- OutcomeError            an outcome folder: file, column, row
    |   |-- ItemsError              a benchmark file: file, line, field
    |   |-- ArtefactError           a saved router: truncated, foreign, too new
    |   |-- UnknownNameError        a candidate, policy, encoder ... that nobody registered
    |   |-- HerdMismatchError       a router that was trained for another herd
    |   |-- UnknownCostError        cost_weight > 0, but no cost is known
    |   |-- NoCandidateError        constraints that no candidate meets
    |   `-- RequestError            a request body or header
    |-- MissingExtraError           an optional dependency that is not installed
    `-- BackendError                one candidate could not answer
        |-- ConnectError            unreachable, reset
        |   `-- UnreachableError    no connection came about: nothing was asked, nothing was spent
        |-- TimeoutError_           connect, first token or total
        |-- RateLimitError          429 or 529, with retry_after_s
        |-- UpstreamStatusError     any other HTTP error status
        |-- BadResponseError        not JSON, malformed SSE, truncated
        |-- NoRecordError           the recorded backend holds no such text
        |-- UnsupportedError        its API has no place for what the request asks; nothing was sent
        `-- OverloadedError         our own queue for this candidate is full

Every message names the thing at fault; ``remedy`` says what to do about it.
"""

from __future__ import annotations


class HerdwiseError(Exception):
    """Base of all errors that herdwise raises on purpose.

    Args:
        message: what is wrong, naming file, field or candidate.
        remedy: what the reader can do about it; empty when there is nothing.
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".rstrip() if self.remedy else self.message


class InputError(HerdwiseError):
    """The caller's input is at fault; retrying it unchanged cannot help."""


class ConfigError(InputError):
    """A config file or command line is wrong."""


class OutcomeError(InputError):
    """An outcome folder is malformed.

    Args:
        file: the file at fault.
        column: its column, where one is to blame.
        row: the first row at fault, counted from 0 as parquet readers do; for csv, the line from 1.
    """

    def __init__(
        self, message: str, *, file: str, column: str | None = None, row: int | None = None, remedy: str = ""
    ) -> None:
        where = [str(file)]
        if column is not None:
            where.append(f"column {column!r}")
        if row is not None:
            where.append(f"row {row}")
        super().__init__(f"{', '.join(where)}: {message}", remedy=remedy)
        self.file, self.column, self.row = str(file), column, row


class ItemsError(InputError):
    """A file of benchmark items is malformed; the message names file, line and field."""


class ArtefactError(InputError):
    """A saved router folder cannot be loaded."""


class UnknownNameError(InputError):
    """A name that nobody registered, or a candidate outside the herd."""


class HerdMismatchError(InputError):
    """A router and a herd that do not belong together."""


class UnknownCostError(InputError):
    """A goal weighs cost, but no candidate's cost is known."""


class NoCandidateError(InputError):
    """No candidate meets the constraints.

    Args:
        removed: candidate -> the constraint that removed it.
    """

    def __init__(self, message: str, *, removed: dict[str, str] | None = None, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.removed = removed or {}


class RequestError(InputError):
    """A request that cannot be served as it stands.

    Args:
        status: HTTP status.
        param: the offending field, as OpenAI's error shape names it.
        code: a short machine-readable reason.
        retry_after_s: seconds after which the same request may be served.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
        remedy: str = "",
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.status, self.param, self.code, self.retry_after_s = status, param, code, retry_after_s


class MissingExtraError(HerdwiseError):
    """An optional dependency is not installed.

    Args:
        what: what was asked for.
        extra: the extra that brings it.
    """

    def __init__(self, what: str, *, extra: str) -> None:
        super().__init__(f"{what} needs an optional dependency.", remedy=f"pip install 'herdwise[{extra}]'")
        self.extra = extra


class BackendError(HerdwiseError):
    """One candidate could not answer; another may.

    Args:
        candidate: who failed.
        status: the upstream's HTTP status, where there was one.
        body: the upstream's own error object, where it gave one.
        retryable: whether the same candidate may be asked again at once.
    """

    retryable = False
    kind = "backend_error"

    def __init__(
        self,
        message: str,
        *,
        candidate: str = "",
        status: int | None = None,
        body: object = None,
        retry_after_s: float | None = None,
        remedy: str = "",
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.candidate, self.status, self.body, self.retry_after_s = candidate, status, body, retry_after_s


class ConnectError(BackendError):
    """The upstream is unreachable or reset the connection."""

    retryable = True
    kind = "connect_error"


class UnreachableError(ConnectError):
    """No connection came about, so nothing was asked and nothing was spent."""


class TimeoutError_(BackendError):  # noqa: N801, N818 - TimeoutError is a builtin
    """A connect, first-token or total timeout ran out."""

    kind = "timeout"


class RateLimitError(BackendError):
    """The upstream sent 429 or 529."""

    retryable = True
    kind = "rate_limited"


class UpstreamStatusError(BackendError):
    """The upstream sent an error status."""

    kind = "upstream_status"


class BadResponseError(BackendError):
    """The upstream's answer is not what its API promises."""

    kind = "bad_response"


class NoRecordError(BackendError):
    """The recorded backend holds no text for this query."""

    kind = "no_record"


class UnsupportedError(BackendError):
    """The candidate's API has no place for what the request asks; nothing was sent.

    Args:
        what: of the request, such as "n = 3".
        candidate: who cannot do it.
    """

    kind = "unsupported"

    def __init__(self, what: str, *, candidate: str) -> None:
        super().__init__(f"candidate {candidate!r}: its API cannot do {what}.", candidate=candidate)


class OverloadedError(BackendError):
    """Too many asks wait for this candidate already."""

    kind = "overloaded"

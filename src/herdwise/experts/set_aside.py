"""Asks that a teacher did not answer: set aside with their reason, until there are too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from herdwise.core.errors import BackendError, ConnectError, RateLimitError, UnsupportedError
from herdwise.storage.whole_files import write_whole

#: Share of the asks that may be set aside.
MAX_SHARE = 0.2
#: So many are set aside whatever their share: of the first few asks it says nothing.
FEW = 10
#: Statuses that say that no other ask will fare better: the key, the money or the model is missing.
_HOPELESS = frozenset({401, 402, 404, 405, 410, 501})


class SetAside(msgspec.Struct, frozen=True):
    """One ask without a reply.

    Args:
        asked: the end of what was asked.
        reason: what the teacher, or the way to it, said.
    """

    asked: str
    reason: str


class Ending:
    """Decides after each failed ask whether others are worth making.

    Args:
        who: is asked, for messages.
        max_share: of the asks, see ``MAX_SHARE``.

    Attributes:
        error: why nobody is asked any more; None while asking goes on.
        set_aside: asks that failed alone.
    """

    def __init__(self, who: str, max_share: float = MAX_SHARE) -> None:
        self._who, self._max_share = who, max_share
        self._n_refused = 0
        self.error: BackendError | None = None
        self.set_aside: list[SetAside] = []

    def count(self, error: BackendError, asked: str, *, n_answered: int, gave_up: str | None) -> None:
        """Take a failed ask into account.

        Args:
            error: of the last attempt.
            asked: the text of the ask.
            n_answered: asks with a reply so far.
            gave_up: why its candidate is to be left alone; None = it is not.
        """
        if not isinstance(error, UnsupportedError):  # nothing was sent, and nothing refused
            self._n_refused += 1
        if error.status in _HOPELESS or isinstance(error, ConnectError | RateLimitError) or gave_up:
            error.remedy = error.remedy or "What was answered is kept: run the same command again then."
            self.error = self.error or error
            return
        self.set_aside.append(SetAside(asked, error.message))
        n = n_answered + self._n_refused
        if self._n_refused > FEW and self._n_refused > self._max_share * n:
            self.error = self.error or BackendError(
                f"{self._who}: {self._n_refused} of {n} asks failed, more than {self._max_share:.0%};"
                f" the last: {error.message}",
                candidate=self._who,
                status=error.status,
                remedy="Mend that, or allow more with --max-refused, and run the same command again:"
                " what was answered is kept.",
            )

    def told(self) -> str:
        """The reasons in a line, the commonest first."""
        reasons = Counter(each.reason for each in self.set_aside).most_common(3)
        return "; ".join(f"{n} times {reason}" for reason, n in reasons)


@contextmanager
def kept_aside(ending: Ending, path: Path, note: Callable[[str], None] | None) -> Iterator[None]:
    """What was set aside stands in a file, however the asking ends.

    Args:
        ending: of whom is asked meanwhile.
        path: of the file, JSON lines; empty where nothing was set aside.
        note: told in a sentence what was.
    """
    try:
        yield
    finally:
        write_whole(path, b"".join(msgspec.json.encode(each) + b"\n" for each in ending.set_aside))
        if ending.set_aside and note is not None:
            note(f"{len(ending.set_aside)} asks were set aside, see {path}: {ending.told()}")

"""Who has which conversation, by a session header or by the leading messages."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

_encode = msgspec.json.Encoder(order="deterministic").encode
_DIGEST_BYTES = 16


class Threads:
    """Conversation -> the candidate that answered last. Holds digests, never texts.

    A client may name its session (``x-herdwise-session``). Without a name a conversation is known by its
    messages: what was sent when the last answer was given is what stands before that answer in the next
    request. So an edited or shortened history is a new conversation. Both are kept apart by key.

    Args:
        most: conversations remembered; the longest unused is forgotten first.
        keep_s: seconds until one is forgotten.
        clock: seconds, monotonic.
    """

    def __init__(
        self, most: int = 100_000, keep_s: float = 3600.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._keep_s, self._clock = most, keep_s, clock
        self._having: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        #: Told of every conversation that is noted: its digest and the candidate's name.
        self.on_note: Callable[[bytes, str], None] | None = None

    def __len__(self) -> int:
        return len(self._having)

    def find(self, messages: Sequence[Any], session: bytes | None, scope: bytes = b"") -> str | None:
        """Who has the conversation that this request goes on with; None = nobody, or nobody knows.

        Args:
            messages: of the request.
            session: its name, None = known by its messages.
            scope: whose conversations: a digest of the client's key.
        """
        if session is None:
            said = answered(messages)
            if said == 0:
                return None
            key = _digest(scope, messages[:said])
        else:
            key = _digest(scope, session)
        found = self._having.get(key)
        if found is None:
            return None
        candidate, at = found
        if self._clock() - at > self._keep_s:
            del self._having[key]
            return None
        return candidate

    def note(
        self, messages: Sequence[Any], session: bytes | None, candidate: str, scope: bytes = b""
    ) -> None:
        """A candidate answered: it has the conversation."""
        key = _digest(scope, messages if session is None else session)
        self._keep(key, candidate, self._clock())
        if self.on_note is not None:
            self.on_note(key, candidate)

    def hear(self, key: bytes, candidate: str, age_s: float) -> None:
        """Another gateway noted a conversation so many seconds ago; what was noted since goes before."""
        at, known = self._clock() - age_s, self._having.get(key)
        if age_s < self._keep_s and (known is None or known[1] < at):
            self._keep(key, candidate, at)

    def _keep(self, key: bytes, candidate: str, at: float) -> None:
        self._having[key] = (candidate, at)
        self._having.move_to_end(key)
        while len(self._having) > self._most:
            self._having.popitem(last=False)


def answered(messages: Sequence[Any]) -> int:
    """How many messages stand before the last answer; 0 = there is no answer yet."""
    for place in range(len(messages) - 1, 0, -1):
        message = messages[place]
        if isinstance(message, Mapping) and message.get("role") == "assistant":
            return place
    return 0


def tool_loop(messages: Sequence[Any]) -> bool:
    """Whether the request brings results of tools that the last answer called."""
    last = messages[-1] if messages else None
    return isinstance(last, Mapping) and last.get("role") in {"tool", "function"}


def _digest(scope: bytes, what: Any) -> bytes:
    return hashlib.blake2b(scope + b"\0" + _encode(what), digest_size=_DIGEST_BYTES).digest()

"""Who has which conversation, by a session header or by the leading messages."""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

_encode = msgspec.json.Encoder(order="deterministic").encode
_DIGEST_BYTES = 16
#: A conversation: its digest, the number of its candidate's name (0 = nobody has it), when it was noted.
_ENTRY = struct.Struct(f"<{_DIGEST_BYTES}sId")
#: Conversations of one group; which is longest unused is looked for within a group.
_GROUP = 32


class Threads:
    """Conversation -> the candidate that answered last. Holds digests, never texts.

    A client may name its session (``x-herdwise-session``). Without a name a conversation is known by its
    messages: what was sent when the last answer was given is what stands before that answer in the next
    request. So an edited or shortened history is a new conversation. Both are kept apart by key.

    Every request notes a conversation, and hardly any of them is gone on with. So they stand in one table of
    28 bytes each, which never grows, in place of objects of 300 each. A digest says in which group of 32 its
    place is; there the latest stands first, and pushes out the last.

    Args:
        most: conversations remembered, in whole groups. Digests fall evenly upon the groups: of a thousand
            conversations at most one is forgotten before half of ``most`` newer ones were noted.
        keep_s: seconds until one is forgotten.
        clock: seconds, monotonic.
    """

    def __init__(
        self, most: int = 100_000, keep_s: float = 3600.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        in_group = min(_GROUP, most)
        self._n_groups, self._group_bytes = most // in_group, in_group * _ENTRY.size
        self._table = bytearray(self._n_groups * self._group_bytes)
        self._keep_s, self._clock = keep_s, clock
        #: Names of the config's candidates, and of other gateways' ones; 0 is nobody's number.
        self._names, self._number_of = [""], {"": 0}
        #: Told of every conversation that is noted: its digest and the candidate's name.
        self.on_note: Callable[[bytes, str], None] | None = None

    def __len__(self) -> int:
        return sum(number > 0 for _, number, _ in _ENTRY.iter_unpack(self._table))

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
        place = self._place(key)
        if place is None:
            return None
        number: int
        _, number, at = _ENTRY.unpack_from(self._table, place)
        if self._clock() - at > self._keep_s:
            _ENTRY.pack_into(self._table, place, b"", 0, 0.0)
            return None
        return self._names[number]

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
        at, place = self._clock() - age_s, self._place(key)
        known_at = None if place is None else _ENTRY.unpack_from(self._table, place)[2]
        if age_s < self._keep_s and (known_at is None or known_at < at):
            self._keep(key, candidate, at)

    def _group(self, key: bytes) -> int:
        """Where in the table a key's group begins."""
        return int.from_bytes(key[:8], "little") % self._n_groups * self._group_bytes

    def _place(self, key: bytes) -> int | None:
        """Where in the table a key stands; None = nowhere. No key turns up by chance across two entries."""
        start = self._group(key)
        place = self._table.find(key, start, start + self._group_bytes)
        return None if place < 0 else place

    def _keep(self, key: bytes, candidate: str, at: float) -> None:
        number = self._number_of.get(candidate)
        if number is None:
            number = self._number_of[candidate] = len(self._names)
            self._names.append(candidate)
        table, start = self._table, self._group(key)
        end = start + self._group_bytes
        place = table.find(key, start, end)
        # All that is newer moves on by one, onto the key's old place or over the last of the group.
        last = end - _ENTRY.size if place < 0 else place
        table[start + _ENTRY.size : last + _ENTRY.size] = table[start:last]
        _ENTRY.pack_into(table, start, key, number, at)


def answered(messages: Sequence[Any]) -> int:
    """How many messages stand before the last answer; 0 = there is no answer yet."""
    for place in range(len(messages) - 1, 0, -1):
        message = messages[place]
        if isinstance(message, (dict, Mapping)) and message.get("role") == "assistant":
            return place
    return 0


def tool_loop(messages: Sequence[Any]) -> bool:
    """Whether the request brings results of tools that the last answer called."""
    last = messages[-1] if messages else None
    return isinstance(last, (dict, Mapping)) and last.get("role") in {"tool", "function"}


def _digest(scope: bytes, what: Any) -> bytes:
    return hashlib.blake2b(scope + b"\0" + _encode(what), digest_size=_DIGEST_BYTES).digest()

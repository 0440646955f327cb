"""Unpacks bodies that come compressed although they were asked for as they are."""

from __future__ import annotations

import zlib

from herdwise.core.errors import BadResponseError

#: Unpacked bytes at a time, so that a small body that unpacks to a huge one meets its bound.
_MOST = 256 * 1024
_PLAIN = frozenset({"", "identity"})


class Inflate:
    """Bytes of a body in, unpacked bytes out.

    Args:
        encoding: gzip or deflate (of which servers send two kinds).
        candidate: whom errors name.
    """

    def __init__(self, encoding: str, candidate: str) -> None:
        self._encoding, self._candidate = encoding, candidate
        self._unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Unpacked bytes, a bounded number of them, and what of ``data`` is still to be fed.

        Raises:
            BadResponseError: when it is not compressed as it says.
        """
        if self._unpacker is None:
            raw = data[0] & 0x0F != 8  # without zlib's frame
            self._unpacker = zlib.decompressobj(-zlib.MAX_WBITS if raw else zlib.MAX_WBITS)
        if self._unpacker.eof:
            return b"", b""
        try:
            return self._unpacker.decompress(data, _MOST), self._unpacker.unconsumed_tail
        except zlib.error:
            raise self._broken() from None

    def end(self) -> None:
        """The body is over.

        Raises:
            BadResponseError: when it ended too soon.
        """
        if self._unpacker is not None and not self._unpacker.eof:
            raise self._broken()

    def _broken(self) -> BadResponseError:
        return BadResponseError(
            f"candidate {self._candidate!r}: the body cannot be decompressed.", candidate=self._candidate
        )


def inflate(encoding: str, candidate: str) -> Inflate | None:
    """What unpacks a body of a ``Content-Encoding``; None where there is nothing to unpack.

    Raises:
        BadResponseError: when nothing here can.
    """
    encoding = encoding.strip().lower().removeprefix("x-")
    if encoding in _PLAIN:
        return None
    if encoding in {"gzip", "deflate"}:
        return Inflate(encoding, candidate)
    raise BadResponseError(
        f"candidate {candidate!r}: the body cannot be decompressed: it was sent as {encoding[:40]!r}.",
        candidate=candidate,
    )

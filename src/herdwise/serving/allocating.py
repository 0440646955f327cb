"""What the process keeps of memory that it needs no more, and how it is given back."""

from __future__ import annotations

import ctypes
import gc

#: Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
#: Blocks from this on are the system's own, and go back to it at once: glibc's value at the start.
_LARGE_BYTES = 128 * 1024
#: So much is kept at the end of the heap for the next request.
_SPARE_BYTES = 1024 * 1024


def give_back_large_blocks() -> bool:
    """Keep large blocks out of the heap, for good. Returns whether the C library can be told, as glibc can.

    By itself glibc raises the bound to the size of what was freed last, up to 32 MB: after a few questions of
    megabytes they lie in the heap, between small blocks that stay, and the process keeps several times what
    it needs. Figures: docs/experiments/2026-11-21-gateway.md, "Memory".
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    large = mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    return bool(large and mallopt(_M_TRIM_THRESHOLD, _SPARE_BYTES))


def clear_away() -> None:
    """Free what a reload has put out of use. Nothing else goes on meanwhile, for some 50 ms.

    A router and what serves it hold each other, and the interpreter by itself looks for such cycles only
    after millions of new objects, and never among those that were set aside at the start.
    """
    set_aside = gc.get_freeze_count() > 0
    gc.unfreeze()
    gc.collect()
    if set_aside:
        gc.freeze()

"""Large blocks go back to the system as soon as they are free."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

#: In a process of its own, as what is said to the C library cannot be taken back.
PROGRAM = """
import ctypes, sys
from herdwise.serving.allocating import give_back_large_blocks

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

info = ctypes.CDLL(None).mallinfo2
info.restype = Info
if sys.argv[1] == "told":
    assert give_back_large_blocks()
freed = bytes(8_000_000)  # by itself glibc takes such blocks from the heap from now on
del freed
before = info().hblks
blocks = [bytes(1_000_000 + i) for i in range(20)]
print(info().hblks - before)
del blocks
print(info().hblks - before)
"""


def own_blocks(how: str) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True, timeout=60
    )
    return [int(line) for line in done.stdout.split()]


@pytest.mark.skipif(
    getattr(ctypes.CDLL(None), "mallinfo2", None) is None, reason="the C library is not glibc 2.33 or later"
)
def test_large_blocks_stay_out_of_the_heap_after_larger_ones_were_freed() -> None:
    assert own_blocks("untold") == [0, 0]
    assert own_blocks("told") == [20, 0]

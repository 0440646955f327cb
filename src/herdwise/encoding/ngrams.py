"""Signed hashed character n-grams: tells apart what the vocabulary of a word table does not know."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import numpy as np

#: Odd constants of multiplicative hashing (Knuth, TAOCP 3, 6.4; the finaliser of MurmurHash3).
_STEP = np.uint32(0x9E3779B1)
_MIX = np.uint32(0x85EBCA6B)
_HALF = np.uint32(15)
#: The same as arrays, which are multiplied by sooner.
_STEP_0D, _MIX_0D, _HALF_0D = np.array(_STEP), np.array(_MIX), np.array(_HALF)
_POINT = np.dtype("<u4")
#: The number of buckets at which sign and bucket together are a byte, and where it stands.
_BYTE_BUCKETS, _HIGHEST = 128, slice(3 if sys.byteorder == "little" else 0, None, 4)


def hashed_ngrams(texts: Sequence[str], n_buckets: int, *, smallest: int = 2, largest: int = 4) -> np.ndarray:
    """Counts of character n-grams, hashed with a sign (Weinberger et al. 2009), each row of length one.

    Works on code points, so that every script is served: in Chinese a bigram is about a word. A space is put
    before and after each text. The sign keeps the expected inner product of unrelated texts unbiased.

    Args:
        texts: taken as they are; lower the case before.
        n_buckets: a power of two.
        smallest: shortest n-gram in code points.
        largest: longest n-gram in code points.

    Returns:
        ``(n_texts, n_buckets)`` float32 with rows of Euclidean length 1; an empty row (possible where signs
        cancel) stays 0.
    """
    n = len(texts)
    joined = "".join([f" {text} " for text in texts]).encode("utf-32-le", "surrogatepass")
    points = np.frombuffer(joined, dtype="<u4")
    owner = None if n == 1 else np.repeat(np.arange(n), [len(text) + 2 for text in texts])
    hashes, owners = [], []
    h = points
    for size in range(2, largest + 1):
        h = h[:-1] * _STEP
        h += points[size - 1 :]
        if size >= smallest:
            if owner is None:
                hashes.append(h)
            else:
                inside = owner[: len(h)] == owner[size - 1 :]
                hashes.append(h[inside])
                owners.append(owner[: len(h)][inside])
    mixed = np.concatenate(hashes)
    mixed ^= mixed >> _HALF
    mixed *= _MIX
    # The top bits are the well-mixed ones: the first is the sign, the others are the bucket.
    cells = (mixed >> np.uint32(32 - n_buckets.bit_length())).astype(np.intp)
    if owner is not None:
        cells += np.concatenate(owners) * (2 * n_buckets)
    counts = np.bincount(cells, minlength=2 * n_buckets * n).reshape(n, 2, n_buckets)
    signed = (counts[:, 0] - counts[:, 1]).astype(np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", signed, signed))
    signed /= np.where(lengths > 0, lengths, 1.0)[:, None].astype(np.float32)
    return signed


def hashed_ngrams_one(
    text: str, n_buckets: int, *, smallest: int = 2, largest: int = 4, length: float = 1.0
) -> np.ndarray:
    """The same of one text, ``(n_buckets,)`` of any length, without what only many need; the serving path."""
    points = np.frombuffer(f" {text} ".encode("utf-32-le", "surrogatepass"), dtype=_POINT)
    n = len(points)
    sizes = [max(n - size + 1, 0) for size in range(2, largest + 1)]
    hashes = np.empty(sum(sizes), dtype=np.uint32)
    h, end, skipped = points, 0, sum(sizes[: smallest - 2])
    for size, count in enumerate(sizes, 2):
        start, end = end, end + count
        begun, h = h, hashes[start:end]
        np.multiply(begun[:count], _STEP_0D, h)
        np.add(h, points[size - 1 :], h)
    mixed = hashes[skipped:]
    mixed ^= mixed >> _HALF_0D
    np.multiply(mixed, _MIX_0D, mixed)
    if n_buckets == _BYTE_BUCKETS:  # sign and bucket are the highest byte
        counts = np.bincount(mixed.view(np.uint8)[_HIGHEST], minlength=2 * n_buckets)
    else:
        mixed >>= np.uint32(32 - n_buckets.bit_length())
        counts = np.bincount(mixed, minlength=2 * n_buckets)
    signed: np.ndarray = (counts[:n_buckets] - counts[n_buckets:]).astype(np.float32)
    found = math.sqrt(signed.dot(signed))
    if found > 0:
        signed *= np.float32(length / found)
    return signed

"""A seeded permutation of `range(n)` that needs no table."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 6


def stable_key(*parts: object) -> int:
    """Return a 64-bit integer that depends on `parts` alone, the same in every process."""
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def permute(index: NDArray[np.int64] | int, n: int, key: int) -> NDArray[np.int64]:
    """Map positions in `range(n)` through the permutation that `key` selects.

    A Feistel network over the next even power of two, walked along its cycles until the value
    falls below `n`: every position is hit exactly once, in O(1) memory, so that a domain of any
    size is shuffled without a table and any position can be resumed.

    Args:
        index: positions, each in [0, n).
        n: size of the permuted range, at least 1.
        key: 64-bit integer; another key is another permutation.

    Returns:
        int64 array of the shape of `index`.
    """
    value = np.atleast_1d(np.asarray(index, dtype=np.uint64)).copy()
    if n < 1 or (value >= n).any():
        raise ValueError(f"positions must lie in [0, {n}), got {index!r}")
    half = max(1, (max(n - 1, 1).bit_length() + 1) // 2)
    mask = np.uint64((1 << half) - 1)
    shift = np.uint64(half)
    keys = round_keys(key)
    outside = np.ones(len(value), dtype=bool)
    while outside.any():
        left, right = value[outside] >> shift, value[outside] & mask
        for round_key in keys:
            left, right = right, left ^ (_mix(right ^ round_key) & mask)
        value[outside] = (left << shift) | right
        outside = value >= n
    return value.astype(np.int64)


def round_keys(key: int) -> NDArray[np.uint64]:
    """Return the (6,) keys of the rounds of the permutation that `key` selects."""
    return np.array([stable_key(key, r) for r in range(_ROUNDS)], dtype=np.uint64)


def permute_each(
    index: NDArray[np.int64], n: NDArray[np.int64], keys: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """Map each position through a permutation of its own: `permute`, for M permutations at once.

    Args:
        index: (M,) positions, each in [0, n).
        n: (M,) sizes of the permuted ranges.
        keys: (M, 6) keys of the rounds (`round_keys`).

    Returns:
        (M,) int64.
    """
    if len(index) and ((index < 0) | (index >= n)).any():
        raise ValueError("every position must lie in [0, n) of its own range")
    # frexp's exponent is the bit length, exact below 2^53.
    bits = np.frexp(np.maximum(n - 1, 1).astype(np.float64))[1].astype(np.int64)
    half = np.maximum(1, (bits + 1) // 2).astype(np.uint64)
    value, limit = index.astype(np.uint64), n.astype(np.uint64)
    outside = np.arange(len(index))
    while len(outside):
        shift, key = half[outside], keys[outside]
        mask = (np.uint64(1) << shift) - np.uint64(1)
        left, right = value[outside] >> shift, value[outside] & mask
        for r in range(_ROUNDS):
            left, right = right, left ^ (_mix(right ^ key[:, r]) & mask)
        moved = (left << shift) | right
        value[outside] = moved
        outside = outside[moved >= limit[outside]]
    return value.astype(np.int64)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    # A 64-bit finaliser (two multiply-xorshift rounds); overflow wraps, as intended.
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
        x = (x ^ (x >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return x ^ (x >> np.uint64(33))

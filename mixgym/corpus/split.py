"""Which document goes to train, validation or test: by hash of its source group, sized in bytes."""

from __future__ import annotations

import numpy as np

SPLITS = ("train", "validation", "test")

LARGEST_GROUP = 1 / 8
"""No source group (one bundled file, say) fills more than this share of a capped train split."""


def assign_splits(
    lengths: np.ndarray,
    groups: np.ndarray,
    keys: np.ndarray,
    *,
    cap: int | None,
    validation_bytes: int,
    test_bytes: int,
) -> dict[str, np.ndarray]:
    """Document numbers of every split, shuffled.

    `lengths` (bytes), `groups` and `keys` (uint64 fingerprints) have one entry a document. Groups
    are visited in the order of their fingerprints and fill validation, then test, to the wanted
    sizes; groups over a quarter of an evaluation split stay in train, so that no single source
    dominates it (unless there is nothing else). The rest is train, in the order of the documents'
    fingerprints, up to `cap` bytes.
    """
    names, member = np.unique(groups, return_inverse=True)
    sizes = np.bincount(member, weights=lengths + 1, minlength=len(names)).astype(np.int64)
    owner = np.full(len(names), "train", dtype="U10")
    for split, wanted in (("validation", validation_bytes), ("test", test_bytes)):
        free = np.flatnonzero(owner == "train")
        small = free[sizes[free] <= max(wanted // 4, 1)]
        if sizes[small].sum() < wanted:
            # Too little in small groups: take the smallest groups, but leave one to train on.
            small = free[np.lexsort((free, sizes[free]))][: max(len(free) - 1, 0)]
        before = np.cumsum(sizes[small]) - sizes[small]
        owner[small[before < wanted]] = split
    owners = owner[member]
    orders = {}
    for split in SPLITS:
        chosen = np.flatnonzero(owners == split)
        orders[split] = chosen[np.argsort(keys[chosen], kind="stable")]
    if cap is not None:
        orders["train"] = _capped(orders["train"], lengths, member, cap)
    return orders


def _capped(order: np.ndarray, lengths: np.ndarray, member: np.ndarray, cap: int) -> np.ndarray:
    """The first documents of `order` that fit into `cap` bytes, none of its groups dominating."""
    by_group = np.argsort(member[order], kind="stable")
    size = lengths[order][by_group] + 1
    running = np.cumsum(size)
    group = member[order][by_group]
    first = np.flatnonzero(np.diff(group, prepend=-1))
    start = (running - size)[first]
    within = running - np.repeat(start, np.diff(np.append(first, len(group))))
    fits = np.empty(len(order), dtype=bool)
    fits[by_group] = within <= cap * LARGEST_GROUP
    kept = order[fits] if lengths[order].sum() + len(order) > cap else order
    return kept[np.cumsum(lengths[kept] + 1) <= cap]

"""Pinned torch threads, so that a run's arithmetic does not depend on the machine's idle cores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def pinned_threads(n: int) -> Iterator[None]:
    """Run a block with `n` intra-op threads and restore the previous number afterwards."""
    before = torch.get_num_threads()
    if before == n:
        yield
        return
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def private_rng(state: torch.Tensor | int) -> Iterator[None]:
    """Run a block on its own torch CPU generator state (or seed); the global state is restored."""
    before = torch.get_rng_state()
    try:
        if isinstance(state, int):
            torch.default_generator.manual_seed(state)
        else:
            torch.set_rng_state(state)
        yield
    finally:
        torch.set_rng_state(before)

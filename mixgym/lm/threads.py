"""Pinned torch threads and private random states: what a run computes depends on it alone."""

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


def rng_state(device: str) -> dict[str, torch.Tensor]:
    """Return torch's generator states that code on `device` draws from, by device type."""
    states = {"cpu": torch.get_rng_state()}
    if torch.device(device).type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_rng_state(states: dict[str, torch.Tensor], device: str) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


@contextmanager
def private_rng(state: dict[str, torch.Tensor] | int, device: str = "cpu") -> Iterator[None]:
    """Run a block on its own generator states (or seed); the global ones are restored."""
    before = rng_state(device)
    try:
        if isinstance(state, int):
            torch.default_generator.manual_seed(state)
            if "cuda" in before:
                torch.cuda.manual_seed(state)
        else:
            _set_rng_state(state, device)
        yield
    finally:
        _set_rng_state(before, device)

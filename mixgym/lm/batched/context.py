"""The torch state and the precision that batched runs compute with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mixgym.errors import unknown_name
from mixgym.lm.precision import resolve_precision
from mixgym.lm.settings import Settings
from mixgym.lm.torchstate import own_torch_state

PRECISIONS = ("fp32", "tf32", "bf16")


def batched_precision(precision: str | None, settings: Settings, config: object) -> str:
    """Return one of `PRECISIONS`: what was asked for, or what the settings say.

    Raises:
        UnknownNameError: another name.
    """
    if precision is None:
        return resolve_precision(settings, config)
    if precision not in PRECISIONS:
        raise unknown_name("precision of a batched run", precision, PRECISIONS)
    return precision


@contextmanager
def batched_torch_state(settings: Settings, precision: str) -> Iterator[None]:
    """Run a block under `own_torch_state`, with CUDA's tf32 matrix units where asked for."""
    with own_torch_state(settings.threads, settings.device):
        if precision != "tf32":
            yield
            return
        matmul = torch.backends.cuda.matmul
        before, matmul.fp32_precision = matmul.fp32_precision, "tf32"
        try:
            yield
        finally:
            matmul.fp32_precision = before


def model_autocast(settings: Settings, precision: str) -> torch.autocast:
    """Return a fresh context for a forward pass.

    Casts are not cached: the cache would outlive the functional transforms' parameters.
    """
    device = torch.device(settings.device).type
    enabled = precision == "bf16"
    return torch.autocast(device, dtype=torch.bfloat16, enabled=enabled, cache_enabled=False)

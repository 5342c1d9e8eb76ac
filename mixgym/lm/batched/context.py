"""The torch state that batched runs compute under, whatever the caller's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mixgym.errors import unknown_name
from mixgym.lm.precision import resolve_precision
from mixgym.lm.settings import Settings
from mixgym.lm.threads import pinned_threads

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
def own_torch_state(settings: Settings, precision: str) -> Iterator[None]:
    """Run a block with gradients on, float32, no autocast, and the runs' threads and matrix units.

    Everything is as it was afterwards. tf32 is a setting of CUDA's matrix products alone.
    """
    dtype = torch.get_default_dtype()
    tf32 = precision == "tf32"
    device = torch.device(settings.device)
    before = _set_tf32(tf32)
    try:
        torch.set_default_dtype(torch.float32)
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast("cpu", enabled=False),
            torch.autocast(device.type, enabled=False),
            torch.device("cpu"),
            pinned_threads(settings.threads),
        ):
            yield
    finally:
        torch.set_default_dtype(dtype)
        _restore_tf32(before)


def _set_tf32(on: bool) -> str | bool:
    matmul = torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):
        before = matmul.fp32_precision
        matmul.fp32_precision = "tf32" if on else "ieee"
    else:
        before, matmul.allow_tf32 = matmul.allow_tf32, on
    return before


def _restore_tf32(before: str | bool) -> None:
    if isinstance(before, str):
        torch.backends.cuda.matmul.fp32_precision = before
    else:
        torch.backends.cuda.matmul.allow_tf32 = before


def model_autocast(settings: Settings, precision: str) -> torch.autocast:
    """Return a fresh context for a forward pass.

    Casts are not cached: the cache would outlive the functional transforms' parameters.
    """
    device = torch.device(settings.device).type
    enabled = precision == "bf16"
    return torch.autocast(device, dtype=torch.bfloat16, enabled=enabled, cache_enabled=False)

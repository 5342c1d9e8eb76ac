"""A run computes under torch's own defaults, whatever its caller has set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from mixgym.errors import MixgymError
from mixgym.lm.threads import pinned_threads


@contextmanager
def own_torch_state(threads: int, device: str = "cpu") -> Iterator[None]:
    """Run a block under torch's defaults, and restore the caller's state afterwards.

    Gradients are on, inference mode and autocast off, the default dtype is float32, the default
    device the CPU, float32 matrix products are not rounded, and `threads` intra-op threads
    compute. A caller's `torch.use_deterministic_algorithms` stays as it is.

    Args:
        threads: of the block.
        device: where it computes.
    """
    kind = torch.device(device).type
    with ExitStack() as stack:
        stack.enter_context(pinned_threads(threads))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(_no_autocast(kind))
        stack.enter_context(_exact_products(kind))
        if torch.get_default_dtype() != torch.float32:
            stack.callback(torch.set_default_dtype, torch.get_default_dtype())
            torch.set_default_dtype(torch.float32)
        if torch.get_default_device().type != "cpu":
            # Only where it is needed: every call of a torch function passes through it.
            stack.enter_context(torch.device("cpu"))
        yield


@contextmanager
def _no_autocast(kind: str) -> Iterator[None]:
    """Leave the caller's autocast; `torch.autocast(enabled=False)` would nest in it.

    Weights that autocast has cast are kept until the outermost autocast is left: nested, a run
    would go on with those of its first step.
    """
    depth = torch.autocast_increment_nesting() - 1
    torch.autocast_decrement_nesting()
    if depth == 0:
        yield
        return
    enabled = torch.is_autocast_enabled(kind)
    torch.set_autocast_enabled(kind, False)
    torch.clear_autocast_cache()
    for _ in range(depth):
        torch.autocast_decrement_nesting()
    try:
        yield
    finally:
        torch.clear_autocast_cache()
        for _ in range(depth):
            torch.autocast_increment_nesting()
        torch.set_autocast_enabled(kind, enabled)


@contextmanager
def _exact_products(kind: str) -> Iterator[None]:
    """Let float32 matrix products be computed in float32."""
    library: Any = torch.backends.cuda if kind == "cuda" else torch.backends.mkldnn
    backend: Any = getattr(library, "matmul", None)
    before = getattr(backend, "fp32_precision", "ieee")
    if before in ("none", "ieee"):
        yield
        return
    backend.fp32_precision = "ieee"
    try:
        yield
    finally:
        backend.fp32_precision = before


def check_device(device: str) -> None:
    """Raise `MixgymError` for a device that this machine or this build of torch lacks."""
    place = torch.device(device)
    if place.type != "cuda":
        return
    number = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if number == 0:
        raise MixgymError(
            f"device={device!r}: torch {torch.__version__} finds no CUDA device here: install a "
            "CUDA build of torch and a driver, or use device='cpu'"
        )
    if (place.index or 0) >= number:
        raise MixgymError(
            f"device={device!r}: there are {number} CUDA devices, 'cuda:0' to 'cuda:{number - 1}'"
        )

"""The floating-point precision a run trains in."""

from __future__ import annotations

from typing import Any

import torch

from mixgym.lm.settings import Settings


def resolve_precision(settings: Settings, config: Any) -> str:
    """Return `"fp32"` or `"bf16"` for `settings.precision`, deciding `"auto"` by the device."""
    if settings.precision != "auto":
        return settings.precision
    if getattr(config, "hidden_size", 0) < 128:
        return "fp32"
    if torch.device(settings.device).type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "fp32"

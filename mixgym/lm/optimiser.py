"""The optimiser of a training run."""

from __future__ import annotations

import torch

from mixgym.lm.settings import Settings


def build_optimiser(model: torch.nn.Module, settings: Settings) -> torch.optim.AdamW:
    """Return AdamW with weight decay on matrices only."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=settings.betas,
        fused=True,
    )

"""Weights of the domains' losses within a training step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mixgym.lm.stream import Batch

#: From a step's batch and its (B, context) token losses (nats per token, detached) to the (K,)
#: weights of the domains' losses in that very step. See also `prepare`.
Reweighting = Callable[[Batch, torch.Tensor], ArrayLike]


def prepare(loss_weights: ArrayLike | Reweighting | None, batch: Batch) -> None:
    """Tell a reweighting that has a method `prepare(batch)` of a step that is about to begin.

    Another model's losses belong here: before the run's own forward pass, whose memory they would
    otherwise be in the way of.
    """
    if (method := getattr(loss_weights, "prepare", None)) is not None:
        method(batch)


def loss_shares(
    batch: Batch, token_losses: torch.Tensor, loss_weights: ArrayLike | Reweighting
) -> NDArray[np.float64]:
    """Return the (B,) weights of a batch's sequences, positive and summing to one."""
    given = loss_weights(batch, token_losses) if callable(loss_weights) else loss_weights
    weights = np.asarray(given, dtype=np.float64)
    if weights.ndim != 1 or len(weights) <= batch.domains.max():
        raise ValueError(f"loss_weights must be one number a domain, got shape {weights.shape}")
    chosen = weights[batch.domains]
    if not (np.isfinite(chosen) & (chosen > 0)).all():
        raise ValueError(
            f"loss_weights must be positive and finite for every domain that is sampled, got "
            f"{weights.tolist()}: give a domain no weight in the mixture instead"
        )
    return chosen / chosen.sum()

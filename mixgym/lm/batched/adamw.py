"""AdamW on rows of parameters, with a learning rate, step count and clipping norm a row."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mixgym.lm.settings import Settings

#: torch.optim.AdamW's default.
EPSILON = 1e-8
#: `torch.nn.utils.clip_grad_norm_`'s.
CLIP_EPSILON = 1e-6


@dataclass
class Rows:
    """R models with their optimiser's moments, each (R, P) float32."""

    parameters: torch.Tensor
    exp_avg: torch.Tensor
    exp_avg_sq: torch.Tensor

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the three of them."""
        return self.parameters, self.exp_avg, self.exp_avg_sq

    @classmethod
    def empty(cls, number: int, size: int, device: str) -> Rows:
        """Return rows of zeros."""
        return cls(*(torch.zeros(number, size, device=device) for _ in range(3)))


def step_factors(
    settings: Settings,
    peaks: NDArray[np.float64],
    first: NDArray[np.int64],
    steps: int,
    total_steps: int,
) -> NDArray[np.float32]:
    """Return what the coming steps of R runs multiply by.

    Args:
        settings: of the runs.
        peaks: (R,) their learning rates' peaks.
        first: (R,) steps that each has taken.
        steps: that each is to take.
        total_steps: their budget.

    Returns:
        (steps, 3, R): the factor of weight decay, the step size with the first moment's bias
        correction, and the root of the second's.
    """
    pairs, inverse = np.unique(np.stack([peaks, first]), axis=1, return_inverse=True)
    beta1, beta2 = settings.betas
    distinct = np.empty((pairs.shape[1], steps, 3))
    for place, (peak, start) in enumerate(pairs.T.tolist()):
        own = replace(settings, learning_rate=peak)
        for step in range(steps):
            rate = own.learning_rate_at(int(start) + step, total_steps)
            taken = start + step + 1
            distinct[place, step] = (
                1.0 - rate * settings.weight_decay,
                rate / (1.0 - beta1**taken),
                (1.0 - beta2**taken) ** 0.5,
            )
    each = distinct[inverse.reshape(-1)].transpose(1, 2, 0)
    return np.ascontiguousarray(each, dtype=np.float32)


def peak_rates(given: ArrayLike | None, settings: Settings, N: int) -> NDArray[np.float64]:
    """Return the (N,) peaks of N runs' learning rates: those given, or the settings' for all.

    Raises:
        ValueError: not one positive number a run.
    """
    rates = np.array(settings.learning_rate if given is None else given, dtype=np.float64)
    if rates.shape not in ((), (N,)) or not (rates > 0).all():
        raise ValueError(f"learning_rates must be {N} positive numbers, one a run, got {given!r}")
    return np.broadcast_to(rates, (N,)).copy()


def current_rates(
    settings: Settings, peaks: NDArray[np.float64], step: NDArray[np.int64], total_steps: int
) -> NDArray[np.float64]:
    """Return the (R,) learning rates of the steps taken last, NaN before the first."""
    rates = [
        replace(settings, learning_rate=peak).learning_rate_at(taken - 1, total_steps)
        for peak, taken in zip(peaks.tolist(), step.tolist(), strict=True)
    ]
    return np.where(step > 0, rates, np.nan)


def adamw_(
    rows: Rows, gradients: torch.Tensor, factors: torch.Tensor, settings: Settings, decayed: int
) -> None:
    """Take a step in place, in `torch.optim.AdamW`'s order of operations; clip by row before.

    Args:
        rows: R models.
        gradients: (R, P), overwritten.
        factors: (3, R) of this step (`step_factors`).
        settings: of the runs.
        decayed: entries at the beginning of a row that weight decay applies to.
    """
    beta1, beta2 = settings.betas
    decay, size, root = factors.unsqueeze(-1)
    norm = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
    gradients.mul_((settings.clip / (norm + CLIP_EPSILON)).clamp(max=1.0))
    rows.parameters[:, :decayed].mul_(decay)
    rows.exp_avg.lerp_(gradients, 1.0 - beta1)
    rows.exp_avg_sq.mul_(beta2).addcmul_(gradients, gradients, value=1.0 - beta2)
    denominator = rows.exp_avg_sq.sqrt().div_(root).add_(EPSILON)
    rows.parameters.sub_(torch.div(rows.exp_avg, denominator, out=denominator).mul_(size))

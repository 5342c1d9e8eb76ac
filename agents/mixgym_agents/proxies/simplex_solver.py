"""Convex functions minimised over the mixtures that keep to repetition caps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mixgym.errors import MixgymError
from mixgym.simplex import TINY, Mixture

#: A point to its value and (K,) gradient.
Objective = Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]


def capped(mixture: Mixture, caps: NDArray[np.float64]) -> Mixture:
    """Return the mixture x <= caps with the least KL(x || mixture).

    Domains at their cap stay there, the others keep their proportions: x_i = min(cap_i, s m_i).
    Domains of no weight get some only where the caps of the others leave a rest.

    Raises:
        MixgymError: the caps sum to less than one.
    """
    if caps.sum() < 1 - TINY:
        raise MixgymError(f"the caps sum to {caps.sum()}: no mixture keeps to them")
    base = np.maximum(mixture, TINY)
    full = np.zeros(len(base), dtype=bool)
    while True:
        free = base[~full].sum()
        scale = (1.0 - caps[full].sum()) / free if free > 0 else 0.0
        result = np.where(full, caps, scale * base)
        beyond = ~full & (result > caps)
        if not beyond.any():
            return np.maximum(result, 0.0) / np.maximum(result, 0.0).sum()
        full |= beyond


def minimise(
    objective: Objective, start: Mixture, caps: NDArray[np.float64], tolerance: float = 1e-12
) -> Mixture:
    """Return the mixture that minimises a convex `objective` subject to 0 <= x <= caps.

    Scipy's SLSQP, started from the mixture nearest to `start` that keeps to the caps.

    Raises:
        MixgymError: the caps leave no mixture, or the solver fails.
    """
    from scipy.optimize import minimize

    first = capped(start, caps)
    # In units of its own slope, so that the tolerance means the same for every objective.
    unit = max(float(np.ptp(objective(first)[1])), TINY)

    def scaled(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, gradient = objective(np.maximum(x, 0.0))
        return value / unit, gradient / unit

    ones = np.ones(len(first))
    found = minimize(
        scaled,
        first,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, float(cap)) for cap in caps],
        constraints=[{"type": "eq", "fun": lambda x: x.sum() - 1.0, "jac": lambda x: ones}],
        options={"maxiter": 1000, "ftol": tolerance},
    )
    x = np.clip(found.x, 0.0, caps)
    improved = x.sum() > 0 and np.isfinite(found.fun) and found.fun <= scaled(first)[0] + 1e-9
    if not improved or abs(x.sum() - 1.0) > 1e-6:
        raise MixgymError(f"the mixture could not be optimised: {found.message}")
    return capped(x / x.sum(), caps)


def kl_divergence(x: NDArray[np.float64], prior: Mixture) -> tuple[float, NDArray[np.float64]]:
    """Return KL(x || prior) = sum_i x_i log(x_i / prior_i) and its gradient; 0 log 0 = 0."""
    ratio = np.log(np.maximum(x, TINY) / np.maximum(prior, TINY))
    return float(x @ ratio), ratio + 1.0

"""The scaling law that ADO fits to each domain's losses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HUBER = 1e-3
#: (a, e, alpha) bounds, for losses in nats per token.
BOUNDS: tuple[tuple[float | None, float | None], ...] = ((None, 6.5), (0.5, None), (0.0, 0.8))
_STARTS = 2

_GRID = np.stack(
    np.meshgrid(np.arange(-2, 6, 1), np.arange(-2, 2, 0.5), np.arange(0, 0.8, 0.1), indexing="ij"),
    axis=-1,
).reshape(-1, 3)


def predicted(law: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log L(n) = logaddexp(e, a - alpha log n) of (..., 3) laws at (T,) n: (..., T)."""
    a, e, alpha = law[..., 0, None], law[..., 1, None], law[..., 2, None]
    return np.logaddexp(a - alpha * np.log(n), e)


def objective(
    law: NDArray[np.float64], n: NDArray[np.float64], losses: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the Huber loss of log losses, summed over (T,) observations, and its gradient.

    `law` is (..., 3); the results are (...) and (..., 3).
    """
    log_n = np.log(n)
    prediction = predicted(law, n)
    residual = prediction - np.log(losses)
    size = np.abs(residual)
    value = np.where(size > HUBER, HUBER * (size - 0.5 * HUBER), 0.5 * residual**2).sum(axis=-1)
    slope = np.clip(residual, -HUBER, HUBER)
    # d logaddexp(x, e) = s dx + (1 - s) de, s the share of the reducible part
    share = np.exp(law[..., 0, None] - law[..., 2, None] * log_n - prediction)
    gradient = np.stack(
        [
            (slope * share).sum(axis=-1),
            (slope * (1 - share)).sum(axis=-1),
            -(slope * share * log_n).sum(axis=-1),
        ],
        axis=-1,
    )
    return value, gradient


def fit(n: NDArray[np.float64], losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (K, 3) laws (a, e, alpha) of best fit to (T, K) losses at (T,) sequences n.

    All starts are scored; from each domain's best ones L-BFGS runs on all domains at once (their
    losses add up, so that each is fitted by itself), and each domain keeps its best law.
    """
    from scipy.optimize import minimize

    K, series = losses.shape[1], losses.T
    lower = np.array([-np.inf if low is None else low for low, _ in BOUNDS])
    upper = np.array([np.inf if high is None else high for _, high in BOUNDS])
    grid = np.unique(np.clip(_GRID, lower, upper), axis=0)
    scores = np.array([objective(grid, n, own)[0] for own in series])
    order = np.argsort(scores, axis=1, kind="stable")

    def total(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        # Scaled, so that the Huber loss's small slope is no reason to stop.
        value, gradient = objective(flat.reshape(K, 3), n, series)
        return float(value.sum()) / HUBER, gradient.ravel() / HUBER

    laws, best = np.zeros((K, 3)), np.full(K, np.inf)
    for rank in range(_STARTS):
        found = minimize(
            total,
            grid[order[:, rank]].ravel(),
            jac=True,
            method="L-BFGS-B",
            bounds=BOUNDS * K,
            options={"maxiter": 500, "maxfun": 1000},
        )
        candidates = found.x.reshape(K, 3)
        values, _ = objective(candidates, n, series)
        better = values < best
        laws[better], best[better] = candidates[better], values[better]
    return np.where(np.isfinite(best)[:, None], laws, np.nan)

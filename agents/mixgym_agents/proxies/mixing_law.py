"""Data mixing laws: every domain's loss an exponential function of the mixture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixgym.simplex import Mixture
from mixgym_agents.checks import Positive
from mixgym_agents.proxies.simplex_solver import minimise
from mixgym_agents.proxies.swarm import Swarm, SwarmSearch, checked_runs

# Keeps exp finite where the optimiser strays.
_LARGEST = 50.0
_FLOORS = (0.0, 0.3, 0.6, 0.8, 0.9, 0.97)  # starts for c, as shares of the smallest loss
_NOISY = 1  # further starts from each of them


@dataclass(frozen=True)
class MixingLaw:
    """L_i(r) = c_i + exp(sum_j t_ij r_j), log k_i being contained in t_i.

    On the simplex k_i exp(sum_j t_ij r_j) = exp(sum_j (t_ij + log k_i) r_j): k_i and the level of
    t_i are one parameter.

    Attributes:
        floors: (M,) c_i, in the losses' unit, not negative.
        exponents: (M, K) t_ij.
        single: whether it was fitted to (n,) losses.
    """

    floors: NDArray[np.float64]
    exponents: NDArray[np.float64]
    single: bool = False

    def predict(self, mixtures: ArrayLike) -> NDArray[np.float64]:
        """Return (n, M) losses of (n, K) mixtures, (n,) if it was fitted to (n,) losses."""
        x = np.asarray(mixtures, dtype=np.float64)
        losses = self.floors + np.exp(np.minimum(x @ self.exponents.T, _LARGEST))
        return losses[:, 0] if self.single else losses

    def weighted(
        self, mixture: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64]]:
        """Return sum_i weights_i L_i at a (K,) mixture, convex in it, and its (K,) gradient."""
        powers = np.exp(np.minimum(self.exponents @ mixture, _LARGEST))
        value = float(weights @ (self.floors + powers))
        return value, (weights * powers) @ self.exponents


def fit_mixing_law(
    mixtures: ArrayLike, losses: ArrayLike, *, delta: float = 0.01, seed: int = 0
) -> MixingLaw:
    """Fit the law to finished runs, each loss by itself: Huber loss, L-BFGS from several starts.

    For each of a grid of c the start is the least-squares solution of log(L - c) = t . r, also
    with some noise; the start that ends best is kept.

    Args:
        mixtures: (n, K) mixtures the runs were trained on.
        losses: (n,) losses, or (n, M) of M domains, positive.
        delta: where the Huber loss turns from quadratic to linear, in the losses' unit.
        seed: of the noise.

    Raises:
        ValueError: shapes or values that cannot be fitted.
    """
    x, y, single = checked_runs(mixtures, losses)
    if (y <= 0).any():
        raise ValueError(f"losses must be positive, got {y.min()}")
    if not 0 < delta < np.inf:
        raise ValueError(f"delta={delta!r} must be a positive finite number")
    rng = np.random.default_rng(seed)
    fits = [_fit(x, column, delta, rng) for column in y.T]
    return MixingLaw(np.array([c for c, _ in fits]), np.stack([t for _, t in fits]), single)


def _fit(
    x: NDArray[np.float64], y: NDArray[np.float64], delta: float, rng: np.random.Generator
) -> tuple[float, NDArray[np.float64]]:
    from scipy.optimize import minimize

    def huber(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        powers = np.exp(np.minimum(x @ parameters[1:], _LARGEST))
        residual = parameters[0] + powers - y
        size = np.abs(residual)
        loss = np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))
        slope = np.clip(residual, -delta, delta)
        gradient = np.concatenate([[slope.sum()], (slope * powers) @ x])
        # In units of delta^2, so that the optimiser's tolerances suit any unit of the losses.
        return float(loss.sum()) / delta**2, gradient / delta**2

    best: tuple[float, NDArray[np.float64]] | None = None
    bounds = [(0.0, None), *[(None, None)] * x.shape[1]]
    for floor in np.multiply(_FLOORS, y.min()):
        solved = np.linalg.lstsq(x, np.log(y - floor), rcond=None)[0]
        noisy = solved + rng.normal(scale=0.5, size=(_NOISY, len(solved)))
        for exponents in (solved, *noisy):
            start = np.concatenate([[floor], exponents])
            options = {"maxiter": 500, "maxfun": 2000}
            found = minimize(
                huber, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options
            )
            if best is None or found.fun < best[0]:
                best = float(found.fun), found.x
    assert best is not None
    return float(best[1][0]), best[1][1:]


@dataclass(kw_only=True)
class MixingLawAgent(SwarmSearch):
    """The mixture that minimises the objective's loss by laws fitted to a swarm of proxies.

        L_i(r) = c_i + k_i exp(sum_j t_ij r_j)

    is fitted for every domain i of the objective (`fit_mixing_law`), and sum_i objective_i L_i(r),
    which is convex in r, minimised over the simplex within the repetition bounds.

    Source: Ye et al. 2024, Data Mixing Laws (arXiv 2403.16952), and its released fit, whose Huber
    loss and delta = .01 are kept.

    Deviations: the swarm is RegMix's (theirs: mixtures whose shares are halves of each other); its
    proxies have the run's own model and budget unless told otherwise, and no law over model sizes
    or steps extrapolates from smaller ones; k_i is positive; the minimum is computed (theirs: the
    best point of a grid); the fit starts from least-squares solutions (theirs: a given grid).

    Args:
        delta: of the Huber loss, nats per byte.
    """

    name = "mixing-law"

    delta: Positive = 0.01

    def propose(self, inner: Any, swarm: Swarm, rng: np.random.Generator) -> Mixture:
        law = fit_mixing_law(swarm.mixtures, swarm.losses, delta=self.delta)
        start = inner.task.mixture(self.prior)
        return minimise(lambda x: law.weighted(x, swarm.weights), start, swarm.caps)


agent = MixingLawAgent

"""Olmix: a log-linear law, minimised near the prior and within repetition caps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixgym.simplex import Mixture
from mixgym_agents.checks import NotNegative, Positive
from mixgym_agents.proxies.mixing_law import MixingLaw, fit_mixing_law
from mixgym_agents.proxies.simplex_solver import kl_divergence, minimise
from mixgym_agents.proxies.swarm import Swarm, SwarmSearch, repetition_caps


def propose_mixture(
    law: MixingLaw,
    weights: NDArray[np.float64],
    prior: Mixture,
    caps: NDArray[np.float64],
    kl: float,
) -> Mixture:
    """Return argmin_x sum_i weights_i exp(A_i . x) + kl KL(x || prior), x a mixture <= caps.

    Args:
        law: of the objective's M domains; A are its exponents.
        weights: (M,) of the losses.
        prior: (K,) mixture, in the law's order of domains, as are
        caps: (K,) largest weights.
        kl: strength of the pull to the prior.
    """

    def objective(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        loss, slope = law.weighted(x, weights)
        divergence, pull = kl_divergence(x, prior)
        return loss + kl * divergence, slope + kl * pull

    return minimise(objective, prior, caps)


@dataclass(kw_only=True)
class Olmix(SwarmSearch):
    """The mixture a log-linear law on a swarm favours, kept near the prior and within caps.

        min_x  sum_i objective_i exp(A_i . x) + kl KL(x || prior),   0 <= x <= cap,  sum x = 1
        L_i(x) = c_i + exp(A_i . x)

    Source: the released code of Olmix (Allen Institute for AI), read for the law, its Huber fit
    with delta = .02, the convex problem, kl = .05 and the cap of 4 repetitions.

    Deviations: the swarm is RegMix's, drawn within its own bound (`repetitions`), so that it can
    be shared; the law's fit starts from least-squares solutions (theirs: a random grid); SLSQP
    instead of a cone solver; losses in nats per byte, so that `kl` weighs differently than with
    theirs; caps are matched to domains by name.

    Args:
        kl: strength of the pull to the prior.
        delta: of the Huber loss, nats per byte.
        cap: passes over a domain's text that the mixture may not exceed; None for no cap.
    """

    name = "olmix"

    kl: NotNegative = 0.05
    delta: Positive = 0.02
    cap: Positive | None = 4.0

    def search(self, inner: Any, seed: int) -> Mixture:
        repetition_caps(inner, self.cap)  # before the swarm is trained
        return super().search(inner, seed)

    def propose(self, inner: Any, swarm: Swarm, rng: np.random.Generator) -> Mixture:
        law = fit_mixing_law(swarm.mixtures, swarm.losses, delta=self.delta)
        prior = inner.task.mixture(self.prior)
        caps = repetition_caps(inner, self.cap)
        return propose_mixture(law, swarm.weights, prior, caps, self.kl)


agent = Olmix

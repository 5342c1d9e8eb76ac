"""ODM as the paper describes it: an Exp3 bandit on the training loss."""

from __future__ import annotations

from dataclasses import dataclass

from mixgym.mixer import as_agent
from mixgym.simplex import Mixture, softmax
from mixgym_agents.checks import Positive
from mixgym_agents.mixers.odm import Observed, OnlineDataMixing


@dataclass(kw_only=True)
class OdmExp3(OnlineDataMixing):
    """Exp3: w_t = (1 - K eps_t) softmax(eps_{t-1} R) + eps_t, importance-weighted rewards R.

    R_i += (loss_i / 10) / p_i for each domain sampled since the last decision, p_i the weight it
    was sampled under; eps_t = min(1/K, sqrt(ln K / (K t))), eps_0 = 1/K; R starts at zero.

    Source: Albalak et al. 2023, Efficient Online Data Mixing (arXiv 2312.02406), and the Exp3
    updater of its released code, whose groups of samples in one step are credited like this.

    Deviations: losses are nats a byte, not a token (`loss_scale`); a decision, which may be many
    optimiser steps, is one update with each domain's mean loss (`clock`); no warm-up beyond the
    first decision (the release plays the natural mixture for 2 % of the run); a domain sampled
    under zero weight has no importance weight and is left out.

    Note: where every domain is sampled at nearly every decision, dividing by p_i makes mixtures
    proportional to the loss the resting point, unlike a bandit that pulls one arm at a time.

    Args:
        reward_scale: what losses are divided by.
    """

    name = "odm-exp3"

    reward_scale: Positive = 10.0

    def credit(self, seen: Observed) -> None:
        drawn = seen.weights > 0
        rewards = seen.losses[drawn] / self.reward_scale / seen.weights[drawn]
        self.estimates[seen.domains[drawn]] += rewards

    def preference(self, previous_epsilon: float) -> Mixture:
        return softmax(previous_epsilon * self.estimates)


agent = as_agent(OdmExp3)

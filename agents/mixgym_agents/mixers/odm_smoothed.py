"""ODM as released and run: a smoothed mean of exp(loss), no importance weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixgym.mixer import as_agent
from mixgym.simplex import Mixture
from mixgym_agents.checks import PartialShare
from mixgym_agents.mixers.odm import Observed, OnlineDataMixing


@dataclass(kw_only=True)
class OdmSmoothed(OnlineDataMixing):
    """w_t = (1 - K eps_t) R / sum(R) + eps_t, with R_i <- s R_i + (1 - s) exp(loss_i), s = 0.5.

    Only domains sampled since the last decision are updated; eps_t = min(1/K, sqrt(ln K / (K t)));
    R starts at zero, so that a domain not sampled yet has the weight eps_t.

    Source: the released code of Albalak et al. 2023, Efficient Online Data Mixing (arXiv
    2312.02406), its "smoothed mean" updater; also the warm-up policy of the AC-ODM release.

    Deviations: losses are nats a byte, not a token (`loss_scale`), which makes exp(loss), hence
    the mixture, much flatter; a decision, which may be many optimiser steps, is one update with
    each domain's mean loss (`clock`); no warm-up beyond the first decision (the release plays the
    natural mixture for 2 % of the run).

    Args:
        smoothing: s in [0, 1), the share of the old estimate kept.
    """

    name = "odm-smoothed"

    smoothing: PartialShare = 0.5

    def credit(self, seen: Observed) -> None:
        kept = self.smoothing * self.estimates[seen.domains]
        self.estimates[seen.domains] = kept + (1.0 - self.smoothing) * np.exp(seen.losses)

    def preference(self, previous_epsilon: float) -> Mixture:
        return self.estimates / self.estimates.sum()


agent = as_agent(OdmSmoothed)

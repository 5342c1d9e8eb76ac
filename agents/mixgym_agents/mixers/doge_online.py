"""DoGE's rule, applied in the run itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mixgym.mixer import as_agent
from mixgym.signals import Signals
from mixgym_agents.checks import Positive
from mixgym_agents.mixers.exponentiated import ExponentiatedMixer, measured

_TINY = 1e-6


@dataclass(kw_only=True)
class DogeOnline(ExponentiatedMixer):
    """w_i <- w_i exp(s_i / mu), s_i = clip(lr_t W_i / (mean_k ||g_k|| + 1e-6), 0, 5 lr_t).

    W_i = sum_{j != i} <g_i, g_j>, the alignment of domain i's gradient with all other domains'; or
    <g_i, g_o> with the objective's, for `target="objective"` (DoGE's out-of-domain form). g_i are
    gradients of the domains' own mean losses, lr_t the LM's learning rate.

    Source: Fan, Pagliardini, Jaggi 2024, DoGE (arXiv 2310.15393), and its released trainer.

    Deviations: the mixture drives the run itself; the paper's way, a proxy whose averaged weights
    are then fixed, is the agent `doge`. A decision, which may be many optimiser steps, is one
    update with gradients averaged over it (theirs: every step). Gradients are of the MLP output
    matrices of the last layers, not of all weights, and taken before clipping (theirs: after
    clipping each domain's to 1). The objective's gradient is from validation text (theirs: from
    the target domains' training batch). `smoothing` is 1e-3 (theirs 0), since a domain that is
    not sampled has no gradient.

    Args:
        mu: step size of the mirror descent; smaller moves faster (paper .05, a released
            configuration .01).
        largest: scores above this times lr_t count as it.
        target: `"domains"` or `"objective"`.
    """

    name = "doge-online"

    mu: Positive = 0.05
    largest: Positive = 5.0
    target: Literal["domains", "objective"] = "domains"

    @property
    def gradients(self) -> Mapping[str, Any]:
        return {"kinds": ["gram" if self.target == "domains" else "objective"], "every": self.every}

    def scores(self, signals: Signals) -> NDArray[np.float64]:
        if self.target == "domains":
            products = measured(signals.alignment, "alignment", self.name, "gram")
        else:
            products = measured(
                signals.objective_alignment, "objective_alignment", self.name, "objective"
            )
        norms = signals.gradient_norms.astype(np.float64)
        if not np.isfinite(norms).any():
            return np.full(len(products), np.nan)
        scaled = products / (norms[np.isfinite(norms)].mean() + _TINY)
        return signals.learning_rate * np.clip(scaled, 0.0, self.largest) / self.mu


agent = as_agent(DogeOnline)

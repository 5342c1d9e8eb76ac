"""DGA: weight by alignment with the objective's gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mixgym.envs.task import MixingTask
from mixgym.mixer import as_agent
from mixgym.signals import Signals
from mixgym.simplex import Mixture
from mixgym_agents.checks import PartialShare, Positive
from mixgym_agents.mixers.exponentiated import ExponentiatedMixer, measured

_TINY = 1e-12


@dataclass(kw_only=True)
class Dga(ExponentiatedMixer):
    """w_i <- w_i exp(eta a_i), a_i the alignment of g_i with the objective's gradient g_o.

    The mixture played is an exponential moving average of w, p <- ema p + (1 - ema) w.

    Source: Fan, Grangier, Ablin 2024, Dynamic Gradient Alignment (arXiv 2410.02498); the rule is
    from secondary notes, the paper's constants were **not found in reachable sources**.

    Deviations: a_i is by default the cosine <g_i, g_o> / (||g_i|| ||g_o||), because plain inner
    products shrink by orders of magnitude over a run and no fixed eta suits all of it;
    `normalise="none"` is <g_i, g_o>. g_o is the gradient of the objective's validation loss on
    fixed windows (theirs: batches of the specialised set). Gradients are of the MLP output
    matrices of the last layers. `smoothing` is 1e-3.

    Args:
        eta: step size.
        normalise: `"cosine"` or `"none"`.
        ema: share of the old mixture kept, in [0, 1).
    """

    name = "dga"
    STATE = (*ExponentiatedMixer.STATE, "played")

    eta: Positive = 1.0
    normalise: Literal["cosine", "none"] = "cosine"
    ema: PartialShare = 0.0

    @property
    def gradients(self) -> Mapping[str, Any]:
        return {"kinds": ["objective"], "every": self.every}

    def start(self, task: MixingTask, rng: np.random.Generator) -> None:
        super().start(task, rng)
        self.played = self.weights.copy()

    def update(self, signals: Signals) -> Mixture:
        weights = super().update(signals)
        if signals.decision > 0:
            self.played = self.ema * self.played + (1 - self.ema) * weights
        return self.played.copy()

    def scores(self, signals: Signals) -> NDArray[np.float64]:
        products = measured(
            signals.objective_alignment, "objective_alignment", self.name, "objective"
        )
        if self.normalise == "none":
            return self.eta * products
        norms = signals.gradient_norms.astype(np.float64) * signals.objective_gradient_norm
        return self.eta * products / np.maximum(norms, _TINY)


agent = as_agent(Dga)

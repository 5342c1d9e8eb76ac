"""ADO: per-domain scaling laws, fitted while training, say where learning is still fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from mixgym.envs.task import MixingTask
from mixgym.mixer import Mixer, as_agent
from mixgym.signals import Signals
from mixgym.simplex import Mixture
from mixgym_agents.checks import Checked, Number, PartialShare, Positive, Range, Spec
from mixgym_agents.mixers.ado_law import fit

_MEMORY = 0.9  # of the counts' moving average
_INERTIA = 0.9  # share of the running mean in the mixture played
_LEAST_EXPONENT = 0.05


@dataclass(kw_only=True)
class Ado(Checked, Mixer):
    """p = .9 p_avg + .1 rho, p_avg the running mean of rho, the preference for learning speed:

        L_i(n) = e^e_i + e^a_i / n^alpha_i       fitted to domain i's losses; n: sequences so far
        rho_i ~ prior_i sqrt(h_i (1 - h_i)) max(alpha_i, .05) (L_i(n) - e^e_i) / n

    h is a moving average (.9) of the shares of the sequences drawn; rho_i is at least `least`.

    Source: Jiang et al. 2024, Adaptive Data Optimization (arXiv 2410.11820), and its released
    selector. As there, n counts the sequences of *all* domains, the law is the best of many
    starts of L-BFGS on a Huber loss (1e-3) of log losses, an unsampled domain's loss is its
    previous one, and a fit that is not finite is not used.

    Deviations: a decision is one observation (theirs: every step, smoothed and thinned), so that
    the running mean's clock is decisions and `warmup`, `refit` and `ignore` count decisions
    (theirs 1000 steps between fits). The fit's bounds (a <= 6.5, e >= .5, 0 <= alpha <= .8) are
    bounds (theirs: steep penalties) and in nats a *token*, hence `loss_scale`. The 512 starts are
    all scored, the best few optimised. Before the first fit the prior is played.

    Args:
        prior: mixture that weighs the domains' speeds and is played first.
        least: lower bound of rho_i before it is divided by its sum; below 1/K.
        warmup: decisions before the first fit.
        ignore: decisions at the start that fits leave out (the LM's own warm-up).
        refit: decisions between two fits.
        loss_scale: losses (nats a byte) are multiplied by it first; 4 is about the bytes a token.
    """

    name = "ado"
    STATE = ("average", "history", "played", "sequences", "losses", "laws")

    prior: Spec = "natural"
    least: PartialShare = 1e-2
    warmup: Number = 5
    ignore: Annotated[int, Range(0)] = 1
    refit: Number = 5
    loss_scale: Positive = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup - self.ignore < 3:
            raise ValueError(
                f"warmup={self.warmup} leaves fewer than the 3 observations a fit needs after "
                f"ignore={self.ignore}: raise warmup"
            )

    def start(self, task: MixingTask, rng: np.random.Generator) -> None:
        if self.least * task.K >= 1:
            raise ValueError(f"least={self.least!r} must be below 1/K = {1 / task.K:.4f}")
        self.task_prior = task.mixture(self.prior)
        self.average = self.task_prior.copy()
        self.history = self.task_prior.copy()
        self.played = self.task_prior.copy()
        self.sequences: list[float] = []  # n after each decision
        self.losses: list[list[float]] = []  # (T, K), imputed
        self.laws: NDArray[np.float64] | None = None  # (K, 3): a, e, alpha

    def update(self, signals: Signals) -> Mixture:
        if signals.decision == 0 or not signals.counts.sum() > 0:
            return self.played.copy()
        self.observe(signals)
        seen = len(self.losses)
        if seen >= self.warmup and (seen - self.warmup) % self.refit == 0:
            laws = fit(
                np.array(self.sequences[self.ignore :]), np.array(self.losses[self.ignore :])
            )
            if np.isfinite(laws).all():
                self.laws = laws
        if self.laws is not None:
            rho = self.preference()
            self.played = _INERTIA * self.average + (1 - _INERTIA) * rho
            self.average += (rho - self.average) / (seen + 1)
        return self.played.copy()

    def observe(self, signals: Signals) -> None:
        """Record the decision's losses and counts."""
        counts = signals.counts.astype(np.float64)
        self.history = _MEMORY * self.history + (1 - _MEMORY) * counts / counts.sum()
        before = self.sequences[-1] if self.sequences else 0.0
        self.sequences.append(before + float(counts.sum()))
        loss = signals.last_loss.astype(np.float64) * self.loss_scale
        known = (counts > 0) & np.isfinite(loss) & (loss > 0)
        if self.losses:
            missing = np.array(self.losses[-1])
        else:
            mean = np.average(loss[known], weights=counts[known]) if known.any() else 1.0
            missing = np.full(len(loss), mean)
        self.losses.append(np.where(known, loss, missing).tolist())

    def preference(self) -> Mixture:
        """Return rho of the laws at hand."""
        assert self.laws is not None
        a, _, alpha = self.laws.T
        n = self.sequences[-1]
        reducible = np.exp(a) / n**alpha
        speed = np.maximum(alpha, _LEAST_EXPONENT) * reducible / n
        rho = speed * self.task_prior * np.sqrt(self.history * (1 - self.history))
        total = rho.sum()
        if not total > 0:
            return self.average.copy()
        rho = np.maximum(rho / total, self.least)
        return rho / rho.sum()


agent = as_agent(Ado)

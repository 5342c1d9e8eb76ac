"""Aioli: Skill-It's exponentiated update with a graph that is measured again as the run goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from mixgym.envs.task import MixingTask
from mixgym.errors import MixgymError
from mixgym.simplex import Mixture
from mixgym_agents.checks import Number, PartialShare, Positive, Range
from mixgym_agents.mixers.exponentiated import exponentiated
from mixgym_agents.proxies.proxy import ProxyAgent, branch, charged, train

_EQUAL = 1e-9  # shares this close to 1/K cannot tell the domains apart


def probe_mixtures(K: int, share: float) -> NDArray[np.float64]:
    """Return (K, K): row j has `share` of domain j and the rest evenly."""
    rest = (1.0 - share) / (K - 1) if K > 1 else 0.0
    return np.full((K, K), rest) + (share - rest) * np.eye(K)


def interaction_matrix(
    decreases: NDArray[np.float64], probes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (M, K) A with A probes_j = decreases_j: what a step on domain j alone would lower.

    Args:
        decreases: (K, M) mean decrease of M losses under each of the
        probes: (K, K) mixtures.
    """
    return np.linalg.solve(probes, decreases).T.astype(np.float64)


def normalised(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix, shifted so that no entry is negative, over its sum."""
    shifted = matrix - min(0.0, float(matrix.min()))
    total = shifted.sum()
    return shifted / total if total > 0 else np.full(matrix.shape, 1.0 / matrix.size)


@dataclass(kw_only=True)
class Aioli(ProxyAgent):
    """w_j <- w_j exp(eta sum_i A_ij), A re-estimated every `interval` decisions.

    A_ij is how much training on domain j lowers domain i's validation loss now. It is measured
    by `rounds` sweeps, in random order, over the probe mixtures (`share` of one domain, the rest
    evenly), `probe_steps` steps each, and solved for the effect of single domains; it is then
    normalised (`normalised`). With `ema` set, A is averaged over time instead and w computed from
    the uniform mixture: A <- ema A_old + (1 - ema) A_new, w_j proportional to exp(eta sum_i A_ij).
    Only the objective's domains i count, by their weight in the objective times their number.

    Source: Chen et al. 2024, Aioli (arXiv 2411.05735), and its released trainer.

    Deviations: the sweeps train a fork of the run that is thrown away, and are charged to the
    ledger as proxies (theirs: they are part of the run itself), because a decision is longer than
    a probe; the sums and the normalisation are over the objective's domains. Defaults are of the
    released scripts, which differ among themselves. Near the end of the budget a probe may run
    past it, with the learning rate of a longer run.

    Args:
        interval: decisions between two estimates.
        rounds: sweeps over the domains.
        probe_steps: optimiser steps of a probe.
        share: of the probed domain, more than 1/K and at most 1.
        eta: step size.
        ema: share of the old matrix kept, in [0, 1); None accumulates the weights instead.
        normalise: whether the matrix is normalised.
    """

    name = "aioli"
    STATE = ("played", "matrix")

    interval: Number = 5
    rounds: Number = 2
    probe_steps: Number = 10
    share: Annotated[float, Range(0, 1, "(]")] = 0.75
    eta: Positive = 1.0
    ema: PartialShare | None = 0.1
    normalise: bool = True

    def check(self, task: MixingTask) -> None:
        if task.K > 1 and self.share <= 1 / task.K + _EQUAL:
            raise ValueError(f"share={self.share!r} must be more than 1/K = {1 / task.K:.3f}")

    def forget(self, task: MixingTask) -> None:
        self.played = np.full(task.K, 1.0 / task.K)
        self.matrix: NDArray[np.float64] | None = None

    def act(self, observation: NDArray[Any], info: dict[str, Any]) -> NDArray[np.float32]:
        inner = self._inner()
        decision = inner.signals.decision
        if decision % self.interval == 0:
            rng = np.random.default_rng([self._seed, decision])
            self.played = self.updated(self.played, self.estimate(inner, rng), inner.task)
        return self.played.astype(np.float32)

    def updated(self, weights: Mixture, matrix: NDArray[np.float64], task: MixingTask) -> Mixture:
        """Return the (K,) weights after a new (M, K) matrix."""
        matrix = normalised(matrix) if self.normalise else matrix
        counted = task.objective[task.objective > 0]
        if self.ema is not None:
            if self.matrix is not None:
                matrix = (1 - self.ema) * matrix + self.ema * self.matrix
            self.matrix = matrix
            weights = np.full(task.K, 1.0 / task.K)
        return exponentiated(weights, self.eta * (len(counted) * counted) @ matrix)

    def estimate(self, inner: Any, rng: np.random.Generator) -> NDArray[np.float64]:
        """Probe a fork of the run and return the (M, K) matrix of the objective's M domains."""
        K = inner.task.K
        objective = np.flatnonzero(inner.task.objective > 0)
        windows = inner.arguments.evaluation_windows
        probes = probe_mixtures(K, self.share)
        order = np.concatenate([rng.permutation(K) for _ in range(self.rounds)])
        run = branch(inner.run, len(order) * self.probe_steps)
        decreases = np.zeros((K, len(objective)))

        def losses() -> NDArray[np.float64]:
            return run.evaluate("validation", domains=objective, windows=windows)[objective]

        with charged(inner, run):
            before = losses()
            for j in order.tolist():
                train(run, probes[j], self.probe_steps)
                after = losses()
                decreases[j] += (before - after) / self.rounds
                before = after
        if not np.isfinite(decreases).all():
            raise MixgymError("a probe of agent 'aioli' diverged: lower the learning_rate")
        return interaction_matrix(decreases, probes)


agent = Aioli

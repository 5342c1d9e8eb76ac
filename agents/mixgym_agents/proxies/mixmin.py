"""MixMin: weights of an ensemble of one-domain proxies that predicts the objective best."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixgym.envs.task import MixingTask
from mixgym.simplex import TINY, Mixture
from mixgym_agents.checks import Number, PartialShare, Positive
from mixgym_agents.mixers.exponentiated import exponentiated
from mixgym_agents.proxies.proxy import Model, ProxySearch, charged, train

if TYPE_CHECKING:
    from mixgym.lm.training import TrainingRun

_GAP = 1e-6  # of the rates' sum: how much better another mixture may be at the end
_MOST_UPDATES = 100_000


def ensemble_slope(
    mixture: Mixture, log_p: NDArray[np.float64], rates: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Return -sum_x rates_x log sum_d mixture_d p_d(x), convex in the mixture, and its gradient.

    Args:
        mixture: (K,).
        log_p: (K, X) log-probabilities of X sequences under K models, nats.
        rates: (X,) weight of each sequence over its length.
    """
    joint = np.log(np.maximum(mixture, TINY))[:, None] + log_p
    total = np.logaddexp.reduce(joint, axis=0)
    return float(-rates @ total), -np.exp(log_p - total) @ rates


def ensemble_minimum(log_p: NDArray[np.float64], rates: NDArray[np.float64]) -> Mixture:
    """Return the (K,) mixture that minimises `ensemble_slope`'s value.

    Expectation-maximisation from the uniform mixture: w_d becomes the mean, weighted by the rates,
    of w_d p_d(x) / sum_e w_e p_e(x). No step size, and the loss never rises. It ends when, by
    convexity, no mixture is better by more than 1e-6 times the sum of the rates, at the latest
    after 100,000 updates, when none is by more than log(K) / 100,000 times it.
    """
    # Whatever a sequence's probabilities are multiplied by changes no mixture.
    p = np.exp(log_p - log_p.max(axis=0))
    shares = rates / rates.sum()
    mixture = np.full(len(p), 1.0 / len(p))
    for _ in range(_MOST_UPDATES):
        gain = p @ (shares / np.maximum(mixture @ p, TINY))
        if gain.max() <= 1.0 + _GAP:
            break
        mixture = mixture * gain
        mixture /= mixture.sum()
    return mixture


@dataclass(kw_only=True)
class MixMin(ProxySearch):
    """The mixture w whose ensemble of one-domain models predicts the objective's text best.

        min_w  -E_x [ log sum_d w_d p_d(x) / length(x) ]          x: the objective's sequences

    p_d is a proxy trained on domain d alone. The problem is convex and solved to its minimum
    (`ensemble_minimum`); then w is played.

    Source: Thudi et al. 2025, MixMin (arXiv 2502.10510), and its released solver, which is
    `updates=100`: w_d <- w_d exp(-rate dF/dw_d), renormalised, from the uniform mixture, with a
    rate of 1 and a tolerance of 1e-4.

    Deviations: the release's updates end far from the minimum, because dF/dw is divided by the
    sequences' lengths, and leave weight on domains that help nothing: they are not the default; x
    are the objective's validation windows (theirs: documents of the target task), weighted by the
    domains' weights; the length is in bytes (theirs: tokens), hence the loss in nats per byte; the
    release's updates end when the weights move by less than the tolerance (theirs: when the
    gradient is smaller than it, which at an inner optimum of the simplex it is not); the proxies
    have the run's own model and budget. They are not kept on disk.

    Args:
        model: of the proxies; the environment's own by default.
        steps: of each proxy; the environment's budget by default.
        updates: None for the minimum; a number for at most so many of the release's updates.
        rate: step size of the release's updates.
        tolerance: largest change of a weight that ends them.
    """

    name = "mixmin"

    model: Model = None
    steps: Number | None = None
    updates: Number | None = None
    rate: Positive = 1.0
    tolerance: PartialShare = 1e-4

    def search(self, inner: Any, seed: int) -> Mixture:
        task: MixingTask = inner.task
        objective = np.flatnonzero(task.objective > 0)
        windows = inner.arguments.evaluation_windows
        log_p: list[NDArray[np.float64]] = []
        rates = np.zeros(0)
        for one in np.eye(task.K):
            run = self.proxy(inner, seed)
            with charged(inner, run):
                train(run, one)
                parts = [sequence_log_p(run, int(k), windows) for k in objective]
            log_p.append(np.concatenate(parts))
            lengths = [run.settings.context * self._bytes(run, int(k)) for k in objective]
            rates = np.concatenate(
                [
                    np.full(len(part), task.objective[k] / len(part) / length)
                    for k, part, length in zip(objective, parts, lengths, strict=True)
                ]
            )
        return self.solve(np.stack(log_p), rates)

    @staticmethod
    def _bytes(run: TrainingRun, domain: int) -> float:
        return run.corpus.domains[domain].bytes_per_token("validation")

    def solve(self, log_p: NDArray[np.float64], rates: NDArray[np.float64]) -> Mixture:
        """Return the (K,) minimum, or the mixture of the updates' end (see `ensemble_slope`)."""
        if self.updates is None:
            return ensemble_minimum(log_p, rates)
        mixture = np.full(len(log_p), 1.0 / len(log_p))
        for _ in range(self.updates):
            _, slope = ensemble_slope(mixture, log_p, rates)
            moved = exponentiated(mixture, -self.rate * slope)
            change = float(np.abs(moved - mixture).max())
            mixture = moved
            if change < self.tolerance:
                break
        return mixture


def sequence_log_p(run: TrainingRun, domain: int, windows: int) -> NDArray[np.float64]:
    """Return log-probabilities, nats, of a domain's validation windows; `evaluation` pays."""
    from mixgym.lm.evaluation import evaluating, losses
    from mixgym.lm.threads import pinned_threads

    start = time.perf_counter()
    tokens = run.held_out.tokens("validation", domain, windows)
    with evaluating(run.model), pinned_threads(run.settings.threads):
        mean = losses(run.model, tokens, run.autocast())
    number = len(tokens) * run.settings.context
    run.ledger.charge(
        "evaluation",
        tokens=number,
        flops=2.0 * run.n_parameters * number,
        seconds=time.perf_counter() - start,
    )
    return -mean * run.settings.context


agent = MixMin

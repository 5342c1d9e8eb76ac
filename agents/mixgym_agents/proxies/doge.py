"""DoGE as published: a proxy's averaged weights, then fixed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mixgym.envs.task import MixingTask
from mixgym.simplex import Mixture
from mixgym_agents.checks import Number, PartialShare, Positive
from mixgym_agents.mixers.doge_online import DogeOnline
from mixgym_agents.proxies.proxy import Model, ProxySearch, charged, train

_LEAST_WEIGHT = 1e-6


@dataclass(kw_only=True)
class Doge(ProxySearch):
    """The average of DoGE's weights over a proxy's training, played as a fixed mixture.

    A proxy draws its sequences uniformly over domains and its loss is reweighted by w, so that its
    gradient is sum_i w_i g_i; every `interval` steps w_i <- w_i exp(s_i / mu), the rule of
    `doge-online`, whose docstring has s_i and further deviations. w starts uniform. The proxy is
    on the ledger (`proxy`).

    Source: Fan, Pagliardini, Jaggi 2024, DoGE (arXiv 2310.15393), and its released trainer.

    Deviations: those of `doge-online` but for the smoothing, 0 as released; an update every
    `interval` steps, with gradients averaged over them (theirs: every step, of which each holds
    every domain); the default proxy is the run's own model and budget (theirs: 82 M parameters,
    10k steps), seeded apart from the run.

    Args:
        model: of the proxy; the environment's own by default.
        steps: of the proxy; the environment's budget by default.
        interval: optimiser steps between two updates.
        mu: step size of the mirror descent; smaller moves faster.
        largest: scores above this times the learning rate count as it.
        target: `"domains"` or `"objective"`.
        smoothing: share of the uniform mixture in w.
    """

    name = "doge"

    model: Model = None
    steps: Number | None = None
    interval: Number = 10
    mu: Positive = 0.05
    largest: Positive = 5.0
    target: Literal["domains", "objective"] = "domains"
    smoothing: PartialShare = 0.0

    def rule(self) -> DogeOnline:
        """Return the rule that updates the proxy's weights."""
        return DogeOnline(
            initial="uniform",
            mu=self.mu,
            largest=self.largest,
            target=self.target,
            smoothing=self.smoothing,
        )

    def search(self, inner: Any, seed: int) -> Mixture:
        from mixgym.lm.settings import GradientSettings

        task: MixingTask = inner.task
        rule = self.rule()
        rule.start(task, np.random.default_rng(seed))
        settings = GradientSettings.from_plain({**rule.gradients, "objective": task.objective})
        proxy = self.proxy(inner, seed, settings)
        uniform, total, updates = np.full(task.K, 1 / task.K), np.zeros(task.K), 0
        with charged(inner, proxy):
            while proxy.step < proxy.total_steps:
                steps = min(self.interval, proxy.total_steps - proxy.step)
                # A loss without any weight has no gradient left to measure.
                weights = np.maximum(rule.weights, _LEAST_WEIGHT)
                total += rule.update(train(proxy, uniform, steps, loss_weights=weights))
                updates += 1
        return total / updates


agent = Doge

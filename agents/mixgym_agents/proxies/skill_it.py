"""Skill-It: exponentiated weights on a graph of how much one domain's text helps another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixgym.envs.task import MixingTask
from mixgym.errors import MixgymError
from mixgym.ledger import Ledger
from mixgym.simplex import Mixture, softmax
from mixgym_agents.checks import Number, Positive
from mixgym_agents.proxies.proxy import Model, ProxyAgent, charge, charged
from mixgym_agents.proxies.store import ProxyStore


def skill_graph(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (K, M) A_ij = max(0, (L_j - L_ij) / L_j).

    Args:
        before: (M,) losses L_j of the model that the proxies start from.
        after: (K, M) losses L_ij of domain j once trained on domain i alone.
    """
    return np.maximum(0.0, (before - after) / before)


@dataclass(kw_only=True)
class SkillIt(ProxyAgent):
    """w_i proportional to exp(eta sum_j A_ij S_j), S_j the summed losses of the last `window`.

    A_ij, how much training on domain i lowers domain j's loss (`skill_graph`), comes from one
    proxy a domain, trained on it alone; it stays fixed. S_j sums domain j's validation losses
    after each of the last `window` decisions; before the first it is 1. Only the objective's
    domains j count, by their weight in the objective times their number.

    Source: Chen et al. 2023, Skill-It (arXiv 2307.14430), and its released trainer, read for the
    update. How A is formed from the runs' losses, `eta` and `window` were **not found in reachable
    code**: ours are choices. The authors say in a later release that their Skill-It runs used A
    transposed by accident; ours does not.

    Deviations: losses in nats per byte; a proxy that diverged helps nothing.

    Args:
        model: of the proxies; the environment's own by default.
        steps: of each proxy; the environment's budget by default.
        eta: step size.
        window: decisions whose losses are summed.
        cache: whether the proxies are kept on disk and found there.
    """

    name = "skill-it"
    STATE = ("graph", "history")

    model: Model = None
    steps: Number | None = None
    eta: Positive = 0.2
    window: Number = 3
    cache: bool = True

    def forget(self, task: MixingTask) -> None:
        self.graph: NDArray[np.float64] | None = None
        self.history: list[list[float]] = []

    def act(self, observation: NDArray[Any], info: dict[str, Any]) -> NDArray[np.float32]:
        inner = self._inner()
        if self.graph is None:
            self.graph = self.learn_graph(inner)
        signals, objective = inner.signals, np.flatnonzero(inner.task.objective > 0)
        if signals.decision > 0:
            seen = signals.validation_loss.astype(np.float64)[objective]
            if not np.isfinite(seen).all():
                raise MixgymError(
                    "agent 'skill-it' needs the objective's validation losses: make the "
                    "environment with validation='objective' or 'all'"
                )
            self.history = [*self.history, seen.tolist()][-self.window :]
        return self.weights(inner.task).astype(np.float32)

    def weights(self, task: MixingTask) -> Mixture:
        """Return the (K,) mixture of the graph and the losses seen."""
        assert self.graph is not None
        counted = task.objective[task.objective > 0]
        sums = np.sum(self.history, axis=0) if self.history else np.ones(len(counted))
        return softmax(self.eta * self.graph @ (len(counted) * counted * sums))

    def learn_graph(self, inner: Any) -> NDArray[np.float64]:
        """Train a proxy on each domain alone and return the (K, M) graph."""
        objective = np.flatnonzero(inner.task.objective > 0)
        windows = inner.arguments.evaluation_windows
        run = self.proxy(inner, self._seed)
        store = ProxyStore(run, objective, windows, keep=self.cache)
        after = np.full((inner.task.K, inner.task.K), np.nan)
        for row, outcome in store.outcomes(np.eye(inner.task.K)):
            charge(inner, outcome.cost)
            after[row] = outcome.losses
        run.ledger = Ledger()
        with charged(inner, run):
            before = run.evaluate("validation", domains=objective, windows=windows)[objective]
        return np.nan_to_num(skill_graph(before, after[:, objective]), nan=0.0)


agent = SkillIt

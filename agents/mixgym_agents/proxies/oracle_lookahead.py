"""An upper reference: try candidate mixtures on forks of the run, then play the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from mixgym.envs.task import MixingTask, MixtureSpec
from mixgym.errors import MixgymError
from mixgym.simplex import Mixture
from mixgym_agents.checks import Number, Range, Share, Spec, checked_spec
from mixgym_agents.proxies.proxy import ProxyAgent, branch, charged, train


def _checked_list(candidates: Sequence[MixtureSpec]) -> list[MixtureSpec]:
    if isinstance(candidates, str):
        raise ValueError(f"candidates={candidates!r} must be a list of mixtures")
    return [checked_spec(spec) for spec in candidates]


@dataclass(kw_only=True)
class OracleLookahead(ProxyAgent):
    """Each candidate mixture is trained on, on a fork of the run; the best one is played.

    Candidates are the mixture played last, the `candidates`, for every domain the last mixture
    moved by `move` towards that domain alone, and `draws` random ones ~ Dirichlet(1, ..., 1). The
    best is the one with the lowest objective validation loss after `horizon` decisions of it;
    ties go to the first. Forks see the same text in the same order.

    It is no method but a reference: it looks at the real future of the run, and costs as many
    runs as there are candidates (all on the ledger as proxies). It is greedy beyond its horizon,
    hence no bound. The held-out windows are those of the validation signals, never test text.

    Args:
        candidates: mixtures as the `static` agent takes them.
        move: how far towards one domain, in [0, 1]; 0 leaves these candidates out.
        draws: number of random candidates.
        horizon: decisions that a candidate is tried for (fewer where the budget ends).
        interval: decisions between two searches.
        initial: mixture that counts as played before the first decision.
    """

    name = "oracle-lookahead"
    STATE = ("played",)

    candidates: Annotated[Sequence[MixtureSpec], _checked_list] = (
        "natural",
        "uniform",
        "objective",
    )
    move: Share = 0.25
    draws: Annotated[int, Range(0)] = 0
    horizon: Number = 1
    interval: Number = 1
    initial: Spec = "natural"

    def check(self, task: MixingTask) -> None:
        for spec in (*self.candidates, self.initial):
            task.mixture(spec)

    def forget(self, task: MixingTask) -> None:
        self.played = task.mixture(self.initial)

    def act(self, observation: NDArray[Any], info: dict[str, Any]) -> NDArray[np.float32]:
        inner = self._inner()
        if inner.signals.decision % self.interval == 0:
            tried = self.proposals(inner.task, inner.signals.decision)
            losses = [self.trial(inner, mixture) for mixture in tried]
            if not np.isfinite(min(losses)):
                raise MixgymError(
                    "every candidate of agent 'oracle-lookahead' diverged: lower the "
                    "environment's learning_rate"
                )
            self.played = tried[int(np.argmin(losses))]
        return self.played.astype(np.float32)

    def proposals(self, task: MixingTask, decision: int) -> list[Mixture]:
        """Return the (K,) candidates of a decision, none twice."""
        found = [self.played, *(task.mixture(spec) for spec in self.candidates)]
        if self.move > 0:
            found += [(1 - self.move) * self.played + self.move * row for row in np.eye(task.K)]
        rng = np.random.default_rng([self._seed, decision])
        found += [rng.dirichlet(np.ones(task.K)) for _ in range(self.draws)]
        different: list[Mixture] = []
        for mixture in found:
            if not any(np.allclose(mixture, other, atol=1e-9) for other in different):
                different.append(mixture)
        return different

    def trial(self, inner: Any, mixture: Mixture) -> float:
        """Return a fork's objective loss after training on `mixture`; inf if it diverged."""
        task: MixingTask = inner.task
        decisions = min(self.horizon, task.decisions - inner.signals.decision)
        objective = np.flatnonzero(task.objective > 0)
        steps = decisions * task.steps_per_decision
        run = branch(inner.run, steps)
        with charged(inner, run):
            try:
                as_played = mixture.astype(np.float32).astype(np.float64)
                train(run, as_played, steps)
            except MixgymError:
                if not run.diverged:
                    raise
                return float("inf")
            windows = inner.arguments.evaluation_windows
            losses = run.evaluate("validation", domains=objective, windows=windows)
        loss = float(task.objective[objective] @ losses[objective])
        return loss if np.isfinite(loss) else float("inf")


agent = OracleLookahead

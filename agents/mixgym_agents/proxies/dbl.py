"""Dynamic batch loading: more of the domains that lag behind their reference losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from gymnasium import Env
from numpy.typing import NDArray

from mixgym.envs.task import MixingTask
from mixgym.errors import MixgymError, unknown_name
from mixgym.simplex import Mixture
from mixgym_agents.checks import Number, PartialShare, Positive, Spec
from mixgym_agents.mixers.exponentiated import exponentiated
from mixgym_agents.proxies.proxy import Model, ProxyAgent, charge
from mixgym_agents.proxies.store import ProxyStore

_LARGEST = 50.0  # keeps exp finite

ReferenceLosses = Mapping[str, float] | Sequence[float]


@dataclass(kw_only=True)
class DynamicBatchLoading(ProxyAgent):
    """w_i <- w_i exp(eta max(l_i - l_ref_i, 0)), then w <- (1 - smoothing) w / sum(w) + smoothing/K

    after every decision; l_i is the validation loss of domain i (nats per byte) and l_ref_i its
    reference. A domain that has reached its reference loss gains no more weight.

    Source: Xia et al. 2024, Sheared LLaMA (arXiv 2310.06694), dynamic batch loading, and its
    released callback (eta = 1, smoothing 1e-4).

    Deviations: the release takes the plain difference, so that domains below their reference lose
    weight; the paper's maximum is the default, `clip=False` the release's. The paper's references
    are predicted by a scaling law over models of three sizes; ours are given, or measured at the
    end of a run of `model` on `reference` (on the ledger, kept on disk like a swarm's). Losses
    are nats per byte (theirs: per token), hence smaller for the same `eta`.

    Args:
        losses: reference losses in nats per byte: `{domain: loss}` for every domain, or K numbers;
            None measures them.
        reference: mixture of the reference run.
        model: of the reference run; the environment's own by default.
        steps: of the reference run; the environment's budget by default.
        initial: mixture of the first decision.
        eta: step size.
        smoothing: share of the uniform mixture.
        clip: whether differences below zero count as zero.
        cache: whether the reference run is kept on disk and found there.
    """

    name = "dbl"
    STATE = ("expected", "weights", "excess")
    env_arguments = MappingProxyType({"validation": "all"})

    losses: ReferenceLosses | None = None
    reference: Spec = "natural"
    model: Model = None
    steps: Number | None = None
    initial: Spec = "natural"
    eta: Positive = 1.0
    smoothing: PartialShare = 1e-4
    clip: bool = True
    cache: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.losses, Mapping):
            self.losses = {str(name): float(loss) for name, loss in self.losses.items()}
        elif self.losses is not None:
            self.losses = [float(loss) for loss in self.losses]

    def check(self, task: MixingTask) -> None:
        task.mixture(self.reference)
        task.mixture(self.initial)
        if self.losses is not None:
            self._given(task)

    def _given(self, task: MixingTask) -> NDArray[np.float64]:
        given = self.losses
        assert given is not None
        if isinstance(given, Mapping):
            for name in given:
                if name not in task.names:
                    raise unknown_name("domain of the reference losses", name, task.names)
            given = [given.get(name, np.nan) for name in task.names]
        values = np.array(given, dtype=np.float64)
        if values.shape != (task.K,) or not np.isfinite(values).all():
            raise ValueError(
                f"losses={self.losses!r}: give one finite number for each of "
                f"{', '.join(task.names)}"
            )
        return values

    def start(self, env: Env[Any, Any], seed: int) -> None:
        """Begin an episode, as every agent with proxies.

        Raises:
            MixgymError: also if the environment does not measure all validation losses.
        """
        super().start(env, seed)
        if self._inner().arguments.validation != "all":
            raise MixgymError(
                "agent 'dbl' needs the validation losses of all domains: make the environment "
                "with validation='all'"
            )

    def forget(self, task: MixingTask) -> None:
        self.expected = None if self.losses is None else self._given(task)
        self.weights = task.mixture(self.initial)
        self.excess = np.zeros(task.K)

    def act(self, observation: NDArray[Any], info: dict[str, Any]) -> NDArray[np.float32]:
        inner = self._inner()
        if self.expected is None:
            self.expected = self.measure(inner)
        if inner.signals.decision > 0:
            self.weights = self.updated(self.weights, inner.signals.validation_loss)
        return self.weights.astype(np.float32)

    def measure(self, inner: Any) -> NDArray[np.float64]:
        """Train the reference run and return its (K,) validation losses, nats per byte."""
        task: MixingTask = inner.task
        windows = inner.arguments.evaluation_windows
        run = self.proxy(inner, self._seed)
        store = ProxyStore(run, np.arange(task.K), windows, keep=self.cache)
        ((_, outcome),) = store.outcomes(task.mixture(self.reference)[None])
        charge(inner, outcome.cost)
        if outcome.diverged:
            raise MixgymError(
                "the reference run of agent 'dbl' diverged: choose another model=... or lower the "
                "environment's learning_rate"
            )
        return outcome.losses

    def updated(self, weights: Mixture, losses: NDArray[Any]) -> Mixture:
        """Return the (K,) weights after (K,) validation losses; those not finite count as before.

        `losses` in nats per byte; a domain counts as at its reference until it was first measured.
        """
        assert self.expected is not None
        excess = np.asarray(losses, dtype=np.float64) - self.expected
        known = np.isfinite(excess)
        self.excess[known] = np.clip(excess[known], 0.0 if self.clip else -_LARGEST, _LARGEST)
        raised = exponentiated(weights, self.eta * self.excess)
        return (1 - self.smoothing) * raised + self.smoothing / len(raised)


agent = DynamicBatchLoading

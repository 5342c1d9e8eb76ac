"""Off-policy evaluation: what a policy would return, estimated from trajectories of others.

Fitted Q evaluation (Le et al., arXiv 1903.08738), d3rlpy's, on episodes that the policy never
learned from, with an interval from a bootstrap over whole episodes (Hao et al., arXiv 2102.03607:
the fit is repeated on every resample).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mixgym.errors import MixgymError
from mixgym.trajectories.library import d3rlpy
from mixgym.trajectories.record import Trajectories, Trajectory
from mixgym.trajectories.transitions import Batch, RewardScaling, Transitions

_STREAM = int.from_bytes(b"fqev")
_LEVEL = 95.0
_STEPS = 2000

Interval = tuple[float, float | None, float | None]


class LearnedPolicy(Protocol):
    """What is evaluated: a d3rlpy algorithm and how it reads trajectories.

    Attributes:
        acting: the algorithm whose policy acts.
        scaling: of its rewards.
    """

    @property
    def acting(self) -> Any: ...
    @property
    def scaling(self) -> RewardScaling | None: ...
    def transitions(self, episodes: Sequence[Trajectory]) -> Transitions: ...
    def critic_factory(self) -> Any: ...
    def value(self, vectors: NDArray[np.float32]) -> NDArray[np.float64] | None: ...


@dataclass(frozen=True)
class OfflineEvaluation:
    """Discounted returns in the rewards' own units, each with a 95 % interval where there is one.

    Attributes:
        fitted: fitted Q evaluation's mean value of the policy at the episodes' first observations.
        behaviour: mean discounted return of the held-out episodes themselves.
        initial_value: the same mean by the policy's own critic, None if it has none; conservative
            critics are biased low by design.
        undiscounted: mean undiscounted return of the held-out episodes.
        episodes: how many they are.
        gamma: discount.
    """

    fitted: Interval
    behaviour: Interval
    initial_value: float | None
    undiscounted: float
    episodes: int
    gamma: float

    def rows(self) -> dict[str, Interval]:
        """Labelled for a table."""
        rows: dict[str, Interval] = {
            "policy, fitted Q evaluation": self.fitted,
            "behaviour, as logged": self.behaviour,
        }
        if self.initial_value is not None:
            rows["policy, its own critic"] = (self.initial_value, None, None)
        return {**rows, "behaviour, undiscounted": (self.undiscounted, None, None)}


def evaluate_policy_offline(
    policy: LearnedPolicy,
    episodes: Sequence[Trajectory],
    *,
    steps: int | None = None,
    replicates: int = 20,
    seed: int = 0,
    learning_rate: float = 1e-3,
    batch_size: int = 128,
    target_update: int = 50,
) -> OfflineEvaluation:
    """Evaluate a policy on episodes it never learned from.

    Args:
        policy: see `LearnedPolicy`.
        episodes: at least two.
        steps: gradient steps a fit; at least the horizon times `target_update`, or the value does
            not reach the first decision. By default twice that, and 2000 at least.
        replicates: bootstrap samples; 0 for no interval.
        seed: of the fits' initial weights, minibatches and the bootstrap.
        learning_rate, batch_size: Adam's.
        target_update: steps between copies to the target network.

    Raises:
        MixgymError: too few episodes or steps.
    """
    horizon = max((len(episode) for episode in episodes), default=0)
    if len(episodes) < 2:
        raise MixgymError(
            f"{len(episodes)} held-out episodes are too few to evaluate on: raise held_out in "
            "training, or collect more"
        )
    if steps is None:
        steps = max(_STEPS, 2 * horizon * target_update)
    if steps < horizon * target_update:
        raise MixgymError(
            f"steps={steps} is too few for episodes of {horizon} decisions: give at least "
            f"{horizon * target_update}, or lower target_update"
        )
    scaling = policy.scaling
    if scaling is None:
        raise MixgymError("the policy has learned nothing yet: nothing to evaluate")
    data = policy.transitions(episodes)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAM,)))
    fit = {
        "steps": steps,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "target_update": target_update,
        "gamma": scaling.gamma,
    }
    whole = _fitted_value(policy, data, np.arange(len(episodes)), rng, **fit)
    discounted = np.array([_discounted(episode, scaling.gamma) for episode in episodes])
    drawn: list[tuple[float, float]] = []
    for _ in range(replicates):
        chosen = rng.integers(len(episodes), size=len(episodes))
        value = _fitted_value(policy, data, chosen, rng, **fit)
        drawn.append((float(scaling.restore(value)), float(discounted[chosen].mean())))
    own = policy.value(data.rows.observation[data.initial])
    return OfflineEvaluation(
        fitted=_interval(float(scaling.restore(whole)), [pair[0] for pair in drawn]),
        behaviour=_interval(float(discounted.mean()), [pair[1] for pair in drawn]),
        initial_value=None if own is None else float(np.mean(scaling.restore(own))),
        undiscounted=float(np.mean([episode.total for episode in episodes])),
        episodes=len(episodes),
        gamma=scaling.gamma,
    )


def _discounted(episode: Trajectory, gamma: float) -> float:
    return float(gamma ** np.arange(len(episode)) @ episode.rewards)


def _interval(value: float, drawn: list[float]) -> Interval:
    if not drawn:
        return value, None, None
    tail = (100.0 - _LEVEL) / 2.0
    low, high = np.percentile(drawn, [tail, 100.0 - tail])
    return value, float(low), float(high)


def _fitted_value(
    policy: LearnedPolicy,
    data: Transitions,
    chosen: NDArray[np.int64],
    rng: np.random.Generator,
    *,
    steps: int,
    learning_rate: float,
    batch_size: int,
    target_update: int,
    gamma: float,
) -> float:
    """Fit Q to the chosen episodes (with repetitions); mean scaled value of their first rows."""
    from mixgym.lm.threads import pinned_threads, private_rng

    ope = d3rlpy().ope
    rows = np.concatenate([np.flatnonzero(data.episode == episode) for episode in chosen])
    with pinned_threads(1), private_rng(int(rng.integers(2**62))):
        fqe = ope.FQE(
            algo=policy.acting,
            config=ope.FQEConfig(
                learning_rate=learning_rate,
                encoder_factory=policy.critic_factory(),
                batch_size=batch_size,
                gamma=gamma,
                target_update_interval=target_update,
            ),
            device=False,
        )
        fqe.create_impl((data.rows.observation.shape[1],), data.rows.action.shape[1])
        for _ in range(steps):
            fqe.update(minibatch(data.take(rng.choice(rows, size=batch_size))))
        first = data.rows.observation[data.initial[chosen]]
        return float(fqe.predict_value(first, policy.acting.predict(first)).mean())


def minibatch(batch: Batch) -> Any:
    """Transitions as d3rlpy takes them."""
    return d3rlpy().dataset.TransitionMiniBatch(
        observations=batch.observation,
        actions=batch.action,
        rewards=batch.reward,
        next_observations=batch.next_observation,
        next_actions=np.zeros_like(batch.action),
        terminals=batch.terminal,
        intervals=np.ones_like(batch.reward),
        transitions=[],
    )


def offline_policy(
    policy: str | Path, datasets: Sequence[str | Path | Trajectories]
) -> tuple[list[Trajectories], Any, list[Trajectory]]:
    """Read a policy that `mixgym train --dataset` saved.

    Args:
        policy: its folder.
        datasets: those it learned from, in the same order.

    Returns:
        The datasets, the learner, and the episodes that it held out.

    Raises:
        MixgymError: not an offline agent's policy, or the datasets are not those it learned from.
        CheckpointError: no policy there.
    """
    from mixgym.agents import make_agent
    from mixgym.experiment.policy import policy_agent
    from mixgym.trajectories.dataset import load_trajectories

    spec = policy_agent(policy)
    agent: Any = make_agent(spec.agent, **spec.arguments)
    if not hasattr(agent, "offline_policy"):
        raise MixgymError(f"agent {spec.agent!r} did not learn from trajectories")
    data = [x if isinstance(x, Trajectories) else load_trajectories(x) for x in datasets]
    return data, *agent.offline_policy(data)

"""Hyperparameters of the offline agents `cql`, `bc`, `iql` and `td3-bc`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from mixgym.trajectories.transitions import REWARD_SCALINGS
from mixgym_agents.learning.hyperparameters import NetworkConfig, Ranges

ALGORITHMS: tuple[str, ...] = ("cql", "bc", "iql", "td3-bc")


_CHOICES: dict[str, tuple[str, ...]] = {
    **NetworkConfig.CHOICES,
    "reward_scaling": REWARD_SCALINGS,
}

# name -> least, most, whole number
_RANGES: dict[str, tuple[float, float, bool]] = {
    **NetworkConfig.RANGES,
    "window": (1, 1000, True),
    "share": (1e-6, 1, False),
    "warm_start": (0, 100_000_000, True),
    "warm_start_learning_rate": (0, 1, False),
    "held_out": (0, 0.9, False),
    "gamma": (0, 1, False),
    "batch_size": (1, 1_000_000, True),
    "tau": (0, 1, False),
    "critics": (1, 100, True),
    "actor_learning_rate": (0, 1, False),
    "critic_learning_rate": (0, 1, False),
    "conservative_weight": (0, 1e6, False),
    "alpha_threshold": (-1e6, 1e6, False),
    "alpha_learning_rate": (0, 1, False),
    "initial_alpha": (1e-9, 1e6, False),
    "action_samples": (1, 10_000, True),
    "initial_temperature": (1e-9, 1e6, False),
    "temperature_learning_rate": (0, 1, False),
    "expectile": (0, 1, False),
    "advantage_temperature": (0, 1e6, False),
    "bc_alpha": (0, 1e6, False),
}


@dataclass(frozen=True, kw_only=True)
class OfflineConfig(NetworkConfig):
    """Hyperparameters, those of the networks too; every algorithm reads those that it has.

    The Data Mixing Agent's own (CQL's alpha, gamma, learning rates, batch size, network width,
    reward scale) were not found in the sources we could reach. What is d3rlpy's default or ours is
    said in docs/agents/cql.md.

    Attributes:
        window: past observations the policy sees, the present one included.
        share: share of the episodes, best returns first, that are good enough to be cloned:
            the first stage's, and all that `bc` learns from.
        warm_start: steps of behaviour cloning before the algorithm's own (not for `bc`).
        warm_start_learning_rate: of these steps, and of `bc`.
        held_out: share of the runs (all episodes of a run seed) that is kept for off-policy
            evaluation, never learned from.
        reward_scaling: `"decision"`, `"deviation"` or `"none"`, see
            `mixgym.trajectories.transitions.RewardScaling`.
        gamma: discount.
        batch_size: transitions a step.
        tau: step of target networks towards the learned ones.
        critics: Q networks, of which the least value counts.
        actor_learning_rate, critic_learning_rate: Adam's.
        conservative_weight: CQL: factor on the conservative loss.
        alpha_threshold: CQL: gap tau of its Lagrangian form.
        alpha_learning_rate: CQL: of its multiplier; 0 keeps the multiplier at `initial_alpha`.
        initial_alpha: CQL: where the multiplier starts.
        action_samples: CQL: actions drawn for the log-sum-exp, of each of three kinds.
        initial_temperature, temperature_learning_rate: CQL: of the entropy bonus (SAC's).
        expectile, advantage_temperature: IQL: tau and beta.
        bc_alpha: TD3+BC: weight of the value against cloning.
    """

    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = _CHOICES
    RANGES: ClassVar[Ranges] = _RANGES

    network: Literal["mlp", "tokens"] = "tokens"
    window: int = 4
    share: float = 0.2
    warm_start: int = 500
    warm_start_learning_rate: float = 1e-3
    held_out: float = 0.1
    reward_scaling: str = "decision"
    gamma: float = 0.99
    batch_size: int = 128
    tau: float = 0.005
    critics: int = 2
    actor_learning_rate: float = 3e-4
    critic_learning_rate: float = 1e-3
    conservative_weight: float = 0.5
    alpha_threshold: float = 0.0
    alpha_learning_rate: float = 0.0
    initial_alpha: float = 1.0
    action_samples: int = 10
    initial_temperature: float = 0.1
    temperature_learning_rate: float = 1e-4
    expectile: float = 0.7
    advantage_temperature: float = 3.0
    bc_alpha: float = 2.5

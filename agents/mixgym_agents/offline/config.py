"""Hyperparameters of the offline agents `cql`, `bc`, `iql` and `td3-bc`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from mixgym.trajectories.transitions import REWARD_SCALINGS
from mixgym_agents.checks import Range, Share
from mixgym_agents.learning.hyperparameters import NetworkConfig

ALGORITHMS: tuple[str, ...] = ("cql", "bc", "iql", "td3-bc")


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

    network: Literal["mlp", "tokens"] = "tokens"
    window: Annotated[int, Range(1, 1000)] = 4
    share: Annotated[float, Range(1e-6, 1)] = 0.2
    warm_start: Annotated[int, Range(0, 100_000_000)] = 500
    warm_start_learning_rate: Share = 1e-3
    held_out: Annotated[float, Range(0, 0.9)] = 0.1
    reward_scaling: Annotated[str, REWARD_SCALINGS] = "decision"
    gamma: Share = 0.99
    batch_size: Annotated[int, Range(1, 1_000_000)] = 128
    tau: Share = 0.005
    critics: Annotated[int, Range(1, 100)] = 2
    actor_learning_rate: Share = 3e-4
    critic_learning_rate: Share = 1e-3
    conservative_weight: Annotated[float, Range(0, 1e6)] = 0.5
    alpha_threshold: Annotated[float, Range(-1e6, 1e6)] = 0.0
    alpha_learning_rate: Share = 0.0
    initial_alpha: Annotated[float, Range(1e-9, 1e6)] = 1.0
    action_samples: Annotated[int, Range(1, 10_000)] = 10
    initial_temperature: Annotated[float, Range(1e-9, 1e6)] = 0.1
    temperature_learning_rate: Share = 1e-4
    expectile: Share = 0.7
    advantage_temperature: Annotated[float, Range(0, 1e6)] = 3.0
    bc_alpha: Annotated[float, Range(0, 1e6)] = 2.5

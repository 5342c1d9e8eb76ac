"""Hyperparameters of the `acodm` agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from mixgym_agents.checks import Count, Depth, Range, Share, Spec, Width
from mixgym_agents.learning.hyperparameters import NetworkConfig


@dataclass(frozen=True, kw_only=True)
class Config(NetworkConfig):
    """Hyperparameters of AC-ODM; the defaults are the paper's where it gives them.

    Of the networks' own (`NetworkConfig`) the paper has an `mlp` of width 1024 and depth 5.

    Attributes:
        actor: `"softmax"` (paper) or `"dirichlet"`, whose concentrations the actor gives and
            whose mean acts when frozen.
        critic: `"joint"` (paper), one Q(s, w), or `"factored"` (ours), Q(s, w) = sum_i w_i q_i(s)
            with q_i learned from domain i's own reward: the paper's reward is linear in the
            mixture, so its critic can be, and a decision then teaches K values instead of one.
            Needs an environment with per-domain rewards (`reward: alignment` or the like).
        prior: named mixture whose logarithm is added to the actor's logits: where an actor of
            zero output starts.
        anchor: where the actor's logits start from: the `prior` (paper), or the mixture that is
            `current` (ours), so that a decision multiplies it, w <- w exp(l) / sum, as mirror
            descent does; the first starts from the prior. Needs `mixture` in the observation.
        output_gain: factor on the initial weights of the actor's last layer; small starts at the
            prior.
        logit_bound: logits are squashed to within +-this (scaled tanh), which keeps the softmax
            from saturating; 0 for none (paper).
        pool_layers: average layer features over layers, as `tokens` always does, so that an `mlp`
            transfers to a model of another depth.
        normalise: `"running"` (mean and deviation of each feature seen so far) or `"none"`.
        gamma: discount.
        tau: step of the target networks towards the learned ones, an update.
        actor_learning_rate, critic_learning_rate, weight_decay: AdamW's.
        updates_per_decision: gradient steps of each network a decision.
        batch_size: transitions a gradient step.
        buffer_size: transitions the replay buffer holds.
        standardise_rewards: subtract the mean and divide by the deviation of the buffer's rewards.
        warmup_share: share of an episode's decisions at the start of *learning* (once, not in
            every episode) that play warm-up mixtures instead of the policy.
        warmup_noise: deviation of the noise on the natural weights in warm-up.
        exploration: `"logits"` (Gaussian noise on log weights), `"dirichlet"` (a draw around the
            policy's mixture) or `"none"`. A Dirichlet actor explores by its own draws instead.
        noise: deviation of the logit noise.
        noise_decay: factor on `noise` a decision.
        concentration: of the exploring Dirichlet; higher is nearer to the policy.
        entropy: bonus on the mixture's entropy in the actor's objective; with the anchor
            `current`, penalty on its Kullback-Leibler divergence from the current mixture, whose
            optimum under a factored critic is w exp(q / entropy) / sum.
        floor: share of the uniform mixture in every mixture of the policy.
    """

    FILE: ClassVar[str | None] = "acodm.yml"

    width: Width = 128
    depth: Depth = 5
    actor: Literal["softmax", "dirichlet"] = "softmax"
    critic: Literal["joint", "factored"] = "joint"
    prior: Spec = "uniform"
    anchor: Literal["prior", "current"] = "prior"
    output_gain: Annotated[float, Range(0, 100)] = 1.0
    logit_bound: Annotated[float, Range(0, 100)] = 0.0
    pool_layers: bool = False
    normalise: Literal["running", "none"] = "running"
    gamma: Share = 0.95
    tau: Share = 0.001
    actor_learning_rate: Share = 1e-4
    critic_learning_rate: Share = 1e-4
    weight_decay: Annotated[float, Range(0, 10)] = 0.1
    updates_per_decision: Annotated[int, Range(0, 100_000)] = 1
    batch_size: Annotated[int, Range(1, 1_000_000)] = 256
    buffer_size: Count = 10_000
    standardise_rewards: bool = False
    warmup_share: Share = 0.02
    warmup_noise: Share = 0.02
    exploration: Literal["logits", "dirichlet", "none"] = "logits"
    noise: Annotated[float, Range(0, 100)] = 0.1
    noise_decay: Share = 1.0
    concentration: Annotated[float, Range(1e-3, 1e9)] = 100.0
    entropy: Annotated[float, Range(0, 1e6)] = 0.0
    floor: Share = 0.0

    @property
    def fixed_layers(self) -> bool:
        """Whether the networks are for one number of layers."""
        return self.network == "mlp" and not self.pool_layers

    @property
    def domain_values(self) -> bool:
        """Whether the critic gives one value a domain and learns from one reward a domain."""
        return self.critic == "factored"

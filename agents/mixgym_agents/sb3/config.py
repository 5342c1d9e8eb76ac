"""Configuration of the agents `sac`, `tqc` and `ppo`: hyperparameters, their ranges and YAML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from mixgym_agents.checks import Count, Range, Share
from mixgym_agents.learning.hyperparameters import NetworkConfig


@dataclass(frozen=True, kw_only=True)
class Config(NetworkConfig):
    """Hyperparameters that all three agents share: those of the networks, and

    An `mlp` is stable-baselines3's own `MlpPolicy`.

    Attributes:
        log_std_init: logarithm of the deviation that actions are first drawn with, in units of
            the box [-1, 1]; the softmax map multiplies it by its scale (5).
        normalise: `"running"` (mean and deviation of each feature seen so far, one for all
            domains) or `"none"`.
        normalise_rewards: divide by the running deviation of single `"rewards"`, of the
            discounted `"returns"` so far in an episode (what `VecNormalize` does), or `"none"`.
        gamma: discount.
        learning_rate: of all networks (Adam).
        batch_size: transitions a gradient step.
    """

    log_std_init: Annotated[float, Range(-20, 2)] = -2.0
    normalise: Literal["running", "none"] = "running"
    normalise_rewards: Literal["rewards", "returns", "none"] = "rewards"
    gamma: Share = 1.0
    learning_rate: Share = 1e-3
    batch_size: Annotated[int, Range(2, 1_000_000)] = 64


@dataclass(frozen=True, kw_only=True)
class SacConfig(Config):
    """Hyperparameters of `sac`.

    Attributes:
        output_gain: factor on the initial weights of the actor's last layer; small starts near
            the uniform mixture.
        tau: step of the target critics towards the learned ones, an update.
        gradient_steps: updates a decision.
        buffer_size: transitions the replay buffer holds.
        ent_coef: entropy temperature; `"auto"` or `"auto_0.1"` (its start) to learn it.
        target_entropy: nats that the learned temperature holds the policy's entropy at; `"auto"`
            is minus the number of directions of an action that change the mixture
            (`target_entropy`).
        warmup: decisions at the start of learning that play noisy blends of the natural and the
            uniform mixture; no updates before they are over.
        warmup_noise: deviation of the noise on log weights in warm-up.
    """

    FILE: ClassVar[str | None] = "sac.yml"

    output_gain: Annotated[float, Range(0, 100)] = 0.1
    tau: Share = 0.02
    gradient_steps: Annotated[int, Range(0, 100_000)] = 16
    buffer_size: Count = 10_000
    ent_coef: str | float = "auto_0.1"
    target_entropy: str | float = "auto"
    warmup: Annotated[int, Range(0, 1_000_000_000)] = 5
    warmup_noise: Annotated[float, Range(0, 100)] = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_word("ent_coef", self.ent_coef, "auto_")
        _check_word("target_entropy", self.target_entropy)


@dataclass(frozen=True, kw_only=True)
class TqcConfig(SacConfig):
    """Hyperparameters of `tqc`: those of `sac`, and

    Attributes:
        n_critics: critics.
        n_quantiles: atoms of each critic's return distribution.
        top_quantiles_to_drop_per_net: largest atoms a critic that targets leave out.
    """

    FILE: ClassVar[str | None] = "tqc.yml"

    n_critics: Annotated[int, Range(1, 100)] = 2
    n_quantiles: Annotated[int, Range(1, 1000)] = 25
    top_quantiles_to_drop_per_net: Annotated[int, Range(0, 999)] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_quantiles_to_drop_per_net >= self.n_quantiles:
            raise ValueError(
                f"top_quantiles_to_drop_per_net={self.top_quantiles_to_drop_per_net!r} must be "
                f"less than n_quantiles={self.n_quantiles!r}"
            )


@dataclass(frozen=True, kw_only=True)
class PpoConfig(Config):
    """Hyperparameters of `ppo`.

    Attributes:
        n_steps: decisions of a rollout, after each of which the policy is updated; a multiple of
            `batch_size`.
        n_epochs: passes over a rollout.
        gae_lambda: trade-off of bias and variance in the advantages.
        clip_range: clip of the probability ratio.
        entropy: bonus on the policy's entropy (stable-baselines3's `ent_coef`).
        vf_coef: weight of the value loss.
        max_grad_norm: gradients are clipped to this norm.
    """

    FILE: ClassVar[str | None] = "ppo.yml"

    batch_size: Annotated[int, Range(2, 1_000_000)] = 10
    n_steps: Annotated[int, Range(2, 100_000_000)] = 10
    n_epochs: Annotated[int, Range(1, 10_000)] = 10
    gae_lambda: Share = 0.95
    clip_range: Annotated[float, Range(0, 100)] = 0.2
    entropy: Annotated[float, Range(0, 1e6)] = 0.0
    vf_coef: Annotated[float, Range(0, 1e6)] = 0.5
    max_grad_norm: Annotated[float, Range(0, 1e6)] = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_steps % self.batch_size:
            raise ValueError(
                f"n_steps={self.n_steps!r} must be a multiple of batch_size={self.batch_size!r}"
            )


def _check_word(name: str, value: str | float, prefix: str | None = None) -> None:
    """Raise `ValueError` unless `value` is a number, `"auto"`, or `prefix` and a number above 0."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return
    if value == "auto":
        return
    if prefix is not None and isinstance(value, str) and value.startswith(prefix):
        try:
            if float(value.removeprefix(prefix)) > 0:
                return
        except ValueError:
            pass
    also = f", '{prefix}0.1'" if prefix else ""
    raise ValueError(f"{name}={value!r} must be a number, 'auto'{also}")

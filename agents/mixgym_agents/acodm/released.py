"""Everything in which the released AC-ODM code differs from the paper, a switch each.

`Released` names the switches; `ReleasedEpisode` holds what they change in an episode,
`ReleasedDdpg` in learning. Nothing here does anything while its switch is off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mixgym.envs.observation import ObservationLayout
from mixgym.envs.task import MixingTask
from mixgym.errors import unknown_name
from mixgym.simplex import Mixture, validate_mixture
from mixgym_agents.acodm.config import Config
from mixgym_agents.acodm.ddpg import Ddpg
from mixgym_agents.acodm.replay import Batch
from mixgym_agents.learning.normaliser import Blocks, Normaliser
from mixgym_agents.mixers.odm_smoothed import OdmSmoothed

_FORCED = 22 / 144  # of 144 micro-batches a step, 22 are forced, one a domain
_CLIP = 3.0


@dataclass(frozen=True, kw_only=True)
class Released:
    """Each way in which the released AC-ODM code differs from the paper; all off by default.

    Line numbers and consequences: docs/agents/acodm.md.

    Attributes:
        actor_never_stepped: the actor's optimiser is never stepped: it stays at its random start.
        critic_steps_on_actor_loss: after the actor's backward pass the *critic's* optimiser is
            stepped, along the gradient of -mean Q(s, mu(s)).
        vector_critic: the critic has one Q a domain, trained on a reward a domain; the actor
            maximises their mean. Needs an environment with per-domain rewards (see
            `reward_vector`).
        zscored_rewards: the per-domain rewards are z-scored over domains and clipped to +-3, which
            makes their sum about zero under every policy.
        delta_since_start: changes of losses in the state are against the first decision at which
            they were known, not against the previous one.
        zscored_state: every feature is z-scored over its own domains (or layers), clipped to +-3,
            which hides its level.
        percent_iteration: time is in the state as 0 to 100, not as a share of the budget.
        odm_warmup: warm-up plays ODM's smoothed mean instead of the noisy natural mixture.
        warmup_imitation: during warm-up the actor's loss is its squared distance to the mixture
            played; when warm-up ends the target networks become copies.
        bootstrapped_reward: during warm-up the critic's target is r + gamma r.
        warmup_when_frozen: a transferred policy too starts with the warm-up mixtures.
        uniform_action_noise: exploration subtracts U(0, 1) / 1000 from every weight (what gets
            negative is set to zero here; the release leaves it negative).
        forced_floor: 22 of 144 micro-batches are forced to be one from each of 22 domains, so
            that 22/144 of what is executed is uniform; the replay holds the action without it.
        annealed_learning_rate: both learning rates rise to 1e-2 over 2 % of the decisions and
            fall to 1e-3 along a cosine.
    """

    actor_never_stepped: bool = False
    critic_steps_on_actor_loss: bool = False
    vector_critic: bool = False
    zscored_rewards: bool = False
    delta_since_start: bool = False
    zscored_state: bool = False
    percent_iteration: bool = False
    odm_warmup: bool = False
    warmup_imitation: bool = False
    bootstrapped_reward: bool = False
    warmup_when_frozen: bool = False
    uniform_action_noise: bool = False
    forced_floor: bool = False
    annealed_learning_rate: bool = False

    @property
    def per_domain_rewards(self) -> bool:
        """Whether a reward for every domain is needed, not only their scalar sum."""
        return self.vector_critic or self.zscored_rewards

    @classmethod
    def parse(cls, spec: Released | str | Sequence[str] | Mapping[str, bool]) -> Released:
        """Build from `"none"`, `"all"`, a list of switches, or `{switch: bool}`.

        Raises:
            UnknownNameError: a switch that does not exist, with the closest one.
        """
        if isinstance(spec, Released):
            return spec
        names = [item.name for item in fields(cls)]
        if isinstance(spec, str):
            if spec not in ("none", "all"):
                raise unknown_name("value of released", spec, ["none", "all"])
            return cls(**dict.fromkeys(names, spec == "all"))
        given = dict(spec) if isinstance(spec, Mapping) else dict.fromkeys(spec, True)
        for name, value in given.items():
            if name not in names:
                raise unknown_name("released switch", name, names)
            if not isinstance(value, bool):
                raise ValueError(f"released.{name}={value!r} must be true or false")
        return cls(**given)


@dataclass(frozen=True, kw_only=True)
class ReleasedConfig(Config):
    """All hyperparameters of the agent `acodm`: those of the paper's AC-ODM, and

    Attributes:
        released: deviations of the released code, see `Released`.
    """

    released: Annotated[Released, Released.parse] = field(default_factory=Released)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.critic == "factored" and self.released.per_domain_rewards:
            raise ValueError(
                "critic='factored' has no released.vector_critic or released.zscored_rewards: "
                "take critic='joint' with them"
            )

    @property
    def domain_values(self) -> bool:
        return super().domain_values or self.released.vector_critic


class ReleasedEpisode:
    """What the switches change while the agent acts.

    Args:
        switches: those that are on.
        task, layout: of the environment.
        rng: the agent's.
    """

    def __init__(
        self,
        switches: Released,
        task: MixingTask,
        layout: ObservationLayout,
        rng: np.random.Generator,
    ) -> None:
        self.switches, self.layout, self.rng = switches, layout, rng
        self.first: NDArray[np.float32] | None = None
        self.odm = OdmSmoothed()
        self.odm.start(task, rng)

    def distort(self, state: NDArray[np.float32]) -> None:
        """Change a (size,) state in place (`delta_since_start`, `percent_iteration`)."""
        if self.first is None:
            self.first = state.copy()
        if self.switches.delta_since_start:
            change_since(state, self.first, self.layout)
        if self.switches.percent_iteration and "remaining" in self.layout.scalar_features:
            place = self.layout.names.index("remaining")
            state[place] = 100.0 * (1.0 - state[place])

    def warmup_mixture(self, env: Any) -> Mixture | None:
        """Return the (K,) mixture of the warm-up (`odm_warmup`); None for the paper's."""
        return self.odm.update(env.unwrapped.signals) if self.switches.odm_warmup else None

    def explored(self, mixture: Mixture) -> Mixture | None:
        """Return the (K,) mixture to play near the policy's (`uniform_action_noise`), or None."""
        if not self.switches.uniform_action_noise:
            return None
        noisy = np.maximum(mixture - self.rng.uniform(size=len(mixture)) / 1000, 0.0)
        return validate_mixture(noisy, len(mixture), normalise=True)

    def executed(self, mixture: Mixture) -> Mixture:
        """Return what is executed of a (K,) mixture (`forced_floor`)."""
        if not self.switches.forced_floor:
            return mixture
        return (1.0 - _FORCED) * mixture + _FORCED / len(mixture)


def change_since(
    state: NDArray[np.float32], first: NDArray[np.float32], layout: ObservationLayout
) -> None:
    """Overwrite every `X_change` of a state by X (or `X_loss`) minus its value in `first`.

    A value that was not known (0) in `first` is taken from the first state that has it.
    """
    places = {name: index for index, name in enumerate(layout.names)}
    for name, index in places.items():
        feature, dot, domain = name.partition(".")
        stem = feature.removesuffix("_change")
        level = places.get(f"{stem}{dot}{domain}", places.get(f"{stem}_loss{dot}{domain}"))
        if feature.endswith("_change") and level is not None:
            if first[level] == 0.0:
                first[level] = state[level]
            state[index] = state[level] - first[level]


class ReleasedDdpg(Ddpg):
    """`Ddpg` as released: the same update, with the switches' deviations in it."""

    config: ReleasedConfig
    warming = False

    def make_normaliser(self) -> Normaliser:
        plain = super().make_normaliser()
        if not self.config.released.zscored_state:
            return plain
        return ZScored(plain.layout, plain.pooled, plain.running)

    def learn(
        self, rng: np.random.Generator, decision: int, warmup: int, decisions: int
    ) -> dict[str, float]:
        """As the paper's; knows the time (see `Ddpg.learn`)."""
        released = self.config.released
        self.warming = decision <= warmup
        if released.annealed_learning_rate:
            rate = annealed_learning_rate(decision, decisions)
            for optimiser in self.optimisers.values():
                for group in optimiser.param_groups:
                    group["lr"] = rate
        metrics = super().learn(rng, decision, warmup, decisions)
        if released.warmup_imitation and decision == warmup:
            self.soft_update(1.0)
        return metrics

    def critic_target(self, batch: Batch) -> Tensor:
        if self.warming and self.config.released.bootstrapped_reward:
            reward = torch.from_numpy(self.scaled_reward(batch.reward))
            return reward + self.config.gamma * reward
        return super().critic_target(batch)

    def actor_loss(self, batch: Batch, seed: int = 0) -> Tensor:
        if self.warming and self.config.released.warmup_imitation:
            played = torch.from_numpy(batch.mixture)
            return functional.mse_loss(self.policy(self.actor, batch.observation).mixture, played)
        return super().actor_loss(batch, seed)

    def step_actor(self) -> None:
        if not self.config.released.actor_never_stepped:
            super().step_actor()
        if self.config.released.critic_steps_on_actor_loss:
            self.critic_optimiser.step()


class ZScored(Normaliser):
    """Features z-scored over their own domains (or layers), their level being lost."""

    def scaled(
        self, domain: NDArray[np.float64], layer: NDArray[np.float64], scalar: NDArray[np.float64]
    ) -> Blocks:
        return _zscored_rows(domain), _zscored_rows(layer), scalar


def _zscored_rows(block: NDArray[np.float64]) -> NDArray[np.float64]:
    if not block.size:
        return block
    deviation = block.std(axis=-2, keepdims=True) + 1e-6
    return np.clip((block - block.mean(axis=-2, keepdims=True)) / deviation, -_CLIP, _CLIP)


def zscored(rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (K,) rewards minus their mean, over their deviation, clipped to +-3."""
    deviation = rewards.std() + 1e-6
    return np.clip((rewards - rewards.mean()) / deviation, -_CLIP, _CLIP)


def annealed_learning_rate(decision: int, decisions: int) -> float:
    """Learning rate of the release at a 0-based decision: linear to 1e-2, then cosine to 1e-3."""
    warmup = max(1, math.ceil(0.02 * decisions))
    if decision < warmup:
        return 1e-2 * (decision + 1) / warmup
    progress = min(1.0, (decision - warmup) / max(1, decisions - warmup))
    return 1e-3 + (1e-2 - 1e-3) * 0.5 * (1.0 + math.cos(math.pi * progress))

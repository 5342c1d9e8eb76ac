"""DDPG over mixtures: the algorithm of the `acodm` agent."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mixgym.envs.observation import ObservationLayout
from mixgym.errors import MixgymError
from mixgym.lm.threads import private_rng
from mixgym.simplex import TINY, Mixture, softmax, validate_mixture
from mixgym_agents.acodm.config import Config
from mixgym_agents.acodm.replay import Batch, ReplayBuffer
from mixgym_agents.learning.networks import Inputs, Normaliser, make_network, policy
from mixgym_agents.learning.store import flat_optimiser, owned, restore_optimiser

_LEAST = 1e-4


class Ddpg:
    """Actor mu, critic Q, their targets mu', Q', and the replay buffer.

    One update, on a batch (s, w, r, s', d) from the buffer:

        y      = r + gamma (1 - d) Q'(s', mu'(s'))
        critic : descend  mean (Q(s, w) - y)^2
        actor  : ascend   mean Q(s, mu(s))          (+ entropy bonus)
        targets: theta' <- (1 - tau) theta' + tau theta

    A factored critic is Q(s, w) = sum_i w_i q_i(s). With r_i the domains' rewards it descends

        mean_i (q_i(s) - y_i)^2,   y_i = r_i + gamma (1 - d) Q'(s', mu'(s'))

    Args:
        config: hyperparameters.
        layout: of the observations.
        seed: of the networks' initial weights.

    Raises:
        MixgymError: `anchor` is "current" and the observation has no mixture.
    """

    def __init__(self, config: Config, layout: ObservationLayout, seed: int) -> None:
        if config.anchor == "current" and "mixture" not in layout.domain_features:
            raise MixgymError(
                "anchor='current' needs the current mixture in the observation: give "
                "observation={'set': ..., 'domain': ['mixture', ...]} or anchor='prior'"
            )
        self.config, self.layout = config, layout
        self.normaliser = Normaliser(layout, config)
        K, F, C = len(layout.domains), self.normaliser.sizes[0], self.normaliser.context_size
        with private_rng(seed):
            self.actor = make_network(config, K, F, C, critic=False)
            self.critic = make_network(config, K, F, C, critic=True)
        self.target_actor = copy.deepcopy(self.actor)
        self.target_critic = copy.deepcopy(self.critic)
        self.actor_optimiser = _adamw(self.actor, config.actor_learning_rate, config)
        self.critic_optimiser = _adamw(self.critic, config.critic_learning_rate, config)
        R = K if config.domain_values else 1
        self.replay = ReplayBuffer(config.buffer_size, layout.size, K, R)
        self.log_prior = torch.zeros(K) - math.log(K)

    def act(self, observation: NDArray[Any]) -> tuple[Mixture, Mixture | None]:
        """Return mu(s), (K,), and a Dirichlet actor's concentrations."""
        with torch.no_grad():
            inputs = self.normaliser(observation[None])
            chosen = policy(self.actor, inputs, self.anchor(observation[None]), self.config)
        mixture = validate_mixture(chosen.mixture[0].numpy(), len(self.log_prior), normalise=True)
        if chosen.concentration is None:
            return mixture, None
        return mixture, chosen.concentration[0].numpy().astype(np.float64)

    def anchor(self, observations: NDArray[Any]) -> Tensor:
        """Return the (K,) or (B, K) log weights that the actor's logits are added to."""
        if self.config.anchor == "prior":
            return self.log_prior
        place = self.layout.domain_features.index("mixture")
        current = self.layout.split(observations)[0][..., place]
        return torch.from_numpy(np.log(np.maximum(current, _LEAST)).astype(np.float32))

    def critic_target(self, batch: Batch, bootstrap_reward: bool = False) -> Tensor:
        """Return y, (B, R); with `bootstrap_reward` the release's r + gamma r instead."""
        gamma = self.config.gamma
        reward = torch.from_numpy(self._scaled_reward(batch.reward))
        if bootstrap_reward:
            return reward + gamma * reward
        with torch.no_grad():
            inputs = self.normaliser(batch.next_observation)
            anchor = self.anchor(batch.next_observation)
            mixture = policy(self.target_actor, inputs, anchor, self.config).mixture
            value = self.value(self.target_critic, inputs, mixture)
        return reward + gamma * (1.0 - torch.from_numpy(batch.done)[:, None]) * value

    def _scaled_reward(self, reward: NDArray[np.float32]) -> NDArray[np.float32]:
        if not self.config.standardise_rewards:
            return reward
        seen = self.replay.all().reward
        return (reward - seen.mean()) / (seen.std() + np.float32(1e-6))

    def value(self, critic: torch.nn.Module, inputs: Inputs, mixture: Tensor) -> Tensor:
        """Return Q(s, w), (B, 1), or (B, K) of a vector critic."""
        if self.config.critic == "factored":
            return (mixture * critic(inputs)).sum(dim=1, keepdim=True)
        return critic(inputs, mixture)

    def critic_loss(self, batch: Batch, bootstrap_reward: bool = False) -> Tensor:
        """Return mean (Q(s, w) - y)^2, or mean (q_i(s) - y_i)^2 of a factored critic."""
        target = self.critic_target(batch, bootstrap_reward)
        inputs = self.normaliser(batch.observation)
        if self.config.critic == "factored":
            return functional.mse_loss(self.critic(inputs), target)
        value = self.critic(inputs, torch.from_numpy(batch.mixture))
        return functional.mse_loss(value, target)

    def actor_loss(self, batch: Batch, seed: int = 0, imitate: bool = False) -> Tensor:
        """Return -mean Q(s, mu(s)), over domains too if Q is a vector; `seed` draws Dirichlets.

        With `imitate` the squared distance of mu(s) to the mixture played instead.
        """
        inputs = self.normaliser(batch.observation)
        anchor = self.anchor(batch.observation)
        chosen = policy(self.actor, inputs, anchor, self.config)
        if imitate:
            return functional.mse_loss(chosen.mixture, torch.from_numpy(batch.mixture))
        mixture = chosen.mixture
        if chosen.concentration is not None:
            with private_rng(seed):
                mixture = torch.distributions.Dirichlet(chosen.concentration).rsample()
            floor = self.config.floor
            mixture = (1.0 - floor) * mixture + floor / mixture.shape[1]
        loss = -self.value(self.critic, inputs, mixture).mean()
        if self.config.entropy:
            logs = torch.log(chosen.mixture + TINY)
            if self.config.anchor == "current":
                logs = logs - torch.log_softmax(anchor, dim=-1)
            loss = loss + self.config.entropy * (chosen.mixture * logs).sum(dim=1).mean()
        return loss

    def update(self, rng: np.random.Generator, warming: bool = False) -> dict[str, float]:
        """Do one update on a fresh batch and return its losses.

        `warming` says that warm-up mixtures are being played, which only the released switches
        `bootstrapped_reward` and `warmup_imitation` heed.
        """
        released = self.config.released
        batch = self.replay.sample(rng, self.config.batch_size)
        critic_loss = self.critic_loss(batch, warming and released.bootstrapped_reward)
        self.critic_optimiser.zero_grad()
        critic_loss.backward()
        self.critic_optimiser.step()

        imitate = warming and released.warmup_imitation
        actor_loss = self.actor_loss(batch, int(rng.integers(2**62)), imitate)
        self.actor_optimiser.zero_grad()
        self.critic_optimiser.zero_grad()
        actor_loss.backward()
        if not released.actor_never_stepped:
            self.actor_optimiser.step()
        if released.critic_steps_on_actor_loss:
            self.critic_optimiser.step()
        self.soft_update(self.config.tau)
        return {"critic_loss": critic_loss.item(), "actor_loss": actor_loss.item()}

    def soft_update(self, tau: float) -> None:
        """theta' <- (1 - tau) theta' + tau theta, for both targets; tau = 1 copies."""
        pairs = ((self.target_actor, self.actor), (self.target_critic, self.critic))
        with torch.no_grad():
            for target, learned in pairs:
                old, new = list(target.parameters()), list(learned.parameters())
                torch._foreach_lerp_(old, new, weight=tau)  # type: ignore[attr-defined]

    def set_learning_rate(self, rate: float) -> None:
        """Use `rate` in both optimisers."""
        for optimiser in (self.actor_optimiser, self.critic_optimiser):
            for group in optimiser.param_groups:
                group["lr"] = rate

    @property
    def networks(self) -> dict[str, torch.nn.Module]:
        """The four networks by name."""
        names = ("actor", "critic", "target_actor", "target_critic")
        return {name: getattr(self, name) for name in names}

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Both optimisers by name."""
        return {"actor_optimiser": self.actor_optimiser, "critic_optimiser": self.critic_optimiser}

    def state_dict(self) -> dict[str, Tensor]:
        """Return networks, optimisers and replay buffer as named tensors."""
        tensors = {
            f"{name}.{key}": value.detach().clone()
            for name, network in self.networks.items()
            for key, value in network.state_dict().items()
        }
        for name, optimiser in self.optimisers.items():
            tensors |= flat_optimiser(name, optimiser)
        replay = self.replay.state_dict()
        return tensors | {f"replay.{key}": value for key, value in replay.items()}

    def load_networks(self, tensors: dict[str, Tensor]) -> None:
        """Restore the networks alone, for which numbers of domains and layers may be others."""
        for name, network in self.networks.items():
            network.load_state_dict(owned(name, tensors))

    def load_state_dict(self, tensors: dict[str, Tensor], added: int) -> None:
        """Restore everything; `added` is the number of transitions the buffer had taken in."""
        self.load_networks(tensors)
        for name, optimiser in self.optimisers.items():
            restore_optimiser(name, optimiser, tensors)
        self.replay.load_state_dict(owned("replay", tensors), added)


def _adamw(network: torch.nn.Module, rate: float, config: Config) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        network.parameters(), rate, weight_decay=config.weight_decay, fused=True
    )


def explore(
    mixture: Mixture,
    concentration: Mixture | None,
    config: Config,
    rng: np.random.Generator,
    decisions: int,
) -> Mixture:
    """Return the (K,) mixture to play while learning, near the policy's.

    Args:
        mixture: mu(s).
        concentration: of a Dirichlet actor, which is then drawn from.
        config: `exploration` and its numbers, `released.uniform_action_noise`.
        rng: the noise.
        decisions: decisions made so far, for `noise_decay`.
    """
    c, K = config, len(mixture)
    noisy = mixture
    if c.released.uniform_action_noise:
        noisy = np.maximum(mixture - rng.uniform(size=K) / 1000, 0.0)
    elif concentration is not None:
        noisy = (1.0 - c.floor) * rng.dirichlet(concentration) + c.floor / K
    elif c.exploration == "logits":
        scale = c.noise * c.noise_decay**decisions
        noisy = softmax(np.log(np.maximum(mixture, TINY)) + scale * rng.standard_normal(K))
    elif c.exploration == "dirichlet":
        noisy = rng.dirichlet(np.maximum(c.concentration * mixture, 1e-3))
    return validate_mixture(noisy, K, normalise=True)

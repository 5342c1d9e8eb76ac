"""DDPG over mixtures: the algorithm of the `acodm` agent."""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from mixgym.envs.observation import ObservationLayout
from mixgym.errors import MixgymError
from mixgym.lm.threads import private_rng
from mixgym.simplex import TINY, Mixture, softmax, validate_mixture
from mixgym_agents.acodm.config import Config
from mixgym_agents.acodm.replay import Batch, ReplayBuffer
from mixgym_agents.learning.networks import Inputs, MlpNetwork, TokenNetwork
from mixgym_agents.learning.normaliser import Normaliser
from mixgym_agents.learning.store import flat_optimiser, load_weights, owned, restore_optimiser

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
        self.normaliser = self.make_normaliser()
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

    def make_normaliser(self) -> Normaliser:
        """Return what turns observations into the networks' inputs."""
        config = self.config
        return Normaliser(self.layout, not config.fixed_layers, config.normalise == "running")

    def act(self, observation: NDArray[Any]) -> tuple[Mixture, Mixture | None]:
        """Return mu(s), (K,), and a Dirichlet actor's concentrations."""
        with torch.no_grad():
            chosen = self.policy(self.actor, observation[None])
        mixture = validate_mixture(chosen.mixture[0].numpy(), len(self.log_prior), normalise=True)
        if chosen.concentration is None:
            return mixture, None
        return mixture, chosen.concentration[0].numpy().astype(np.float64)

    def policy(self, actor: nn.Module, observations: NDArray[Any]) -> Policy:
        """Return an actor's policy at (B, size) observations."""
        inputs = self.normaliser(observations)
        return policy(actor, inputs, self.anchor(observations), self.config)

    def anchor(self, observations: NDArray[Any]) -> Tensor:
        """Return the (K,) or (B, K) log weights that the actor's logits are added to."""
        if self.config.anchor == "prior":
            return self.log_prior
        place = self.layout.domain_features.index("mixture")
        current = self.layout.split(observations)[0][..., place]
        return torch.from_numpy(np.log(np.maximum(current, _LEAST)).astype(np.float32))

    def critic_target(self, batch: Batch) -> Tensor:
        """Return y, (B, R)."""
        reward = torch.from_numpy(self.scaled_reward(batch.reward))
        with torch.no_grad():
            inputs = self.normaliser(batch.next_observation)
            mixture = self.policy(self.target_actor, batch.next_observation).mixture
            value = self.value(self.target_critic, inputs, mixture)
        return reward + self.config.gamma * (1.0 - torch.from_numpy(batch.done)[:, None]) * value

    def scaled_reward(self, reward: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return rewards by the buffer's mean and deviation, if they are to be standardised."""
        if not self.config.standardise_rewards:
            return reward
        seen = self.replay.all().reward
        return (reward - seen.mean()) / (seen.std() + np.float32(1e-6))

    def value(self, critic: torch.nn.Module, inputs: Inputs, mixture: Tensor) -> Tensor:
        """Return Q(s, w), (B, 1), or (B, K) of a vector critic."""
        if self.config.critic == "factored":
            return (mixture * critic(inputs)).sum(dim=1, keepdim=True)
        return critic(inputs, mixture)

    def critic_loss(self, batch: Batch) -> Tensor:
        """Return mean (Q(s, w) - y)^2, or mean (q_i(s) - y_i)^2 of a factored critic."""
        target = self.critic_target(batch)
        inputs = self.normaliser(batch.observation)
        if self.config.critic == "factored":
            return functional.mse_loss(self.critic(inputs), target)
        value = self.critic(inputs, torch.from_numpy(batch.mixture))
        return functional.mse_loss(value, target)

    def actor_loss(self, batch: Batch, seed: int = 0) -> Tensor:
        """Return -mean Q(s, mu(s)), over domains too if Q is a vector; `seed` draws Dirichlets."""
        inputs = self.normaliser(batch.observation)
        anchor = self.anchor(batch.observation)
        chosen = policy(self.actor, inputs, anchor, self.config)
        mixture = chosen.mixture
        if chosen.concentration is not None:
            with private_rng(seed):
                mixture = torch.distributions.Dirichlet(chosen.concentration).rsample()
            mixture = floored(mixture, self.config)
        loss = -self.value(self.critic, inputs, mixture).mean()
        if self.config.entropy:
            logs = torch.log(chosen.mixture + TINY)
            if self.config.anchor == "current":
                logs = logs - torch.log_softmax(anchor, dim=-1)
            loss = loss + self.config.entropy * (chosen.mixture * logs).sum(dim=1).mean()
        return loss

    def update(self, rng: np.random.Generator) -> dict[str, float]:
        """Do one update on a fresh batch and return its losses."""
        batch = self.replay.sample(rng, self.config.batch_size)
        critic_loss = self.critic_loss(batch)
        self.critic_optimiser.zero_grad()
        critic_loss.backward()
        self.critic_optimiser.step()

        actor_loss = self.actor_loss(batch, int(rng.integers(2**62)))
        self.actor_optimiser.zero_grad()
        self.critic_optimiser.zero_grad()
        actor_loss.backward()
        self.step_actor()
        self.soft_update(self.config.tau)
        return {"critic_loss": critic_loss.item(), "actor_loss": actor_loss.item()}

    def step_actor(self) -> None:
        """Take the actor's step; the gradients of its loss are at hand, the critic's too."""
        self.actor_optimiser.step()

    def learn(
        self, rng: np.random.Generator, decision: int, warmup: int, decisions: int
    ) -> dict[str, float]:
        """Do the updates of a decision and return the last one's losses.

        Args:
            rng: draws the batches.
            decision, warmup, decisions: decisions made so far, those of the warm-up, those of an
                episode; only the release heeds them.
        """
        metrics: dict[str, float] = {}
        for _ in range(self.config.updates_per_decision):
            metrics = self.update(rng)
        return metrics

    def soft_update(self, tau: float) -> None:
        """theta' <- (1 - tau) theta' + tau theta, for both targets; tau = 1 copies."""
        pairs = ((self.target_actor, self.actor), (self.target_critic, self.critic))
        with torch.no_grad():
            for target, learned in pairs:
                old, new = list(target.parameters()), list(learned.parameters())
                torch._foreach_lerp_(old, new, weight=tau)  # type: ignore[attr-defined]

    @property
    def networks(self) -> dict[str, torch.nn.Module]:
        """The four networks by name."""
        names = ("actor", "critic", "target_actor", "target_critic")
        return {name: getattr(self, name) for name in names}

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Both optimisers by name."""
        return {"actor_optimiser": self.actor_optimiser, "critic_optimiser": self.critic_optimiser}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return networks, optimisers and replay buffer as named tensors, the rest JSON-plain."""
        tensors = {
            f"{name}.{key}": value.detach().clone()
            for name, network in self.networks.items()
            for key, value in network.state_dict().items()
        }
        for name, optimiser in self.optimisers.items():
            tensors |= flat_optimiser(name, optimiser)
        replay = self.replay.state_dict()
        tensors |= {f"replay.{key}": value for key, value in replay.items()}
        return tensors, {"added": self.replay.added, "normaliser": self.normaliser.state_dict()}

    def adopt(self, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
        """Take over networks and statistics, of other numbers of domains and layers maybe."""
        for name, network in self.networks.items():
            load_weights(network, owned(name, tensors))
        self.normaliser.load_state_dict(scalars["normaliser"])

    def restore(self, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
        """Inverse of `state`."""
        self.adopt(tensors, scalars)
        for name, optimiser in self.optimisers.items():
            restore_optimiser(name, optimiser, tensors)
        self.replay.load_state_dict(owned("replay", tensors), scalars["added"])


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
        config: `exploration` and its numbers.
        rng: the noise.
        decisions: decisions made so far, for `noise_decay`.
    """
    c, K = config, len(mixture)
    noisy = mixture
    if concentration is not None:
        noisy = (1.0 - c.floor) * rng.dirichlet(concentration) + c.floor / K
    elif c.exploration == "logits":
        scale = c.noise * c.noise_decay**decisions
        noisy = softmax(np.log(np.maximum(mixture, TINY)) + scale * rng.standard_normal(K))
    elif c.exploration == "dirichlet":
        noisy = rng.dirichlet(np.maximum(c.concentration * mixture, 1e-3))
    return validate_mixture(noisy, K, normalise=True)


def make_network(config: Config, K: int, F: int, C: int, critic: bool) -> nn.Module:
    """Build an actor or a critic; draws from torch's global generator, so wrap in `private_rng`.

    Returns:
        a module `(inputs) -> (B, K)`, an actor or the values of a factored critic, or
        `(inputs, mixture) -> (B, 1)`, (B, K) if vector.
    """
    per_domain = not critic or config.domain_values
    sees_action = critic and config.critic == "joint"
    network: MlpNetwork | TokenNetwork
    if config.network == "tokens":
        network = TokenNetwork(F, C, config, sees_action, per_domain)
    else:
        network = MlpNetwork(K, F, C, K if per_domain else 1, config, sees_action)
    if not critic:
        with torch.no_grad():
            network.head.weight.mul_(config.output_gain)
            network.head.bias.mul_(config.output_gain)
    return network


class Policy(NamedTuple):
    """A policy's (B, K) mean mixtures and, of a Dirichlet actor, its (B, K) concentrations."""

    mixture: Tensor
    concentration: Tensor | None


def policy(actor: nn.Module, inputs: Inputs, log_prior: Tensor, config: Config) -> Policy:
    """Return mu(s): softmax(logits + log prior), or the Dirichlet with that as its mean's form.

    `log_prior` is (K,), or (B, K) if every state has its own.

    Softmax: (1 - f) softmax(log prior + l) + f/K. Dirichlet: concentrations
    0.05 + 10 K prior softplus(l) / softplus(0), mean c / sum(c), mixed with f/K alike.
    """
    logits = actor(inputs)
    if config.logit_bound:
        logits = config.logit_bound * torch.tanh(logits / config.logit_bound)
    if config.actor == "softmax":
        return Policy(floored(torch.softmax(logits + log_prior, dim=-1), config), None)
    K = logits.shape[-1]
    level = functional.softplus(logits) / functional.softplus(torch.zeros(()))
    concentration = 0.05 + 10.0 * K * log_prior.exp() * level
    mean = concentration / concentration.sum(dim=-1, keepdim=True)
    return Policy(floored(mean, config), concentration)


def floored(mixture: Tensor, config: Config) -> Tensor:
    """Mix the uniform mixture in: (1 - f) w + f / K."""
    return (1.0 - config.floor) * mixture + config.floor / mixture.shape[-1]

"""What the `acodm` agent's actor and critic see and are made of.

Both kinds of network take `Inputs`: a (B, K, F) block of domain features and a (B, C) context
(layer features, scalars). An actor returns (B, K) logits, a critic (B,) or (B, K) values.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from mixgym.envs.observation import ObservationLayout
from mixgym_agents.acodm.config import Config

_CLIP = 5.0
_RELEASED_CLIP = 3.0


class Inputs(NamedTuple):
    """Float32 (B, K, F) domain features and (B, C) context."""

    domains: Tensor
    context: Tensor


@dataclass
class Normaliser:
    """Turns observations into network inputs; keeps running statistics of every feature.

    A domain feature has one mean and one deviation for all domains, a layer feature one for all
    layers, so that nothing depends on their number or order.

    Args:
        layout: of the observations.
        config: `normalise`, `released.zscored_state` and whether layers are averaged are read.
    """

    layout: ObservationLayout
    config: Config

    def __post_init__(self) -> None:
        self.count = 0
        size = sum(self.sizes)
        self.mean, self.squares = np.zeros(size), np.zeros(size)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Number of domain, layer and scalar features."""
        layout = self.layout
        return (
            len(layout.domain_features),
            len(layout.layer_features),
            len(layout.scalar_features),
        )

    @property
    def pooled(self) -> bool:
        """Whether layer features are averaged over layers."""
        return self.config.pool_layers or self.config.network == "tokens"

    @property
    def context_size(self) -> int:
        """C, the length of the context."""
        _, G, S = self.sizes
        return G * (1 if self.pooled else len(self.layout.layers)) + S

    def update(self, observation: NDArray[Any]) -> None:
        """Take one (size,) observation into the running statistics."""
        domain, layer, scalar = self.layout.split(observation.astype(np.float64))
        blocks = (domain, layer, scalar[None])
        # Mean over domains of x and of x^2: the statistics of a feature, not of a domain.
        first = np.concatenate([_mean(block) for block in blocks])
        second = np.concatenate([_mean(block**2) for block in blocks])
        self.count += 1
        self.mean += (first - self.mean) / self.count
        self.squares += (second - self.squares) / self.count

    def __call__(self, observations: NDArray[Any]) -> Inputs:
        """Turn (B, size) observations into inputs."""
        F, G, _ = self.sizes
        domain, layer, scalar = self.layout.split(observations.astype(np.float64))
        if self.config.released.zscored_state:
            domain, layer = _zscored(domain), _zscored(layer)
        elif self.config.normalise == "running" and self.count:
            deviation = np.sqrt(np.maximum(self.squares - self.mean**2, 0.0)) + 1e-3
            domain = _scaled(domain, self.mean[:F], deviation[:F])
            layer = _scaled(layer, self.mean[F : F + G], deviation[F : F + G])
            scalar = _scaled(scalar, self.mean[F + G :], deviation[F + G :])
        if self.pooled:
            layer = layer.mean(axis=-2) if layer.shape[-2] else layer.sum(axis=-2)
        context = np.concatenate([layer.reshape(len(observations), -1), scalar], axis=1)
        return Inputs(
            torch.from_numpy(domain.astype(np.float32)),
            torch.from_numpy(context.astype(np.float32)),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the statistics, JSON-plain."""
        return {
            "count": self.count,
            "mean": self.mean.tolist(),
            "squares": self.squares.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`'s value."""
        self.count = int(state["count"])
        self.mean = np.array(state["mean"], dtype=np.float64)
        self.squares = np.array(state["squares"], dtype=np.float64)


def _mean(block: NDArray[np.float64]) -> NDArray[np.float64]:
    return block.mean(axis=0) if len(block) else np.zeros(block.shape[1])


def _scaled(
    values: NDArray[np.float64], mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.clip((values - mean) / deviation, -_CLIP, _CLIP)


def _zscored(block: NDArray[np.float64]) -> NDArray[np.float64]:
    if not block.size:
        return block
    deviation = block.std(axis=-2, keepdims=True) + 1e-6
    scaled = (block - block.mean(axis=-2, keepdims=True)) / deviation
    return np.clip(scaled, -_RELEASED_CLIP, _RELEASED_CLIP)


def _hidden(sizes: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.ReLU()]
    return nn.Sequential(*layers)


class MlpNetwork(nn.Module):
    """depth x [Linear, LayerNorm, ReLU], then Linear, on everything concatenated (the paper's).

    Args:
        K, F, C: domains, features of each, length of the context.
        outputs: K for an actor or a vector critic, 1 for a scalar critic.
        sees_action: a critic, whose input includes the mixture.
    """

    def __init__(
        self, K: int, F: int, C: int, outputs: int, config: Config, sees_action: bool
    ) -> None:
        super().__init__()
        inputs = K * F + C + (K if sees_action else 0)
        self.trunk = _hidden([inputs] + [config.width] * config.depth)
        self.head = nn.Linear(config.width, outputs)

    def forward(self, inputs: Inputs, mixture: Tensor | None = None) -> Tensor:
        parts = [inputs.domains.flatten(1), inputs.context]
        if mixture is not None:
            parts.append(_centred(mixture))
        return self.head(self.trunk(torch.cat(parts, dim=1)))


def _centred(mixture: Tensor) -> Tensor:
    """K w - 1: of order one for every K, zero at the uniform mixture."""
    return mixture * mixture.shape[-1] - 1.0


class AttentionBlock(nn.Module):
    """Pre-norm self-attention over domains without positions: equivariant to their order."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        B, K, width = tokens.shape
        qkv = self.qkv(self.before_attention(tokens)).view(B, K, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        # Written out: for so few and small tokens the fused kernel is slower.
        mixed = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1) @ v
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(B, K, width))
        return tokens + self.mlp(self.before_mlp(tokens))


class DeepSetsBlock(nn.Module):
    """h_i + ReLU(LayerNorm(A h_i + B mean_j h_j))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.own, self.others = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        mean = tokens.mean(dim=1, keepdim=True)
        return tokens + functional.relu(self.norm(self.own(tokens) + self.others(mean)))


class TokenNetwork(nn.Module):
    """One token a domain, weights shared: runs on any number and order of domains.

    A token is its domain's features, its weight (in a critic) and the context. `per_domain` gives
    one number a token (actor: equivariant to the order); otherwise the tokens' plain and
    mixture-weighted means give one number (critic: invariant).
    """

    def __init__(self, F: int, C: int, config: Config, sees_action: bool, per_domain: bool) -> None:
        super().__init__()
        width = config.width
        self.per_domain = per_domain
        self.embed = _hidden([F + C + int(sees_action), width])
        self.blocks = nn.ModuleList(
            AttentionBlock(width, config.heads)
            if config.interaction == "attention"
            else DeepSetsBlock(width)
            for _ in range(config.blocks)
        )
        self.pool = None if per_domain else _hidden([2 * width, width])
        self.head = nn.Linear(width, 1)

    def forward(self, inputs: Inputs, mixture: Tensor | None = None) -> Tensor:
        K = inputs.domains.shape[1]
        parts = [inputs.domains, inputs.context[:, None].expand(-1, K, -1)]
        if mixture is not None:
            parts.append(_centred(mixture)[..., None])
        tokens = self.embed(torch.cat(parts, dim=2))
        for block in self.blocks:
            tokens = block(tokens)
        if self.per_domain:
            return self.head(tokens).squeeze(2)
        assert self.pool is not None and mixture is not None
        weighted = (mixture[..., None] * tokens).sum(dim=1)
        return self.head(self.pool(torch.cat([tokens.mean(dim=1), weighted], dim=1)))


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

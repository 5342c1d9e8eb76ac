"""Networks over domains: an MLP for one set of them, or one token a domain for any.

Both take `Inputs`: a (B, K, F) block of domain features and a (B, C) context (layer features,
scalars).
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mixgym_agents.learning.hyperparameters import NetworkConfig


class Inputs(NamedTuple):
    """Float32 (B, K, F) domain features and (B, C) context."""

    domains: Tensor
    context: Tensor


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
        self, K: int, F: int, C: int, outputs: int, config: NetworkConfig, sees_action: bool
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


def exchanges(config: NetworkConfig) -> list[nn.Module]:
    """The blocks in which tokens exchange information."""
    if config.interaction == "attention":
        return [AttentionBlock(config.width, config.heads) for _ in range(config.blocks)]
    return [DeepSetsBlock(config.width) for _ in range(config.blocks)]


class TokenNetwork(nn.Module):
    """One token a domain, weights shared: runs on any number and order of domains.

    A token is its domain's features, its weight (in a critic) and the context. `per_domain` gives
    one number a token (actor: equivariant to the order); otherwise the tokens' plain and
    mixture-weighted means give one number (critic: invariant).
    """

    def __init__(
        self, F: int, C: int, config: NetworkConfig, sees_action: bool, per_domain: bool
    ) -> None:
        super().__init__()
        width = config.width
        self.per_domain = per_domain
        self.embed = _hidden([F + C + int(sees_action), width])
        self.blocks = nn.ModuleList(exchanges(config))
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

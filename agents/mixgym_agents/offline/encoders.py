"""d3rlpy's encoders made of our own networks: an MLP, or one token a domain.

d3rlpy puts a linear head on an encoder's output. For a policy over domain tokens the encoder itself
gives every domain's mean and log deviation, and `fix_heads` turns d3rlpy's heads into constant
selections of these, so that the same weights act on any number of domains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mixgym.simplex import ilr_basis
from mixgym.trajectories.library import d3rlpy
from mixgym_agents.learning.hyperparameters import NetworkConfig
from mixgym_agents.learning.networks import Inputs, MlpNetwork, TokenNetwork


@dataclass(frozen=True)
class Shape:
    """How a network's input vector is laid out, and what its actions mean.

    A vector is `window` inputs, oldest first, each a K x F block of domain features and then C
    context features.

    Attributes:
        K, F, C: domains, features of each, context features.
        window: inputs in a vector.
        scale: of the action map: weights are in proportion to exp(scale a).
        dim: entries of an action; K, or K - 1 for log-ratios.
    """

    K: int
    F: int
    C: int
    window: int
    scale: float
    dim: int

    @property
    def size(self) -> int:
        """Entries of a vector."""
        return self.window * (self.K * self.F + self.C)

    def split(self, vector: Tensor) -> Inputs:
        """(B, size) vectors as (B, K, window F) domain features and (B, window C) context."""
        B = len(vector)
        each = vector.view(B, self.window, self.K * self.F + self.C)
        domains = each[..., : self.K * self.F].reshape(B, self.window, self.K, self.F)
        return Inputs(
            domains.permute(0, 2, 1, 3).flatten(2), each[..., self.K * self.F :].flatten(1)
        )


class ActorEncoder(nn.Module):
    """(B, size) -> (B, width) of an MLP, or (B, 2 K) means and log deviations of the tokens."""

    def __init__(self, shape: Shape, config: NetworkConfig) -> None:
        super().__init__()
        self._shape = shape
        F, C = shape.F * shape.window, shape.C * shape.window
        if config.network == "tokens":
            self.network: Any = TokenNetwork(F, C, config, False, per_domain=True)
            self.network.head = nn.Linear(config.width, 2)
        else:
            self.network = MlpNetwork(shape.K, F, C, shape.K, config, False)
            self.network.head = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out = self.network(self._shape.split(x))
        return out.transpose(1, 2).flatten(1) if out.dim() == 3 else out


class CriticEncoder(nn.Module):
    """(B, size), (B, dim) -> (B, width); of a state value, without an action.

    It sees an action twice: as centred logits, a further feature of every domain, and as
    w = softmax(scale a), from which every network makes K w - 1. What the softmax does
    not tell apart, the critic does not either. w is the mixture of the maps `softmax` and `ilr` and
    the move of `delta`; the level of an action of `dirichlet` would be lost.
    """

    def __init__(self, shape: Shape, config: NetworkConfig) -> None:
        super().__init__()
        self._shape = shape
        F, C = shape.F * shape.window + 1, shape.C * shape.window
        if config.network == "tokens":
            self.network: Any = TokenNetwork(F, C, config, True, per_domain=False)
        else:
            self.network = MlpNetwork(shape.K, F, C, 1, config, True)
        self.network.head = nn.Identity()
        if shape.dim == shape.K:
            basis = torch.eye(shape.K) - 1.0 / shape.K
        else:
            basis = torch.from_numpy(ilr_basis(shape.K)).float()
        self.register_buffer("_basis", basis, persistent=False)

    def forward(self, x: Tensor, action: Tensor | None = None) -> Tensor:
        shape, inputs = self._shape, self._shape.split(x)
        seen = torch.zeros(len(x), shape.dim) if action is None else action
        logits = seen @ self._basis.T  # type: ignore[operator]
        domains = torch.cat([inputs.domains, logits[..., None]], dim=2)
        return self.network(
            Inputs(domains, inputs.context), torch.softmax(shape.scale * logits, dim=1)
        )


def encoder_factory(shape: Shape, config: NetworkConfig, value: bool = False) -> Any:
    """Return the factory that d3rlpy's configurations take.

    Args:
        shape: of inputs and actions.
        config: of the network.
        value: for a state value, whose encoder pools domains as a critic's does.
    """
    library = d3rlpy()

    class Factory(library.models.EncoderFactory):  # type: ignore[name-defined,misc]
        @staticmethod
        def get_type() -> str:
            return "mixgym"

        def create(self, observation_shape: Any) -> nn.Module:
            return CriticEncoder(shape, config) if value else ActorEncoder(shape, config)

        def create_with_action(
            self, observation_shape: Any, action_size: int, discrete_action: bool = False
        ) -> nn.Module:
            return CriticEncoder(shape, config)

    return Factory()


def fix_heads(policy: nn.Module, shape: Shape) -> None:
    """Make the heads of a policy over tokens select what its encoder gives; never to be trained.

    The head of the means takes the first K of 2 K outputs, that of the deviations the last K.
    """
    for name, head in policy.named_children():
        if not isinstance(head, nn.Linear):
            continue
        offset = shape.K if "std" in name else 0
        with torch.no_grad():
            head.weight.zero_()
            head.bias.zero_()
            head.weight[:, offset : offset + shape.K] = torch.eye(shape.K)
        head.requires_grad_(False)

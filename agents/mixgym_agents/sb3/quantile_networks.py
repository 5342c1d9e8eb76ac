"""TQC's policy with token networks; needs sb3-contrib."""

from __future__ import annotations

from typing import Any

import torch
from sb3_contrib.tqc.policies import Actor, Critic, TQCPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor

from mixgym_agents.sb3.networks import TokenShape, make_token_actor, token_arguments, token_values


class TokenQuantileCritic(Critic):
    """TQC's critics, each a `TokenValue` with one output a quantile."""

    def __init__(self, shape: TokenShape, **arguments: Any) -> None:
        super().__init__(**arguments)
        token_values(self, arguments["features_dim"], self.n_quantiles, shape)

    def forward(self, obs: PyTorchObs, action: Tensor) -> Tensor:
        tokens = self.extract_features(obs, self.features_extractor)
        return torch.stack([network(tokens, action) for network in self.q_networks], dim=1)


class TokenTqcPolicy(TQCPolicy):
    """`TQCPolicy` with token networks.

    Args:
        shape: of the networks.
        arguments: of `TQCPolicy`.
    """

    def __init__(self, *arguments: Any, shape: TokenShape, **keywords: Any) -> None:
        self._shape = shape
        super().__init__(*arguments, **{**keywords, **token_arguments(shape)})

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Actor:
        arguments = self._update_features_extractor(self.actor_kwargs, features_extractor)
        return make_token_actor(Actor, self._shape, arguments).to(self.device)

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> Critic:
        arguments = self._update_features_extractor(self.critic_kwargs, features_extractor)
        return TokenQuantileCritic(self._shape, **arguments).to(self.device)

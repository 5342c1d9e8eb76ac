"""TQC's policy with token networks; needs sb3-contrib."""

from __future__ import annotations

from typing import Any

import torch
from sb3_contrib.tqc.policies import Actor, Critic, TQCPolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor

from mixgym_agents.sb3.networks import TokenPolicy, TokenShape, token_values


class TokenQuantileCritic(Critic):
    """TQC's critics, each a `TokenValue` with one output a quantile."""

    def __init__(self, shape: TokenShape, **arguments: Any) -> None:
        super().__init__(**arguments)
        token_values(self, arguments["features_dim"], self.n_quantiles, shape)

    def forward(self, obs: PyTorchObs, action: Tensor) -> Tensor:
        tokens = self.extract_features(obs, self.features_extractor)
        return torch.stack([network(tokens, action) for network in self.q_networks], dim=1)


class TokenTqcPolicy(TokenPolicy, TQCPolicy):
    """`TQCPolicy` with token networks."""

    ACTOR, CRITIC = Actor, TokenQuantileCritic

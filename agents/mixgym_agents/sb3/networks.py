"""Policies of stable-baselines3 whose networks see domains as tokens.

Weights are shared between domains, so that permuting the domains of an observation permutes the
action, and the same weights run on any number of domains and layers. stable-baselines3's own
policy classes are kept; only the networks inside are others.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy, ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.sac.policies import Actor, SACPolicy
from torch import Tensor, nn

from mixgym.envs.observation import ObservationLayout
from mixgym_agents.learning.networks import exchanges
from mixgym_agents.sb3.config import Config


class TokenShape(NamedTuple):
    """What a token network is made of.

    Attributes:
        K, F: domains and features of each.
        L, G: layers and features of each.
        config: of the blocks and their width.
        scale: of the environment's action map; the critic pools domains by softmax(scale a).
    """

    K: int
    F: int
    L: int
    G: int
    config: Config
    scale: float

    @classmethod
    def of(cls, layout: ObservationLayout, config: Config, scale: float) -> TokenShape:
        """Read the numbers off a layout and a configuration."""
        return cls(
            len(layout.domains),
            len(layout.domain_features),
            len(layout.layers),
            len(layout.layer_features),
            config,
            scale,
        )

    @property
    def width(self) -> int:
        """Units of a token's hidden layer."""
        return self.config.width


class DomainTokens(BaseFeaturesExtractor):
    """(B, size) observations to (B, K, D) tokens: a domain's features and the context of all.

    The context is the layers' mean features and the scalars. No weights.
    """

    def __init__(self, observation_space: spaces.Box, shape: TokenShape) -> None:
        size = observation_space.shape[0]
        rest = size - shape.K * shape.F - shape.L * shape.G
        super().__init__(observation_space, shape.F + (shape.G if shape.L else 0) + rest)
        self.shape = shape

    def forward(self, observations: Tensor) -> Tensor:
        K, F, L, G = self.shape[:4]
        domains = observations[:, : K * F].unflatten(1, (K, F))
        context = observations[:, K * F + L * G :]
        if L and G:
            layers = observations[:, K * F : K * F + L * G].unflatten(1, (L, G))
            context = torch.cat([layers.mean(dim=1), context], dim=1)
        return torch.cat([domains, context[:, None].expand(-1, K, -1)], dim=2)


class TokenBody(nn.Sequential):
    """(B, K, D) tokens to (B, K, width): an embedding, then blocks in which they exchange."""

    def __init__(self, inputs: int, shape: TokenShape) -> None:
        super().__init__(
            nn.Linear(inputs, shape.width),
            nn.LayerNorm(shape.width),
            nn.ReLU(),
            *exchanges(shape.config),
        )


class PerDomain(nn.Linear):
    """(B, K, width) tokens to one number each, (B, K)."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 1)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).squeeze(-1)


class TokenValue(nn.Module):
    """Q(s, a): (B, K, D) tokens and (B, K) actions to (B, outputs), whatever the order.

    A domain's token gets its action a_i and K w_i - 1, w = softmax(scale a); the tokens' plain
    and w-weighted means are read out.
    """

    def __init__(self, inputs: int, outputs: int, shape: TokenShape) -> None:
        super().__init__()
        self.scale = shape.scale
        self.body = TokenBody(inputs + 2, shape)
        self.read = nn.Sequential(
            nn.Linear(2 * shape.width, shape.width), nn.ReLU(), nn.Linear(shape.width, outputs)
        )

    def forward(self, tokens: Tensor, action: Tensor) -> Tensor:
        weights = torch.softmax(self.scale * action, dim=1)
        seen = torch.stack([action, weights * weights.shape[1] - 1.0], dim=2)
        tokens = self.body(torch.cat([tokens, seen], dim=2))
        weighted = (weights[..., None] * tokens).sum(dim=1)
        return self.read(torch.cat([tokens.mean(dim=1), weighted], dim=1))


def token_values(critic: Any, inputs: int, outputs: int, shape: TokenShape) -> None:
    """Replace a critic's Q networks, keeping their names."""
    critic.q_networks = [TokenValue(inputs, outputs, shape) for _ in critic.q_networks]
    for index, network in enumerate(critic.q_networks):
        setattr(critic, f"qf{index}", network)


class TokenCritic(ContinuousCritic):
    """SAC's critics, each a `TokenValue`."""

    def __init__(self, shape: TokenShape, **arguments: Any) -> None:
        super().__init__(**arguments)
        token_values(self, arguments["features_dim"], 1, shape)

    def forward(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, ...]:
        tokens = self.extract_features(obs, self.features_extractor)
        return tuple(network(tokens, actions) for network in self.q_networks)


class TokenPolicy:
    """Mixed in before one of stable-baselines3's policies, which then gets token networks.

    Args:
        shape: of the networks.
        arguments, keywords: of the policy.
    """

    ACTOR: ClassVar[Any]
    CRITIC: ClassVar[Any]

    def __init__(self, *arguments: Any, shape: TokenShape, **keywords: Any) -> None:
        self._shape = shape
        own = {
            "net_arch": [],
            "features_extractor_class": DomainTokens,
            "features_extractor_kwargs": {"shape": shape},
        }
        super().__init__(*arguments, **{**keywords, **own})

    def make_actor(self: Any, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """Build the library's actor, with token networks."""
        arguments = self._update_features_extractor(self.actor_kwargs, features_extractor)
        actor = self.ACTOR(**arguments)
        actor.latent_pi = TokenBody(arguments["features_dim"], self._shape)
        actor.mu, actor.log_std = PerDomain(self._shape.width), PerDomain(self._shape.width)
        return actor.to(self.device)

    def make_critic(self: Any, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """Build the critics."""
        arguments = self._update_features_extractor(self.critic_kwargs, features_extractor)
        return self.CRITIC(self._shape, **arguments).to(self.device)


class TokenSacPolicy(TokenPolicy, SACPolicy):
    """`SACPolicy` with token networks."""

    ACTOR, CRITIC = Actor, TokenCritic


class _Latents(nn.Module):
    """What `ActorCriticPolicy` calls its `mlp_extractor`: tokens for actions, their mean for V."""

    def __init__(self, inputs: int, shape: TokenShape) -> None:
        super().__init__()
        self.latent_dim_pi = self.latent_dim_vf = shape.width
        self.policy, self.value = TokenBody(inputs, shape), TokenBody(inputs, shape)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: Tensor) -> Tensor:
        return self.policy(features)

    def forward_critic(self, features: Tensor) -> Tensor:
        return self.value(features).mean(dim=1)


class TokenPpoPolicy(TokenPolicy, ActorCriticPolicy):
    """`ActorCriticPolicy` with token networks; one deviation of actions for all domains."""

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor: Any = _Latents(self.features_dim, self._shape).to(self.device)

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.action_net = PerDomain(self._shape.width)
        self.init_weights(self.action_net, gain=0.01)
        self.log_std = nn.Parameter(torch.full((1,), float(self.log_std_init)))
        self.optimizer = self.optimizer_class(
            self.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )

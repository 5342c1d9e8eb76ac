"""Build stable-baselines3's algorithms and run them one decision at a time.

The algorithms, policies, buffers and updates are the library's. A `Driver` only splits its loop
where a decision is handed to somebody else: `choose` is what comes before `env.step`, `absorb`
what comes after it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from mixgym.errors import missing_extra
from mixgym_agents.sb3.config import Config, PpoConfig, SacConfig, TqcConfig
from mixgym_agents.sb3.networks import TokenPpoPolicy, TokenSacPolicy, TokenShape


class Driver(ABC):
    """One decision after another with a stable-baselines3 algorithm.

    Args:
        model: the algorithm; its `env` must return the result of each action that `choose` gave.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    @abstractmethod
    def choose(self) -> NDArray[np.float32]:
        """Return the (n,) action for the last observation."""

    @abstractmethod
    def absorb(self) -> None:
        """Step the environment by that action, store what came of it, and learn."""

    @abstractmethod
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers by name."""

    @abstractmethod
    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """What learning depends on beside networks and optimisers: arrays, and plain values."""

    @abstractmethod
    def restore(self, arrays: dict[str, NDArray[Any]], plain: dict[str, Any]) -> None:
        """Inverse of `state`."""


@cache
def steered(base: type[Any]) -> type[Any]:
    """A stable-baselines3 off-policy algorithm whose actions can be given from outside.

    Attributes:
        pending: the next (actions, scaled actions) where they have been chosen already.
    """

    class Steered(base):
        pending: tuple[NDArray[Any], NDArray[Any]] | None = None

        def _sample_action(
            self, learning_starts: int, action_noise: Any = None, n_envs: int = 1
        ) -> tuple[NDArray[Any], NDArray[Any]]:
            if self.pending is not None:
                chosen, self.pending = self.pending, None
                return chosen
            return super()._sample_action(0, action_noise, n_envs)

        def _excluded_save_params(self) -> list[str]:
            return [*super()._excluded_save_params(), "pending"]

    Steered.__name__ = Steered.__qualname__ = base.__name__
    return Steered


class OffPolicyDriver(Driver):
    """SAC and TQC, made by `steered`: `absorb` is the library's `learn` for one time step."""

    def choose(self) -> NDArray[np.float32]:
        model = self.model
        model.pending = None
        model.policy.set_training_mode(False)
        model.pending = model._sample_action(model.learning_starts)
        return model.pending[0][0]

    def absorb(self) -> None:
        self.model.learn(1, log_interval=None, reset_num_timesteps=False)

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        model = self.model
        found = {"actor": model.actor.optimizer, "critic": model.critic.optimizer}
        if model.ent_coef_optimizer is not None:
            found["ent_coef"] = model.ent_coef_optimizer
        return found

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        model, buffer = self.model, self.model.replay_buffer
        size = buffer.size()
        arrays = {f"replay.{name}": getattr(buffer, name)[:size] for name in _REPLAY}
        if model.log_ent_coef is not None:
            arrays["log_ent_coef"] = model.log_ent_coef.detach().numpy()
        if model.pending is not None:
            arrays["pending.action"], arrays["pending.scaled"] = model.pending
        return arrays, {"position": int(buffer.pos), "full": bool(buffer.full)}

    def restore(self, arrays: dict[str, NDArray[Any]], plain: dict[str, Any]) -> None:
        model, buffer = self.model, self.model.replay_buffer
        buffer.pos, buffer.full = plain["position"], plain["full"]
        for name in _REPLAY:
            _fill(getattr(buffer, name), arrays[f"replay.{name}"], buffer.size())
        if model.log_ent_coef is not None:
            with torch.no_grad():
                model.log_ent_coef.copy_(torch.from_numpy(arrays["log_ent_coef"]))
        model.pending = None
        if "pending.action" in arrays:
            model.pending = (arrays["pending.action"], arrays["pending.scaled"])


_REPLAY = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


class OnPolicyDriver(Driver):
    """PPO: the library's rollout buffer, filled decision by decision; its `train` when full."""

    pending: tuple[NDArray[np.float32], torch.Tensor, torch.Tensor] | None = None

    def choose(self) -> NDArray[np.float32]:
        model = self.model
        model.policy.set_training_mode(False)
        with torch.no_grad():
            actions, values, log_probs = model.policy(torch.as_tensor(model._last_obs))
        self.pending = (actions.numpy(), values, log_probs)
        return self._clipped()[0]

    def _clipped(self) -> NDArray[np.float32]:
        assert self.pending is not None
        space = self.model.action_space
        return np.clip(self.pending[0], space.low, space.high)

    def absorb(self) -> None:
        model, buffer = self.model, self.model.rollout_buffer
        assert self.pending is not None
        observation, rewards, dones, infos = model.env.step(self._clipped())
        actions, values, log_probs = self.pending
        self.pending = None
        model.num_timesteps += 1
        if dones[0] and infos[0]["TimeLimit.truncated"]:  # the run itself would have gone on
            rewards[0] += model.gamma * self._value(observation).item()
        buffer.add(model._last_obs, actions, rewards, model._last_episode_starts, values, log_probs)
        model._last_obs, model._last_episode_starts = observation, dones
        if buffer.full:
            buffer.compute_returns_and_advantage(self._value(observation), dones)
            model.train()
            buffer.reset()

    def _value(self, observation: NDArray[np.float32]) -> torch.Tensor:
        with torch.no_grad():
            return self.model.policy.predict_values(torch.as_tensor(observation))

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"policy": self.model.policy.optimizer}

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        model, buffer = self.model, self.model.rollout_buffer
        arrays = {f"rollout.{name}": getattr(buffer, name)[: buffer.pos] for name in _ROLLOUT}
        if self.pending is not None:
            actions, values, log_probs = self.pending
            arrays |= {
                "pending.action": actions,
                "pending.value": values.numpy(),
                "pending.log_prob": log_probs.numpy(),
            }
        starts = model._last_episode_starts
        return arrays, {"starts": None if starts is None else bool(starts[0])}

    def restore(self, arrays: dict[str, NDArray[Any]], plain: dict[str, Any]) -> None:
        model, buffer = self.model, self.model.rollout_buffer
        buffer.reset()
        buffer.pos = len(arrays["rollout.rewards"])
        for name in _ROLLOUT:
            _fill(getattr(buffer, name), arrays[f"rollout.{name}"], buffer.pos)
        if plain["starts"] is not None:
            model._last_episode_starts = np.array([plain["starts"]])
        self.pending = None
        if "pending.action" in arrays:
            self.pending = (
                arrays["pending.action"],
                torch.from_numpy(arrays["pending.value"]),
                torch.from_numpy(arrays["pending.log_prob"]),
            )


_ROLLOUT = ("observations", "actions", "rewards", "episode_starts", "values", "log_probs")


def _fill(rows: NDArray[Any], saved: NDArray[Any], held: int) -> None:
    """Put the `held` saved rows first (`ValueError` unless they are just these)."""
    if saved.shape != (held, *rows.shape[1:]) or saved.dtype != rows.dtype:
        raise ValueError(f"a buffer's rows are {saved.dtype} {saved.shape}, not {held}")
    rows[:held] = saved


def build_driver(config: Config, env: VecEnv, shape: TokenShape, directions: int) -> Driver:
    """Build the algorithm that a configuration is of.

    Draws initial weights from the global generators and never seeds them: wrap in
    `PrivateRandomness.active`.

    Args:
        config: `SacConfig`, `TqcConfig` or `PpoConfig`.
        env: that it learns in.
        shape: of token networks.
        directions: of an action that change the mixture, for SAC's target entropy.
    """
    if isinstance(config, PpoConfig):
        model = _ppo(config, env, shape)
    else:
        model = _soft(cast(SacConfig, config), env, shape, directions)
    model.set_logger(Logger(None, []))
    return OnPolicyDriver(model) if isinstance(config, PpoConfig) else OffPolicyDriver(model)


def _networks(config: Config, shape: TokenShape, tokens: Any) -> tuple[Any, dict[str, Any]]:
    common = {"optimizer_kwargs": {"fused": True}}  # several times faster for such small networks
    if config.network == "tokens":
        return tokens, {**common, "shape": shape}
    return "MlpPolicy", {**common, "net_arch": [config.width] * config.depth}


def _soft(config: SacConfig, env: VecEnv, shape: TokenShape, directions: int) -> Any:
    algorithm: type[Any] = SAC
    tokens: type[Any] = TokenSacPolicy
    own, further = {}, {}
    if isinstance(config, TqcConfig):
        try:
            from sb3_contrib import TQC

            from mixgym_agents.sb3.quantile_networks import TokenTqcPolicy
        except ImportError as error:
            raise missing_extra("sb3-contrib", "sb3", "agent 'tqc'") from error
        algorithm, tokens = TQC, TokenTqcPolicy
        own = config.chosen("top_quantiles_to_drop_per_net")
        further = config.chosen("n_critics", "n_quantiles")
    policy, policy_arguments = _networks(config, shape, tokens)
    auto = config.target_entropy == "auto"
    model = steered(algorithm)(
        policy,
        env,
        **config.chosen("learning_rate", "buffer_size", "batch_size", "tau", "gamma"),
        **config.chosen("gradient_steps", "ent_coef"),
        learning_starts=config.warmup,
        target_entropy=-float(directions) if auto else config.target_entropy,
        policy_kwargs={**policy_arguments, **further},
        device="cpu",
        **own,
    )
    with torch.no_grad():
        for head, level in ((model.actor.mu, 0.0), (model.actor.log_std, config.log_std_init)):
            head.weight.mul_(config.output_gain)
            head.bias.mul_(config.output_gain).add_(level)
    return model


def _ppo(config: PpoConfig, env: VecEnv, shape: TokenShape) -> Any:
    policy, policy_arguments = _networks(config, shape, TokenPpoPolicy)
    policy_arguments["optimizer_kwargs"]["eps"] = 1e-5  # the library's, which ours would replace
    return PPO(
        policy,
        env,
        **config.chosen("learning_rate", "n_steps", "batch_size", "n_epochs", "gamma"),
        **config.chosen("gae_lambda", "clip_range", "vf_coef", "max_grad_norm"),
        ent_coef=config.entropy,
        policy_kwargs={**policy_arguments, "log_std_init": config.log_std_init},
        device="cpu",
    )

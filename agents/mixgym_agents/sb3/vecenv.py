"""The environment as stable-baselines3 sees it: results handed in, features normalised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from mixgym.envs.observation import ObservationLayout
from mixgym_agents.sb3.config import Config

_CLIP = 5.0
_EPSILON = 1e-6  # on variances: a feature that hardly moves is not blown up


class HandedIn(VecEnv):
    """One environment that somebody else steps; what came of it is handed in.

    stable-baselines3 steps its environments itself. An agent is asked for an action and told
    later what came of it, so that `step` here returns what `hand_in` was given.

    Args:
        observation_space, action_space: of the real environment.
    """

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        super().__init__(1, observation_space, action_space)
        self._result: tuple[Any, float, bool, dict[str, Any]] | None = None

    def hand_in(
        self, observation: NDArray[Any], reward: float = 0.0, done: bool = False, cut: bool = False
    ) -> None:
        """Give what the next `reset` or `step` returns.

        Args:
            observation: (size,).
            reward: of the step.
            done: whether the episode ended with it, `observation` being its last.
            cut: whether that end is none of the problem's own (a truncation).
        """
        # No "terminal_observation": the next observation is the last one itself, no fresh start.
        self._result = (observation.copy(), reward, done, {"TimeLimit.truncated": cut})

    def _take(self) -> tuple[Any, float, bool, dict[str, Any]]:
        if self._result is None:
            raise RuntimeError("nothing was handed in")
        result, self._result = self._result, None
        return result

    def reset(self) -> NDArray[Any]:
        return self._take()[0][None]

    def step_async(self, actions: NDArray[Any]) -> None:
        return None

    def step_wait(self) -> Any:
        observation, reward, done, info = self._take()
        return observation[None], np.array([reward], np.float32), np.array([done]), [info]

    def close(self) -> None:
        return None

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name, None)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{method_name}: there is no environment here")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False]


class FeatureMeanStd(RunningMeanStd):
    """Running statistics for `VecNormalize` with one mean and deviation a feature.

    A domain feature's are those of all domains together, a layer feature's of all layers, so that
    nothing depends on their number or order.

    Args:
        layout: of the observations.
    """

    def __init__(self, layout: ObservationLayout) -> None:
        self._blocks = _blocks(layout)
        self.features = RunningMeanStd(shape=(sum(width for _, width in self._blocks),))
        super().__init__(shape=(layout.size,))

    def update(self, arr: NDArray[Any]) -> None:
        """Take (n, size) observations in."""
        means, variances, start = [], [], 0
        for rows, width in self._blocks:
            cut = arr[:, start : start + rows * width].astype(np.float64)
            block = cut.reshape(len(arr) * rows, width)
            means.append(block.mean(axis=0) if len(block) else np.zeros(width))
            variances.append(block.var(axis=0) if len(block) else np.zeros(width))
            start += rows * width
        mean, variance = np.concatenate(means), np.concatenate(variances)
        self.features.update_from_moments(mean, variance, len(arr))
        self._spread()

    def _spread(self) -> None:
        self.mean, self.var = self._entries(self.features.mean), self._entries(self.features.var)
        self.count = self.features.count

    def _entries(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        parts, start = [], 0
        for rows, width in self._blocks:
            parts.append(np.tile(values[start : start + width], rows))
            start += width
        return np.concatenate(parts)

    def to_json(self) -> dict[str, Any]:
        """The features' statistics as plain numbers."""
        return plain_statistics(self.features)

    def restore(self, plain: dict[str, Any]) -> None:
        """Inverse of `to_json`; the numbers of domains and layers may be others."""
        restore_statistics(self.features, plain)
        self._spread()


def _blocks(layout: ObservationLayout) -> Sequence[tuple[int, int]]:
    return (
        (len(layout.domains), len(layout.domain_features)),
        (len(layout.layers), len(layout.layer_features)),
        (1, len(layout.scalar_features)),
    )


def plain_statistics(statistics: RunningMeanStd) -> dict[str, Any]:
    """Running statistics as plain numbers."""
    return {
        "mean": statistics.mean.tolist(),
        "var": statistics.var.tolist(),
        "count": float(statistics.count),
    }


def restore_statistics(statistics: RunningMeanStd, plain: dict[str, Any]) -> None:
    """Inverse of `plain_statistics`."""
    statistics.mean, statistics.var = np.array(plain["mean"]), np.array(plain["var"])
    statistics.count = plain["count"]


def normalised(venv: VecEnv, layout: ObservationLayout, config: Config) -> VecNormalize:
    """Wrap a `VecEnv` of mixgym environments in stable-baselines3's `VecNormalize`.

    Args:
        venv: whose observations are laid out by `layout`.
        layout: read off `env.unwrapped.layout`.
        config: `normalise`, `normalise_rewards` and `gamma` are read.
    """
    wrapped = VecNormalize(
        venv,
        norm_obs=config.normalise == "running",
        norm_reward=config.normalise_rewards != "none",
        clip_obs=_CLIP,
        # With a discount of 0 a "return" is the single reward.
        gamma=config.gamma if config.normalise_rewards == "returns" else 0.0,
        epsilon=_EPSILON,
    )
    if wrapped.norm_obs:
        wrapped.obs_rms = FeatureMeanStd(layout)  # type: ignore[assignment]
    return wrapped

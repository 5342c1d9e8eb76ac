"""A Gymnasium vector environment as stable-baselines3's `VecEnv`."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv


class GymnasiumVecEnv(VecEnv):
    """Let stable-baselines3 train on N runs that train together.

        envs = gym.make_vec("mixgym/NanoPretrain-v0", 64, autoreset_mode="SameStep")
        PPO("MlpPolicy", GymnasiumVecEnv(envs), n_steps=20).learn(20_000)

    Args:
        envs: Gymnasium's, of NumPy arrays, with autoreset in the same step.

    Raises:
        ValueError: another autoreset mode.
    """

    def __init__(self, envs: VectorEnv[Any, Any, Any]) -> None:
        mode = envs.metadata.get("autoreset_mode")
        if mode != AutoresetMode.SAME_STEP:
            raise ValueError(
                f"stable-baselines3 resets an environment in the step that ends it, this one's "
                f"autoreset mode is {mode}: make it with autoreset_mode='SameStep'"
            )
        self.envs = envs
        spaces: tuple[Any, Any] = envs.single_observation_space, envs.single_action_space
        super().__init__(envs.num_envs, *spaces)

    def reset(self) -> NDArray[Any]:
        """Start all environments, with the seeds of `seed` if it was called."""
        seeds: Any = self._seeds if any(seed is not None for seed in self._seeds) else None
        options = self._options[0] or None
        observations, infos = self.envs.reset(seed=seeds, options=options)
        self.reset_infos = [_single(infos, i) for i in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Step; an ended episode's info has its last observation in `terminal_observation`."""
        observations, rewards, terminated, truncated, infos = self.envs.step(self._actions)
        done = terminated | truncated
        final = {name: infos.pop(name, None) for name in ("final_obs", "final_info")}
        listed = []
        for i in range(self.num_envs):
            info = _single(infos, i)
            if done[i]:
                self.reset_infos[i] = info
                info = _single(final["final_info"], i)
                info["terminal_observation"] = final["final_obs"][i]
            info["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
            listed.append(info)
        return observations, rewards.astype(np.float32), done, listed

    def close(self) -> None:
        """Close the environments."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute that all share, once for each of `indices`."""
        value = getattr(self.envs.unwrapped, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refused: the environments are one object."""
        raise NotImplementedError(f"set_attr({attr_name!r}): the environments are one object")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        """Refused: the environments are one object."""
        raise NotImplementedError(f"env_method({method_name!r}): the environments are one object")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return False for each: single environments have no wrappers."""
        return [False for _ in self._get_indices(indices)]


def _single(infos: dict[str, Any], i: int) -> dict[str, Any]:
    """Return the info of environment i out of a vector environment's."""
    return {
        name: _single(value, i) if isinstance(value, dict) else value[i]
        for name, value in infos.items()
        if not name.startswith("_") and infos[f"_{name}"][i]
    }

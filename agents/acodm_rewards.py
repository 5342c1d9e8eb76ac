"""The reward of a decision as the `acodm` agent reads it from its environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.acodm_config import Released
from mixgym.errors import MixgymError

_CLIP = 3.0


class Rewards:
    """Reads rewards: the environment's own scalar or, for two released switches, one a domain.

    `Agent.act` is not handed the reward of `env.step`; it is computed again from
    `info["reward_terms"]` and the environment's `reward` argument (`info["reward"]` goes first).

    Args:
        env: the environment.
        released: `vector_critic` and `zscored_rewards` are read.

    Raises:
        MixgymError: the environment has no reward to learn from.
    """

    def __init__(self, env: Any, released: Released) -> None:
        self._inner, self._released = env.unwrapped, released
        spec = getattr(getattr(self._inner, "arguments", None), "reward", None)
        self._weights = {spec: 1.0} if isinstance(spec, str) else dict(spec or {})
        if isinstance(spec, Mapping) and not any(self._weights.values()):
            raise MixgymError(
                "the environment has no reward to learn from: make it with reward=... "
                "(mixgym list), or act with a saved policy (policy=FOLDER)"
            )

    def __call__(
        self, info: dict[str, Any], mixture: NDArray[Any], given: float | None = None
    ) -> NDArray[np.float32]:
        """Return the reward of the decision that `info` came back from.

        Args:
            info: of the step.
            mixture: (K,) that was acted with.
            given: `env.step`'s reward, where it is known; wrappers may have changed it.

        Returns:
            (1,), or (K,) with a vector critic.
        """
        if not self._released.per_domain_rewards or info.get("diverged"):
            reward = self._scalar(info) if given is None else given
            return np.full(self._length(mixture), reward, dtype=np.float32)
        rewards = self._per_domain()
        if self._released.zscored_rewards:
            rewards = zscored(rewards)
        if not self._released.vector_critic:
            rewards = np.array([np.dot(mixture.astype(np.float64), rewards)])
        return rewards.astype(np.float32)

    def _length(self, mixture: NDArray[Any]) -> int:
        return len(mixture) if self._released.vector_critic else 1

    def _scalar(self, info: dict[str, Any]) -> float:
        if "reward" in info:
            return float(info["reward"])
        terms = info.get("reward_terms", {})
        if not terms:
            raise MixgymError(
                "the environment's info has neither 'reward' nor 'reward_terms': learn with "
                "agent.learn(env, budget), which is handed the rewards"
            )
        return float(sum(weight * terms[name] for name, weight in self._weights.items()))

    def _per_domain(self) -> NDArray[np.float64]:
        """(K,) gradient alignment over the mean gradient norm; 0 for domains not sampled."""
        signals = self._inner.signals
        if not len(signals.alignment):
            raise MixgymError(
                "released.vector_critic and released.zscored_rewards need a reward for every "
                "domain: make the environment with reward='alignment'"
            )
        norms = np.nan_to_num(signals.gradient_norms.astype(np.float64))
        sampled = np.isfinite(signals.alignment)
        scale = norms[sampled].mean() if sampled.any() else 0.0
        scaled = np.where(sampled, signals.alignment, 0.0).astype(np.float64) / (scale + 1e-6)
        return np.clip(scaled, -999.0, 999.0)


def zscored(rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (K,) rewards minus their mean, over their deviation, clipped to +-3."""
    deviation = rewards.std() + 1e-6
    return np.clip((rewards - rewards.mean()) / deviation, -_CLIP, _CLIP)

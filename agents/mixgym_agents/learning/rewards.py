"""The reward of a decision as the `acodm` agent reads it from its environment."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixgym.errors import MixgymError

_CLIP = 3.0


class Rewards:
    """Reads rewards: the environment's own scalar, or one a domain if the critic or a switch asks.

    `Agent.act` is not handed `env.step`'s reward; it is `info["scalar_reward"]`. The rewards of
    the domains are `info["reward_vectors"]`, weighted and summed over the reward's terms.

    Args:
        env: the environment.
        domain_values: one reward a domain (`Config.domain_values`), not their sum.
        zscored: z-score the domains' rewards (`released.zscored_rewards`).

    Raises:
        MixgymError: the environment has no reward to learn from.
    """

    def __init__(self, env: Any, domain_values: bool = False, zscored: bool = False) -> None:
        self._domain_values, self._zscored = domain_values, zscored
        inner = env.unwrapped
        spec = getattr(getattr(inner, "arguments", None), "reward", "progress")
        names = getattr(inner, "reward_names", None)
        if names is None:
            self._weights = dict.fromkeys([spec] if isinstance(spec, str) else spec, 1.0)
        else:
            self._weights = dict(zip(names, map(float, inner.reward_weights), strict=True))
        if not any(self._weights.values()):
            raise MixgymError(
                f"the environment has no reward to learn from (reward={spec!r}): make it with "
                "reward='progress' or 'alignment', or act with a saved policy (policy=FOLDER)"
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
            (1,), or (K,) with `domain_values`. A run that diverged gives every domain the penalty.

        Raises:
            MixgymError: a reward for every domain is needed and the environment has none.
        """
        K = len(mixture) if self._domain_values else 1
        if not (self._domain_values or self._zscored) or info.get("diverged"):
            reward = float(info["scalar_reward"]) if given is None else given
            return np.full(K, reward, dtype=np.float32)
        vectors = info.get("reward_vectors")
        if not vectors:
            raise MixgymError(
                "critic='factored', released.vector_critic and released.zscored_rewards need a "
                "reward for every domain: make the environment with reward='alignment'"
            )
        rewards = sum(self._weights.get(name, 1.0) * vector for name, vector in vectors.items())
        rewards = np.asarray(rewards, dtype=np.float64)
        if self._zscored:
            rewards = zscored(rewards)
        if not self._domain_values:
            rewards = np.array([np.dot(mixture.astype(np.float64), rewards)])
        return rewards.astype(np.float32)


def zscored(rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (K,) rewards minus their mean, over their deviation, clipped to +-3."""
    deviation = rewards.std() + 1e-6
    return np.clip((rewards - rewards.mean()) / deviation, -_CLIP, _CLIP)

"""Wrappers of mixgym's environments."""

from __future__ import annotations

from typing import Any, cast

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from mixgym.simplex import Simplex, validate_mixture


class SimplexAction(
    gym.ActionWrapper[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]],
    gym.utils.RecordConstructorArgs,
):
    """Let an agent give mixtures to an environment whose actions are points of a box.

    A mixture becomes the action whose mixture is nearest to it under the environment's action map
    (`mixgym.simplex` states each map's reach: the default softmax cannot give a domain exactly
    zero). `gym.make(id, action_map="simplex")` applies mixtures exactly instead; this wrapper is
    for comparing on equal terms with an agent that is bound to the box.

    Args:
        env: a mixgym environment, possibly wrapped.
    """

    def __init__(self, env: gym.Env[NDArray[np.float32], NDArray[np.float32]]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.ActionWrapper.__init__(self, env)
        self.inner: Any = env.unwrapped
        self.action_space = cast(Any, Simplex(self.inner.task.K))

    def action(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the box action of the mixture `action` ((K,), on the simplex)."""
        task = self.inner.task
        mixture = validate_mixture(action, task.K, names=task.names)
        return self.inner.action_map.to_action(mixture, self.inner.signals.mixture)

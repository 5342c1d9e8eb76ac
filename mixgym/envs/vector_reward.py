"""`mixgym/mo-...`: the environments with their reward terms as a vector."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import repeat
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from mixgym.envs.arguments import EnvironmentArguments
from mixgym.envs.micro_pretrain import MicroPretrainEnv
from mixgym.envs.micro_target import MicroTargetEnv
from mixgym.envs.micro_target_v1 import MicroTargetV1Env
from mixgym.envs.nano_pretrain import NanoPretrainEnv
from mixgym.envs.pretrain import PretrainEnv
from mixgym.errors import missing_extra

#: The default terms: the objective's progress and HDS's three.
TERMS: dict[str, float] = {"progress": 1.0, "holistic": 1.0}

_REWARDS = """`reward_space`, a `Box` of shape (4,), float32: a vector with an entry for each reward
term, unweighted, in the order of `reward_names`. By default these are `progress` (the decrease of
the objective's validation loss, in nats per byte), `influence`, `diversity` and `stability` (HDS's;
docs/rewards.md has the equations). The argument `reward` names the terms and their weights,
`reward_weights`, which change the vector in nothing but a diverged run's. `info["scalar_reward"]`
is the weighted sum: bit for bit the reward of `{scalar}` with the same `reward`. As in
MO-Gymnasium, `reward_dim` is the number of terms, and `mo_gymnasium.wrappers.LinearReward` with
`reward_weights` gives the weighted sum of the float32 entries. `gym.make_vec` without a
`vectorization_mode` makes MO-Gymnasium's `MOSyncVectorEnv` (extra `mo`); Gymnasium's own sync and
async ones have room for one number an environment."""

_END = """*Termination*: the budget is spent (a true horizon, hence never a truncation), or the run
diverged, which ends it with the scalar environment's penalty shared out: every entry of the vector
is -5 / sum_j |w_j| (with the sign of its weight, if that is negative), w the terms' weights, so
that the weighted sum is -5. *Truncation*: never."""

_HISTORY = "* {version}: initial version, the dynamics of `{scalar}`."


class VectorRewardEnv(PretrainEnv):
    """A training environment whose reward is the vector of its reward terms.

    To MO-Gymnasium's conventions, and without needing it. Mixed in before an environment.

    Without terms (`reward={}`, which a frozen policy asks for) the vector is empty, n = 0.

    Attributes:
        reward_space: `Box`, float32 (n,): the terms' bounds, and a diverged run's.
        reward_dim: n, the number of reward terms.
    """

    def __init__(self, render_mode: str | None = None, **arguments: Any) -> None:
        super().__init__(render_mode=render_mode, **arguments)
        self.reward_dim = len(self.reward_names)
        self.reward_space = self.episode.reward_space

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], Any, bool, bool, dict[str, Any]]:
        """As `PretrainEnv.step`, but the reward is a fresh (n,) float32 vector."""
        observation, _, terminated, truncated, info = super().step(action)
        return observation, self.episode.reward_vector, terminated, truncated, info


def _page(scalar: type[PretrainEnv], env_id: str, version: str = "v0") -> str:
    """Return the scalar environment's page with the sections in which the vector one differs."""
    page = inspect.cleandoc(scalar.__doc__ or "")
    sections = {
        "Rewards": _REWARDS.format(scalar=env_id),
        "Episode End": _END,
        "Version History": _HISTORY.format(scalar=env_id, version=version),
    }
    for heading, text in sections.items():
        page = re.sub(rf"(## {heading}\n).*?(?=\n\n## |\Z)", rf"\g<1>{text}", page, flags=re.S)
    return page


def _defaults(scalar: type[PretrainEnv]) -> EnvironmentArguments:
    return replace(scalar.DEFAULTS, reward=TERMS)


class MoNanoPretrainEnv(VectorRewardEnv, NanoPretrainEnv):
    __doc__ = _page(NanoPretrainEnv, "mixgym/NanoPretrain-v0")
    DEFAULTS: ClassVar[EnvironmentArguments] = _defaults(NanoPretrainEnv)


class MoMicroPretrainEnv(VectorRewardEnv, MicroPretrainEnv):
    __doc__ = _page(MicroPretrainEnv, "mixgym/MicroPretrain-v0")
    DEFAULTS: ClassVar[EnvironmentArguments] = _defaults(MicroPretrainEnv)


class MoMicroTargetEnv(VectorRewardEnv, MicroTargetEnv):
    __doc__ = _page(MicroTargetEnv, "mixgym/MicroTarget-v0")
    DEFAULTS: ClassVar[EnvironmentArguments] = _defaults(MicroTargetEnv)


class MoMicroTargetV1Env(VectorRewardEnv, MicroTargetV1Env):
    __doc__ = _page(MicroTargetV1Env, "mixgym/MicroTarget-v1", "v1")
    DEFAULTS: ClassVar[EnvironmentArguments] = _defaults(MicroTargetV1Env)


def _vectorised(env_id: str) -> Callable[..., VectorEnv[Any, Any, Any]]:
    """Return the `vector_entry_point` of an environment whose reward is a vector."""

    def make_vec(num_envs: int = 1, **arguments: Any) -> VectorEnv[Any, Any, Any]:
        try:
            from mo_gymnasium.wrappers.vector.wrappers import MOSyncVectorEnv
        except ImportError as error:
            purpose = f"gym.make_vec({env_id!r})"
            raise missing_extra("mo-gymnasium", "mo", purpose) from error
        return MOSyncVectorEnv(repeat(partial(gym.make, env_id, **arguments), num_envs))

    return make_vec


mo_nano_pretrain = _vectorised("mixgym/mo-NanoPretrain-v0")
mo_micro_pretrain = _vectorised("mixgym/mo-MicroPretrain-v0")
mo_micro_target = _vectorised("mixgym/mo-MicroTarget-v0")
mo_micro_target_v1 = _vectorised("mixgym/mo-MicroTarget-v1")

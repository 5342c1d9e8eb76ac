"""Logged data of the solvable toy, whose actions are points of a box here."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixgym.experiment.request import AgentSpec
from mixgym.simplex import SoftmaxMap
from mixgym.trajectories.behaviours import make_behaviour
from mixgym.trajectories.dataset import content_digest
from mixgym.trajectories.episode import run_episode
from mixgym.trajectories.record import Trajectories
from tests.agents.toy import ContextualSimplex

SCALE = 3.0


class BoxedToy(ContextualSimplex):
    """`ContextualSimplex` behind a softmax map, with the mixture and reward in the info."""

    def __init__(self, K: int = 4, decisions: int = 20, scale: float = SCALE) -> None:
        super().__init__(K, decisions)
        self.action_map = SoftmaxMap(K, scale=scale)
        self.action_space = self.action_map.space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        observation, _ = super().reset(seed=seed)
        return observation, {"mixture": self.task.natural.copy(), "reward": 0.0}

    def step(self, action: NDArray[np.float32]):
        rng = np.random.default_rng(0)
        mixture = self.action_map.to_mixture(action, self.task.natural, rng)
        observation, reward, done, cut, _ = super().step(mixture)  # type: ignore[arg-type]
        return observation, reward, done, cut, {"mixture": mixture, "reward": reward}


def logged(env: BoxedToy, episodes: int, behaviour: str = "dirichlet", **arguments: Any):
    """A dataset of the toy in memory."""
    member = AgentSpec(behaviour, behaviour, arguments)
    played = [
        run_episode(env, make_behaviour(behaviour, arguments), member, seed, seed)
        for seed in range(episodes)
    ]
    facts = {"digest": content_digest(played), "cost": {"tokens": 7, "flops": 0.0, "seconds": 1.0}}
    return Trajectories(
        tuple(played),
        "mixgym/Toy/dirichlet-v0",
        "toy",
        {},
        "",
        env.task,
        env.layout,
        env.action_map,
        {**facts, "layout": asdict(env.layout), "resolved": {}},
    )

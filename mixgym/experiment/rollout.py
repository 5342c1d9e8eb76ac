"""The one loop in which an agent acts in an environment."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from gymnasium import Env
from numpy.typing import NDArray


class Player(Protocol):
    """What acts in a rollout; every `mixgym.agents.Agent` does."""

    def start(self, env: Env[Any, Any], seed: int) -> None: ...
    def act(self, observation: NDArray[Any], info: dict[str, Any]) -> NDArray[np.float32]: ...
    def observe(
        self, reward: Any, terminated: bool, truncated: bool, info: dict[str, Any]
    ) -> None: ...


@dataclass(frozen=True, eq=False)
class Step:
    """Where an episode is after a decision.

    Attributes:
        decision: number of decisions made; 0 after the reset.
        observation, info: after it.
        action: that was taken, float32; None after the reset.
        reward: a number, or a vector reward's (n,) array; None after the reset.
        terminated, truncated: whether the episode ended.
    """

    decision: int
    observation: Any
    info: dict[str, Any]
    action: NDArray[np.float32] | None = None
    reward: Any = None
    terminated: bool = False
    truncated: bool = False

    @property
    def done(self) -> bool:
        """Whether the episode ended, either way."""
        return self.terminated or self.truncated


def rollout(
    env: Env[Any, Any], player: Player, seed: int, *, decisions: int | None = None
) -> Iterator[Step]:
    """Play one episode, step by step.

    `env.reset(seed=seed)`, `player.start(env, seed)`, then `act`, `env.step` and `observe` in turn.
    The first step yielded is that of the reset, once the player has started; what the caller does
    between two steps happens before the next action is chosen.

    Args:
        env: an environment, wrapped or not.
        player: an agent, or anything that acts like one.
        seed: of the run and of the player, which draw from streams of their own.
        decisions: most decisions to make; None for a whole episode.

    Raises:
        ValueError: the environment refuses an action.
    """
    observation, info = env.reset(seed=seed)
    player.start(env, seed)
    step = Step(0, observation, info)
    yield step
    while not step.done and (decisions is None or step.decision < decisions):
        # Exactly what is stored of an action is what the environment gets, so that it replays.
        action = np.array(player.act(step.observation, step.info), dtype=np.float32)
        observation, reward, terminated, truncated, info = env.step(action)
        ended, cut = bool(terminated), bool(truncated)
        player.observe(reward, ended, cut, info)
        step = Step(step.decision + 1, observation, info, action, reward, ended, cut)
        yield step


def play(env: Env[Any, Any], player: Player, seed: int, *, decisions: int | None = None) -> Step:
    """Play one episode as `rollout` does and return its last step."""
    return deque(rollout(env, player, seed, decisions=decisions), maxlen=1).pop()


class Replayed:
    """A player that repeats stored actions, of shape (decisions, dim)."""

    def __init__(self, actions: Sequence[NDArray[np.float32]] | NDArray[np.float32]) -> None:
        self._actions = actions
        self._next = 0

    def start(self, env: Env[Any, Any], seed: int) -> None:
        """Begin with the first action."""
        self._next = 0

    def act(self, observation: NDArray[Any], info: dict[str, Any]) -> NDArray[np.float32]:
        """Return the action of the decision at hand."""
        self._next += 1
        return self._actions[self._next - 1]

    def observe(self, reward: Any, terminated: bool, truncated: bool, info: dict[str, Any]) -> None:
        """Nothing is learned from it."""

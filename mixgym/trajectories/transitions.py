"""Trajectories as transitions for offline learners: windows of observations, scaled rewards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixgym.errors import unknown_name
from mixgym.trajectories.record import Trajectory

REWARD_SCALINGS: tuple[str, ...] = ("decision", "deviation", "none")
_TINY = 1e-8

Encode = Callable[[NDArray[Any]], NDArray[np.float32]]


class ObservationWindow:
    """The last `length` observations of an episode, oldest first, as one vector.

    Before there are as many, the first is repeated: what Gymnasium's `FrameStackObservation` does
    by default, flattened. Training and acting use this same class.
    """

    def __init__(self, length: int) -> None:
        if length < 1:
            raise ValueError(f"window={length!r} must be a whole number of 1 or more")
        self.length = length
        self._kept: list[NDArray[np.float32]] = []

    def reset(self) -> None:
        """Forget the episode."""
        self._kept = []

    def push(self, observation: NDArray[Any]) -> NDArray[np.float32]:
        """Add an observation (width,) and return the window, (length * width,) float32."""
        latest = np.array(observation, dtype=np.float32)
        if not self._kept:
            self._kept = [latest] * self.length
        else:
            self._kept = [*self._kept[1:], latest]
        return np.concatenate(self._kept)

    def state(self) -> NDArray[np.float32]:
        """(length, width) what is held; (0, 0) before the first observation."""
        if not self._kept:
            return np.zeros((0, 0), np.float32)
        return np.array(self._kept)

    def restore(self, state: NDArray[np.float32]) -> None:
        """Inverse of `state`."""
        self._kept = [row.copy() for row in state]


def windows(observations: NDArray[Any], length: int) -> NDArray[np.float32]:
    """(T + 1, width) observations of an episode as (T + 1, length * width) windows."""
    window = ObservationWindow(length)
    return np.stack([window.push(observation) for observation in observations])


@dataclass(frozen=True)
class RewardScaling:
    """Rewards as a learner gets them: (r_t - b_t) / scale.

    An improvement of the loss shrinks a hundredfold over a run, and most of it is the same whatever
    the mixture. `"decision"` subtracts b_t, the mean reward of decision t over the episodes that
    were fitted, before dividing by the deviation of what is left. The horizon is fixed and the
    decision is known (the remaining budget is observed), so that the best policy stays the best.
    An episode that diverges is also charged the b of the decisions that it did not make, at its
    last one, discounted: diverging gains nothing. Means and deviation leave out its penalty.
    `"deviation"` only divides, `"none"` does nothing.

    Attributes:
        kind: one of `REWARD_SCALINGS`.
        baseline: (decisions,) b_t.
        scale: positive.
        gamma: discount by which missed decisions are charged.
    """

    kind: str
    baseline: tuple[float, ...]
    scale: float
    gamma: float

    @classmethod
    def fit(
        cls, kind: str, episodes: Sequence[Trajectory], decisions: int, gamma: float
    ) -> RewardScaling:
        """Fit to episodes (at least one).

        Raises:
            UnknownNameError: an unknown kind.
        """
        if kind not in REWARD_SCALINGS:
            raise unknown_name("reward scaling", kind, REWARD_SCALINGS)
        if kind == "none":
            return cls(kind, (0.0,) * decisions, 1.0, gamma)
        baseline = np.zeros(decisions)
        if kind == "decision":
            for t in range(decisions):
                rewards = [e.rewards[t] for e in episodes if t < len(e) and e.earned[t]]
                baseline[t] = float(np.mean(rewards)) if rewards else 0.0
        left = np.concatenate([(e.rewards - baseline[: len(e)])[e.earned] for e in episodes])
        deviation = float(left.std()) if len(left) else 0.0
        return cls(kind, tuple(baseline.tolist()), deviation if deviation > _TINY else 1.0, gamma)

    def __call__(self, episode: Trajectory) -> NDArray[np.float32]:
        """(T,) scaled rewards of an episode."""
        T, baseline = len(episode), np.array(self.baseline)
        rewards = episode.rewards - baseline[:T]
        missed = baseline[T:]
        if episode.diverged and len(missed):
            rewards[-1] -= float(self.gamma ** np.arange(1, len(missed) + 1) @ missed)
        return (rewards / self.scale).astype(np.float32)

    def restore(self, value: float | NDArray[Any]) -> Any:
        """The discounted return, in units of the rewards, of scaled values of initial states."""
        offset = float(self.gamma ** np.arange(len(self.baseline)) @ np.array(self.baseline))
        return np.asarray(value, dtype=np.float64) * self.scale + offset


class Batch(NamedTuple):
    """B transitions: observations (B, width), actions (B, dim), rewards, terminal flags (B, 1)."""

    observation: NDArray[np.float32]
    action: NDArray[np.float32]
    reward: NDArray[np.float32]
    next_observation: NDArray[np.float32]
    terminal: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Transitions:
    """N transitions of many episodes; rows of an episode are consecutive.

    Every decision is one, the last included: a spent budget is terminal. (d3rlpy's own replay
    buffer drops the last transition of an episode that ends by a timeout.)

    Attributes:
        rows: all of them.
        episode: (N,) position of each row's episode.
        initial: (episodes,) row of each episode's first decision.
    """

    rows: Batch
    episode: NDArray[np.int64]
    initial: NDArray[np.int64]

    @classmethod
    def build(
        cls,
        episodes: Sequence[Trajectory],
        encode: Encode,
        window: int,
        rewards: Callable[[Trajectory], NDArray[np.float32]],
    ) -> Transitions:
        """Cut episodes into transitions.

        Args:
            episodes: at least one.
            encode: (T + 1, size) observations to (T + 1, width) network inputs.
            window: how many of the last inputs a transition's observation holds.
            rewards: (T,) of an episode, as the learner gets them.
        """
        parts: list[Batch] = []
        for episode in episodes:
            seen = windows(encode(episode.observations), window)
            parts.append(
                Batch(
                    seen[:-1],
                    episode.actions.astype(np.float32),
                    rewards(episode)[:, None],
                    seen[1:],
                    episode.terminations.astype(np.float32)[:, None],
                )
            )
        lengths = np.array([len(episode) for episode in episodes])
        return cls(
            Batch(*(np.concatenate(column) for column in zip(*parts, strict=True))),
            np.repeat(np.arange(len(episodes)), lengths),
            np.concatenate([[0], np.cumsum(lengths)[:-1]]),
        )

    def __len__(self) -> int:
        """N."""
        return len(self.episode)

    def take(self, index: NDArray[np.int64]) -> Batch:
        """The rows at `index`."""
        return Batch(*(column[index] for column in self.rows))

    def sample(self, rng: np.random.Generator, size: int) -> Batch:
        """Draw `size` rows uniformly, with replacement."""
        return self.take(rng.integers(len(self), size=size))

"""The replay buffer of the `acodm` agent."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray


class Batch(NamedTuple):
    """B transitions: (B, size) observations, (B, K) mixtures, (B, R) rewards, (B,) done flags.

    R is 1, or K where every domain has a reward of its own.
    """

    observation: NDArray[np.float32]
    mixture: NDArray[np.float32]
    reward: NDArray[np.float32]
    next_observation: NDArray[np.float32]
    done: NDArray[np.float32]


class ReplayBuffer:
    """The last `capacity` transitions, sampled uniformly with replacement.

    Args:
        capacity: transitions held; then the oldest is overwritten.
        size, K, R: entries of an observation, a mixture and a reward.
    """

    def __init__(self, capacity: int, size: int, K: int, R: int) -> None:
        self.capacity, self.added = capacity, 0
        self._widths = {"observation": size, "mixture": K, "reward": R, "next_observation": size}
        self._rows: dict[str, NDArray[np.float32]] = {
            name: np.zeros((0, width), np.float32) for name, width in self._widths.items()
        }
        self._rows["done"] = np.zeros(0, np.float32)

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(
        self,
        observation: NDArray[Any],
        mixture: NDArray[Any],
        reward: NDArray[Any],
        next_observation: NDArray[Any],
        done: bool,
    ) -> None:
        """Store one transition."""
        index = self.added % self.capacity
        if index == len(self._rows["done"]):
            self._grow()
        values = (observation, mixture, reward, next_observation, float(done))
        for name, value in zip(Batch._fields, values, strict=True):
            self._rows[name][index] = value
        self.added += 1

    def _grow(self) -> None:
        # Doubling: short episodes need not reserve room for 10,000 transitions.
        wanted = min(self.capacity, max(64, 2 * len(self._rows["done"])))
        for name, rows in self._rows.items():
            grown = np.zeros((wanted, *rows.shape[1:]), np.float32)
            grown[: len(rows)] = rows
            self._rows[name] = grown

    def all(self) -> Batch:
        """Every transition held, in no particular order."""
        return Batch(*(self._rows[name][: len(self)] for name in Batch._fields))

    def sample(self, rng: np.random.Generator, batch_size: int) -> Batch:
        """Draw `batch_size` transitions (at least one must have been added)."""
        index = rng.integers(len(self), size=batch_size)
        return Batch(*(self._rows[name][index] for name in Batch._fields))

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the transitions held; `added` is the caller's to keep."""
        rows = self.all()._asdict()
        return {name: torch.from_numpy(value.copy()) for name, value in rows.items()}

    def load_state_dict(self, tensors: dict[str, torch.Tensor], added: int) -> None:
        """Restore `state_dict`'s value.

        Raises:
            ValueError: not a buffer of this kind with so many transitions.
        """
        rows = {name: tensors[name].numpy().copy() for name in Batch._fields}
        held = min(added, self.capacity)
        for name, values in rows.items():
            if values.shape != (held, *self._rows[name].shape[1:]) or values.dtype != np.float32:
                raise ValueError(f"replay.{name} is {values.dtype} {values.shape} of {held} rows")
        self._rows, self.added = rows, added

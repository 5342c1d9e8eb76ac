"""What an environment's episodes returned and cost, seen from outside the agent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NotRequired

import gymnasium as gym
from typing_extensions import TypedDict

from mixgym.files import Finite
from mixgym.rewards.vector import scalar_reward


@dataclass
class EpisodeRecord:
    """One finished or cut episode.

    Attributes:
        seed: of the run.
        decisions: made.
        episode_return: undiscounted sum of rewards.
        objective_loss: validation objective at its end, nats a byte (infinite if not measured).
        tokens, flops, seconds: of all ledger accounts together.
        accounts: tokens of each account.
        diverged: whether the run did.
        episode: which `learn` of `mixgym train` it was in, from 1 on: a run that diverged leaves
            budget for further ones. 0 elsewhere.
    """

    seed: int
    decisions: int
    episode_return: float
    objective_loss: float
    tokens: int
    flops: float
    seconds: float
    accounts: dict[str, int]
    diverged: bool
    episode: int = 0


class StoredRecord(TypedDict):
    """An `EpisodeRecord` in cost.json."""

    seed: int
    decisions: int
    episode_return: float
    objective_loss: float
    tokens: int
    flops: Finite
    seconds: Finite
    accounts: dict[str, int]
    diverged: bool
    episode: NotRequired[int]


class Monitor(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps a record of every episode, cut ones included.

    Attributes:
        on_step: called after every decision with its number and info.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.on_step: Callable[[int, dict[str, Any]], None] | None = None
        self._records: list[EpisodeRecord] = []
        self._decisions, self._return = 0, 0.0
        self._info: dict[str, Any] = {}

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """Close the current record and begin another."""
        self._close()
        observation, self._info = self.env.reset(**arguments)
        return observation, self._info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step and count."""
        result = self.env.step(action)
        self._decisions += 1
        self._return += scalar_reward(result[1], result[4])
        self._info = result[4]
        if self.on_step is not None:
            self.on_step(self._decisions, self._info)
        return result

    def take(self) -> list[EpisodeRecord]:
        """The records since the last call; an episode in progress ends its record here."""
        self._close()
        records, self._records = self._records, []
        return records

    def _close(self) -> None:
        if self._decisions > 0:
            self._records.append(self._record())
        self._decisions, self._return = 0, 0.0

    def _record(self) -> EpisodeRecord:
        accounts = self.env.unwrapped.ledger.accounts  # type: ignore[attr-defined]
        return EpisodeRecord(
            seed=int(self._info["run_seed"]),
            decisions=self._decisions,
            episode_return=self._return,
            objective_loss=float(self._info["objective_loss"]),
            tokens=sum(account.tokens for account in accounts.values()),
            flops=sum(account.flops for account in accounts.values()),
            seconds=sum(account.seconds for account in accounts.values()),
            accounts={name: account.tokens for name, account in accounts.items()},
            diverged=bool(self._info["diverged"]),
        )

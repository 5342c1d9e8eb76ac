"""Everything an environment was told about a run, from which it can be told again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixgym.lm.state import nan_to_none
from mixgym.signals import Signals


@dataclass
class Journal:
    """What an environment asked of its run, in the order of asking.

    An environment that is given the same actions and the same answers comes to the same state:
    mixture, noise generator, memory of its reward terms, history.

    Attributes:
        start: signals before the first decision.
        actions: the decisions' actions; the last may be under way.
        signals: of the decisions that are done.
        losses: (K,) results of the evaluations that signals and rewards asked for.
    """

    start: Signals | None = None
    actions: list[NDArray[np.float32]] = field(default_factory=list)
    signals: list[Signals] = field(default_factory=list)
    losses: list[NDArray[np.float64]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON that `from_json` restores bit for bit."""
        return {
            "start": None if self.start is None else self.start.to_json(),
            "actions": [action.tolist() for action in self.actions],
            "signals": [signals.to_json() for signals in self.signals],
            "losses": [nan_to_none(loss) for loss in self.losses],
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Journal:
        """Inverse of `to_json`."""
        start = plain["start"]
        return cls(
            None if start is None else Signals.from_json(start),
            [np.array(action, dtype=np.float32) for action in plain["actions"]],
            [Signals.from_json(signals) for signals in plain["signals"]],
            [np.array(loss, dtype=np.float64) for loss in plain["losses"]],
        )


class Replay:
    """Gives a journal's answers again, one after the other."""

    def __init__(self, journal: Journal) -> None:
        self.start = journal.start
        self._signals: Iterator[Signals] = iter(journal.signals)
        self._losses: Iterator[NDArray[np.float64]] = iter(journal.losses)

    def signals(self) -> Signals:
        """Return the next decision's signals."""
        return next(self._signals)

    def loss(self) -> NDArray[np.float64]:
        """Return the next evaluation's result."""
        return next(self._losses).copy()

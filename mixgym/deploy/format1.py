"""Checkpoints of format 1, which hold what an episode was told instead of where that led."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixgym.signals import Signals
from mixgym.simplex import Mixture

if TYPE_CHECKING:
    from mixgym.deploy.run import TrainerRun
    from mixgym.envs.episode import Episode


class _Told:
    """Gives the results of evaluations again, in their order."""

    def __init__(self, losses: list[list[float | None]], run: TrainerRun) -> None:
        self._losses: Iterator[list[float | None]] = iter(losses)
        self.has_diverged = run.has_diverged

    def evaluate(self, *_: Any, **__: Any) -> NDArray[np.float64]:
        return np.array(next(self._losses), dtype=np.float64)


def tell_again(
    episode: Episode, run: TrainerRun, seed: int, natural: Mixture, journal: Mapping[str, Any]
) -> None:
    """Bring an episode to where the checkpoint's was: the same actions and answers, once more.

    Args:
        episode: of the same arguments.
        run: whose limit of divergence counts.
        seed: of the run.
        natural: (K,) the mixture before the first decision.
        journal: `start` (signals before the first decision), `actions` (the last may be under
            way), `signals` of the decisions that were done, `losses` of the evaluations.
    """
    told: Any = _Told(journal["losses"], run)
    start = Signals.from_json(journal["start"])
    episode.start(seed, natural, start, episode.measure(told, start))
    actions = [np.array(action, dtype=np.float32) for action in journal["actions"]]
    for number, action in enumerate(actions):
        mixture = episode.to_mixture(action)
        if number < len(journal["signals"]):
            signals = Signals.from_json(journal["signals"][number])
            episode.record(mixture, signals, episode.measure(told, signals))

"""What an episode has shown so far; light, since every environment keeps one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass
class EpisodeHistory:
    """What an episode has shown so far, one entry for the reset and one for every decision.

    Attributes:
        names: the K domains.
        steps: LM steps done.
        mixtures: applied mixtures, each (K,).
        train_losses: training losses by domain, each (K,), nats a byte; NaN if never sampled.
        objective: validation loss of the objective, nats a byte; NaN where not measured.
        total_steps: LM steps of the whole episode.
        title: text above the picture.
    """

    names: Sequence[str]
    steps: list[int] = field(default_factory=list)
    mixtures: list[NDArray[np.float64]] = field(default_factory=list)
    train_losses: list[NDArray[np.float64]] = field(default_factory=list)
    objective: list[float] = field(default_factory=list)
    total_steps: int = 1
    title: str = ""

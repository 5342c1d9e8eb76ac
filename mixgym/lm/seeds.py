"""The separate random streams of a training run."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class RunSeeds(NamedTuple):
    """Seeds of a run's streams: initial weights, data order, and dropout's noise."""

    init: int
    order: int
    noise: int


def run_seeds(seed: int) -> RunSeeds:
    """Return the streams of `numpy.random.SeedSequence(seed)`, each in [0, 2^63)."""
    states = np.random.SeedSequence(seed).generate_state(3, dtype=np.uint64)
    return RunSeeds(*(int(state >> 1) for state in states))

import itertools
from dataclasses import replace

import numpy as np
import pytest

from mixgym.errors import UnknownNameError
from mixgym.rewards import REWARD_TERMS
from mixgym.signals import Signals

NAN = np.full(2, np.nan, dtype=np.float32)
ZERO = np.zeros(2, dtype=np.float32)
START = Signals(
    mixture=np.array([0.5, 0.5], dtype=np.float32),
    counts=ZERO, tokens=ZERO, epochs=ZERO,
    train_loss=NAN, train_loss_age=ZERO, train_loss_change=ZERO, last_loss=NAN,
    validation_loss=NAN, validation_change=NAN, starved=np.zeros(2, dtype=bool),
)  # fmt: skip


def test_progress_is_the_decrease_of_the_objective_and_telescopes() -> None:
    term = REWARD_TERMS["progress"]()
    losses = [5.5, 4.25, 4.5, 3.0]
    signals = [replace(START, objective_loss=x) for x in losses]
    rewards = [term(a, b) for a, b in itertools.pairwise(signals)]
    assert rewards == [1.25, -0.25, 1.5]
    assert sum(rewards) == losses[0] - losses[-1]
    assert term.needs == {"objective"}


def test_unknown_term_is_suggested() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'progress'"):
        REWARD_TERMS["progess"]

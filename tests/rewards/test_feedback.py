from __future__ import annotations

import itertools
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

import mixgym  # noqa: F401
from mixgym.errors import MixgymError, UnknownNameError
from mixgym.rewards import REWARD_TERMS
from mixgym.rewards.build import build_terms
from mixgym.rewards.feedback import Feedback
from tests.tiny import unmeasured

START = unmeasured(2)


def test_feedback_is_the_weighted_change_on_both_fields_and_telescopes() -> None:
    measured = [(-2.0, -4.0), (-2.5, -3.0), (-2.25, -3.0), (-2.75, -1.5)]
    signals = [replace(START, feedback=np.array(x, dtype=np.float32)) for x in measured]
    plain = REWARD_TERMS["feedback"]()
    assert [plain(a, b) for a, b in itertools.pairwise(signals)] == [0.5, 0.25, 1.0]
    weighted = Feedback(source=3.0, target=0.5)
    rewards = [weighted(a, b) for a, b in itertools.pairwise(signals)]
    assert rewards == [-1.5 + 0.5, 0.75, -1.5 + 0.75]
    assert sum(rewards) == 3.0 * (-2.75 + 2.0) + 0.5 * (-1.5 + 4.0)


def test_arguments_are_checked() -> None:
    ((weight, term),) = build_terms(
        REWARD_TERMS, {"feedback": {"weight": 2.0, "source": 0.0}}
    ).values()
    assert weight == 2.0 and term.needs == {"feedback"}
    with pytest.raises(ValueError, match="finite"):
        Feedback(source=float("nan"))
    with pytest.raises(UnknownNameError, match="did you mean 'source'"):
        build_terms(REWARD_TERMS, {"feedback": {"sorce": 1.0}})


def test_an_environment_that_measures_no_feedback_refuses_the_term() -> None:
    with pytest.raises(MixgymError, match="'feedback', which NanoPretrainEnv does not measure"):
        gym.make("mixgym/NanoPretrain-v0", reward="feedback")

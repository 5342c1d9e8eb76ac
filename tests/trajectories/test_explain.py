"""What explains a policy, on policies whose every response is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mixgym.envs.observation import ObservationLayout
from mixgym.envs.task import MixingTask
from mixgym.errors import MixgymError
from mixgym.plotting.policy import policy_figure
from mixgym.plotting.style import pixels
from mixgym.simplex import make_action_map, softmax
from mixgym.trajectories.explain import explain_policy
from mixgym.trajectories.record import Trajectories, Trajectory

DOMAINS = ("source_a", "source_b", "target_c")
LAYOUT = ObservationLayout(
    DOMAINS, (), ("mixture", "train_loss", "feedback", "target"), (), ("remaining",)
)
SCALE = 5.0
LATEST, OLDER, PUSH = 0.10, 0.05, 0.2


@dataclass
class Linear:
    """action_k = 0.1 loss_k + 0.05 the loss before - 0.2 feedback_k."""

    layout: ObservationLayout = LAYOUT
    config: Any = field(default_factory=lambda: SimpleNamespace(window=2))

    @property
    def acting(self) -> Any:
        return self

    def encode(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        return np.asarray(observations, np.float32)

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        older, latest = np.split(rows, 2, axis=1)
        loss = [self.layout.split(part)[0][..., 1] for part in (older, latest)]
        feedback = self.layout.split(latest)[0][..., 2]
        return (LATEST * loss[1] + OLDER * loss[0] - PUSH * feedback).astype(np.float32)


def logged(decisions: int = 6, number: int = 3) -> Trajectories:
    rng = np.random.default_rng(0)
    episodes = []
    for index in range(number):
        block = np.zeros((decisions + 1, 3, 4))
        block[..., 0] = 1 / 3
        block[..., 1] = rng.normal(size=(decisions + 1, 3))
        fields = rng.normal(size=(decisions + 1, 2))
        block[..., 2] = fields[:, [0, 0, 1]]
        block[..., 3] = [0.0, 0.0, 1.0]
        rest = np.linspace(1, 0, decisions + 1)[:, None]
        observations = np.hstack([block.reshape(decisions + 1, -1), rest]).astype(np.float32)
        ends = np.arange(decisions) == decisions - 1
        episodes.append(
            Trajectory(
                index,
                observations,
                np.zeros((decisions, 3), np.float32),
                np.zeros(decisions),
                ends,
                ends & False,
                {"mixture": np.full((decisions + 1, 3), 1 / 3)},
            )
        )
    natural = np.array([0.5, 0.25, 0.25])
    task = MixingTask(DOMAINS, natural, np.full(3, 1 / 3), {}, decisions, 1)
    action_map = make_action_map("softmax", 3, scale=SCALE)
    return Trajectories(tuple(episodes), "toy", "toy", {}, "", task, LAYOUT, action_map)


def test_responses_are_those_of_a_linear_policy() -> None:
    data = logged()
    found = explain_policy(Linear(), data, data.episodes)
    # The mixture and the field's mark never change over the states.
    assert found.features == ("train_loss", "feedback") and found.states == 18
    values = np.concatenate([LAYOUT.split(e.observations[:-1])[0] for e in data.episodes])
    deviation = np.sqrt(values[..., 1:3].astype(float).var(axis=0).mean(axis=0))
    np.testing.assert_allclose(found.deviations, deviation, rtol=1e-6)
    # One logit raised by x raises its log-odds by x, also that of several raised together.
    loss, feedback = deviation * (LATEST + OLDER, PUSH) * SCALE
    np.testing.assert_allclose(found.responses[0], loss, rtol=1e-4)
    np.testing.assert_allclose(found.responses[1], -feedback, rtol=1e-4)
    assert [found.features[i] for i in found.ranked()] == ["feedback", "train_loss"]


def test_mixtures_are_the_policys_own_at_each_decision() -> None:
    data = logged(decisions=2, number=2)
    found = explain_policy(Linear(), data, data.episodes)
    first = []
    for episode in data.episodes:
        block = LAYOUT.split(episode.observations[0])[0]
        first.append(softmax(SCALE * (0.15 * block[:, 1] - PUSH * block[:, 2]).astype(float)))
    np.testing.assert_allclose(found.mixtures[0], np.mean(first, axis=0), rtol=1e-5)
    assert found.mixtures.shape == (2, 3)


def test_a_few_states_follow_from_the_seed() -> None:
    data = logged()
    few = [explain_policy(Linear(), data, data.episodes, states=4, seed=s) for s in (1, 1)]
    assert few[0].states == 4
    np.testing.assert_array_equal(few[0].responses, few[1].responses)


def test_what_cannot_be_explained_is_refused() -> None:
    data = logged()
    with pytest.raises(MixgymError, match="held_out"):
        explain_policy(Linear(), data, [])
    with pytest.raises(ValueError, match="states=0"):
        explain_policy(Linear(), data, data.episodes, states=0)
    drawn = Trajectories(
        data.episodes, "", "", {}, "", data.task, LAYOUT, make_action_map("dirichlet", 3)
    )
    with pytest.raises(MixgymError, match="dirichlet"):
        explain_policy(Linear(), drawn, data.episodes)


def test_the_figure_shows_many_domains_and_few() -> None:
    rng = np.random.default_rng(0)
    for K in (2, 52):
        names = [f"domain_{k}" for k in range(K)]
        features = [f"feature_{i}" for i in range(20)]
        ratios, responses = rng.normal(size=(9, K)), rng.normal(size=(20, K))
        first, flat, still = (
            pixels(policy_figure(names, a, features, b, "weights")).astype(int)
            for a, b in (
                (ratios, responses),
                (ratios.clip(-1e-3, 1e-3), responses),
                (ratios, responses * 0),
            )
        )
        assert first.shape == flat.shape and first.shape[1] == 1440
        half = first.shape[1] // 2  # heat map on the left, responses on the right
        assert (first != flat)[:, :half].any() and (first != still)[:, half:].any()

"""The alignment rewards against their equations in plain numpy, and inside an environment."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import mixgym  # noqa: F401
from mixgym.errors import UnknownNameError
from mixgym.rewards import REWARD_TERMS
from mixgym.rewards.alignment import Alignment, ObjectiveAlignment
from mixgym.rewards.build import build_terms
from mixgym.signals import Signals
from tests.tiny import unmeasured

NAN = np.nan
START = unmeasured(3)
# (mixture, W, gradient norms)
HISTORY = [
    ([0.5, 0.25, 0.25], [2.0, 1.0, -4.0], [1.0, 2.0, 3.0]),
    ([0.8, 0.1, 0.1], [1.0, NAN, 2.0], [2.0, NAN, 4.0]),
    ([0.2, 0.2, 0.6], [-1.0, 0.5, 0.25], [1.0, 1.0, 1.0]),
]
ENV = "mixgym/NanoPretrain-v0"
SHORT: dict[str, Any] = {
    "decisions": 3, "steps_per_decision": 2, "evaluation_windows": 2,
    "batch_size": 16, "context": 16, "action_map": "simplex",
}  # fmt: skip


UNVALIDATED: dict[str, Any] = {
    "reward": "objective-alignment", "validation": "reward", "observation": "minimal",
}  # fmt: skip


def history(objective: bool = False) -> list[Signals]:
    name = "objective_alignment" if objective else "alignment"
    return [
        replace(
            START,
            mixture=np.array(p, dtype=np.float32),
            gradient_norms=np.array(norms, dtype=np.float32),
            **{name: np.array(w, dtype=np.float32)},
        )
        for p, w, norms in HISTORY
    ]


@pytest.mark.parametrize("term", [Alignment, ObjectiveAlignment])
@pytest.mark.parametrize("xi", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("scalar", ["mixture", "mean"])
@pytest.mark.parametrize("normalise", ["none", "mean-norm"])
def test_the_papers_equation(term: Any, xi: float, scalar: Any, normalise: Any) -> None:
    reward = term(xi=xi, scalar=scalar, normalise=normalise)
    reward.reset(3)
    rhat: list[Any] = [0.0, 0.0, 0.0]
    for signals, (p, w, norms) in zip(history(term is ObjectiveAlignment), HISTORY, strict=True):
        scale = np.nanmean(norms) + 1e-6 if normalise == "mean-norm" else 1.0
        for i in range(3):
            if not np.isnan(w[i]):
                rhat[i] = xi * rhat[i] + (1 - xi) * (w[i] / scale) / p[i]
        expected = sum(a * r for a, r in zip(p, rhat, strict=True))
        if scalar == "mean":
            expected = sum(rhat) / 3
        assert reward(START, signals) == pytest.approx(expected, rel=1e-5)
        np.testing.assert_allclose(reward.vector, rhat, rtol=1e-5)


def test_one_decision_worked_by_hand() -> None:
    reward = Alignment(xi=0.5)
    reward.reset(3)
    # r = 0.5 (2/0.5, 1/0.25, -4/0.25) = (2, 2, -8); 0.5*2 + 0.25*2 - 0.25*8 = -0.5
    assert reward(START, history()[0]) == pytest.approx(-0.5)
    assert reward.vector is not None and reward.vector.tolist() == [2.0, 2.0, -8.0]


def test_without_memory_importance_weights_cancel() -> None:
    reward = Alignment(xi=0.0)
    reward.reset(3)
    assert reward(START, history()[0]) == pytest.approx(2 + 1 - 4)


def test_the_importance_weight_has_a_floor_on_request() -> None:
    reward = Alignment(xi=0.0, floor=0.5)
    reward.reset(3)
    reward(START, history()[0])
    assert reward.vector is not None and reward.vector.tolist() == [4.0, 2.0, -8.0]


@pytest.mark.parametrize("objective", [False, True])
def test_cosines_lie_between_minus_one_and_one_whatever_the_scale(objective: bool) -> None:
    rng = np.random.default_rng(0)
    for scale in (1.0, 1e-3):
        gradients, goal = scale * rng.normal(size=(3, 20)), scale * rng.normal(size=20)
        others = goal if objective else None
        cosines = []
        for i in range(3):
            other = others if others is not None else gradients.sum(axis=0) - gradients[i]
            lengths = np.linalg.norm(gradients[i]) * np.linalg.norm(other)
            cosines.append(float(gradients[i] @ other / lengths))
        gram = gradients @ gradients.T
        signals = replace(
            history()[0],
            gram=gram.astype(np.float32),
            gradient_norms=np.sqrt(np.diagonal(gram)).astype(np.float32),
            alignment=(gram.sum(axis=1) - np.diagonal(gram)).astype(np.float32),
            objective_alignment=(gradients @ goal).astype(np.float32),
            objective_gradient_norm=float(np.linalg.norm(goal)),
        )
        term = (ObjectiveAlignment if objective else Alignment)(
            xi=0.5, normalise="cosine", importance=False
        )
        term.reset(3)
        value = term(START, signals)
        assert term.vector is not None
        np.testing.assert_allclose(term.vector, 0.5 * np.array(cosines), rtol=1e-4)
        assert value == pytest.approx(0.5 * np.dot([0.5, 0.25, 0.25], cosines), rel=1e-4)


def test_the_released_variant_has_no_memory_and_z_scores() -> None:
    reward = Alignment(variant="released")
    reward.reset(3)
    for signals, (p, w, norms) in zip(history(), HISTORY, strict=True):
        value = reward(START, signals)
        scaled = np.array(w) / (np.nanmean(norms) + 1e-6)
        z = np.clip((scaled - np.nanmean(scaled)) / (np.nanstd(scaled) + 1e-6), -3, 3)
        z = np.nan_to_num(z)
        assert reward.vector is not None
        np.testing.assert_allclose(reward.vector, z, rtol=1e-4)
        assert value == pytest.approx(float(np.dot(p, z)), rel=1e-4)
        assert abs(float(np.sum(reward.vector))) < 1e-6
    mean = Alignment(variant="released", scalar="mean")
    mean.reset(3)
    assert mean(START, history()[0]) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_nothing_measured_and_infinities_stay_finite(variant: Any) -> None:
    reward = Alignment(variant=variant)
    reward.reset(3)
    for values in ([NAN] * 3, [np.inf, 1.0, -np.inf], [1e30, 0.0, 0.0]):
        signals = replace(history()[0], alignment=np.array(values, dtype=np.float32))
        assert np.isfinite(reward(START, signals))
        assert reward.vector is not None and np.isfinite(reward.vector).all()


def test_bad_arguments_name_value_and_remedy() -> None:
    with pytest.raises(ValueError, match=r"xi.*1\.0"):
        Alignment(xi=1.0)
    with pytest.raises(ValueError, match="variant='released'"):
        Alignment(variant="released", importance=False)
    with pytest.raises(UnknownNameError, match="did you mean 'released'"):
        Alignment(variant="release")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="did you mean 'mean-norm'"):
        Alignment(normalise="meannorm")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="did you mean 'xi'"):
        build_terms(REWARD_TERMS, {"alignment": {"weight": 1.0, "xii": 0.5}})
    with pytest.raises(ValueError, match=r"weight.*nan"):
        build_terms(REWARD_TERMS, {"alignment": float("nan")})
    terms = build_terms(REWARD_TERMS, {"alignment": {"weight": 2.0, "xi": 0.25}, "progress": 0.5})
    assert terms["alignment"][0] == 2.0 and terms["alignment"][1].xi == 0.25  # type: ignore
    assert terms["progress"][0] == 0.5


# --- in an environment


def make(**arguments: Any) -> Any:
    return gym.make(ENV, disable_env_checker=True, **{**SHORT, **arguments}).unwrapped


def test_gradients_switch_themselves_on_and_info_keeps_its_shape() -> None:
    env = make(reward={"alignment": 1.0, "objective-alignment": {"weight": 2.0, "xi": 0.0}})
    assert env.gradients.kinds == ("gram", "objective")
    _, info = env.reset(seed=0)
    shapes = {k: np.shape(v) for k, v in info.items()}
    assert {n: v.tolist() for n, v in info["reward_vectors"].items()} == {
        "alignment": [0.0] * 8,
        "objective-alignment": [0.0] * 8,
    }
    terms: dict[str, float] = {}
    for _ in range(3):
        _, reward, _, _, info = env.step(np.full(8, 1 / 8, np.float32))
        assert {k: np.shape(v) for k, v in info.items()} == shapes
        assert set(info["reward_vectors"]) == {"alignment", "objective-alignment"}
        terms = info["reward_terms"]
        assert (
            reward == info["scalar_reward"] == terms["alignment"] + 2 * terms["objective-alignment"]
        )
    aligned = np.nansum(env.signals.objective_alignment)
    assert terms["objective-alignment"] == pytest.approx(float(aligned), rel=1e-5)


def test_the_reward_does_not_change_the_training() -> None:
    losses = []
    for reward in ("progress", {"progress": 1.0, "alignment": 0.1, "objective-alignment": 0.1}):
        env = make(reward=reward)
        _, info = env.reset(seed=3)
        for _ in range(3):
            info = env.step(np.full(8, 1 / 8, np.float32))[4]
        losses.append((info["train_loss"], info["objective_loss"]))
    np.testing.assert_array_equal(losses[0][0], losses[1][0])
    assert losses[0][1] == losses[1][1]


@pytest.mark.parametrize(
    "duplicate",
    [lambda env: env.fork(), copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))],
    ids=["fork", "deepcopy", "pickle"],
)
def test_memory_survives_a_copy_and_is_forgotten_at_reset(duplicate: Any) -> None:
    env = make(reward={"alignment": {"xi": 0.9}})
    u = np.full(8, 1 / 8, np.float32)
    env.reset(seed=1)
    first = [env.step(u)[1] for _ in range(3)]
    env.reset(seed=1)
    again = [env.step(u)[1]]
    twin = duplicate(env)
    assert again + [twin.step(u)[1] for _ in range(2)] == first
    assert again + [env.step(u)[1] for _ in range(2)] == first


def test_the_objectives_gradient_is_on_the_ledger() -> None:
    plain, target = make(), make(**UNVALIDATED)
    for env in (plain, target):
        env.reset(seed=0)
        env.step(np.full(8, 1 / 8, np.float32))
    assert plain.gradients is None
    cost = target.ledger.accounts["reward"]
    assert cost.tokens == 8 * 16 * 16  # 16 windows of 16 tokens for each of 8 domains
    assert cost.flops > 6 * target.run.n_parameters * cost.tokens


def test_a_target_objective_leaves_out_the_other_domains() -> None:
    env = make(objective=["recipes", "python"], **UNVALIDATED)
    env.reset(seed=0)
    env.step(np.full(8, 1 / 8, np.float32))
    assert env.ledger.accounts["reward"].tokens == 2 * 16 * 16
    assert np.isfinite(env.signals.objective_alignment).all()

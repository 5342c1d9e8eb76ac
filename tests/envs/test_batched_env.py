"""A batch of environments is what Gymnasium's `SyncVectorEnv` of single ones is, up to rounding."""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from test_registry import SHORT, make

from mixgym.envs.batched import BatchedEnv
from mixgym.envs.continual import ContinualEnv
from mixgym.envs.registration import BATCHED
from mixgym.errors import MixgymError, UnknownArgumentError, UnknownNameError
from mixgym.lm.training import TrainingRun

NANO = "mixgym/NanoPretrain-v0"
CHOSEN = np.random.default_rng(0).uniform(-1, 1, (6, 3, 8)).astype(np.float32)
#: Of losses and what follows from them after six steps; `BatchedRun` says how it grows.
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}
#: Infos that are no losses: equal exactly.
EXACT = ("mixture", "counts", "epochs", "starved", "step", "decision", "diverged", "run_seed")
#: A run whose weights overflow at once.
DIVERGING: dict[str, Any] = {"learning_rate": 1e6, "warmup_steps": 0, "clip": 1e6, "decisions": 5}


def batched(env_id: str = NANO, num_envs: int = 3, **arguments: Any) -> Any:
    return gym.make_vec(env_id, num_envs, "vector_entry_point", **{**SHORT, **arguments})


def sync(env_id: str = NANO, num_envs: int = 3, mode: Any = AutoresetMode.NEXT_STEP, **a: Any):
    return SyncVectorEnv([lambda: make(env_id, **a)] * num_envs, autoreset_mode=mode)


def check(ours: Any, theirs: Any, name: str = "") -> None:
    """Compare what steps return: layouts and dtypes exactly, losses within `CLOSE`."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key in theirs:
            check(ours[key], theirs[key], key)
        return
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape, name
    if theirs.dtype == object:
        for a, b in zip(ours, theirs, strict=True):
            assert type(a) is type(b)
            if isinstance(b, np.ndarray):
                check(a, b, name)
            else:
                assert a == b
    elif name in EXACT or name.startswith("_") or theirs.dtype == bool:
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
    else:
        np.testing.assert_allclose(ours, theirs, **CLOSE, err_msg=name)


def check_results(ours: Any, theirs: Any) -> None:
    assert len(ours) == len(theirs)
    for x, y in zip(ours, theirs, strict=True):
        check(x, y)


@pytest.mark.parametrize(
    ("env_id", "mode"),
    [
        *((NANO, mode) for mode in AutoresetMode),
        *((env_id, AutoresetMode.NEXT_STEP) for env_id in BATCHED if env_id != NANO),
    ],
)
def test_a_batch_is_single_environments(env_id: str, mode: AutoresetMode) -> None:
    ours, theirs = batched(env_id, autoreset_mode=mode.value), sync(env_id, mode=mode)
    assert ours.metadata["autoreset_mode"] == mode
    for name in ("observation_space", "action_space"):
        assert getattr(ours, name) == getattr(theirs, name)
        assert getattr(ours, f"single_{name}") == getattr(theirs, f"single_{name}")
    seeds: Any = [7, 3, 2**31]
    check_results(ours.reset(seed=seeds), theirs.reset(seed=seeds))
    chosen = np.random.default_rng(0).uniform(-1.2, 1.2, (5, 3, *ours.single_action_space.shape))
    for actions in chosen.astype(np.float32):
        results = ours.step(actions)
        check_results(results, theirs.step(actions))
        assert results[0] in ours.observation_space
        if mode == AutoresetMode.DISABLED and results[2].all():
            options = {"reset_mask": np.ones(3, bool), "mixture": "uniform"}
            again = [envs.reset(seed=5, options=dict(options)) for envs in (ours, theirs)]
            check_results(*again)
    assert ours.np_random_seed == theirs.np_random_seed
    ours.close()
    theirs.close()


def test_stochastic_mixtures_are_the_single_environments() -> None:
    ours, theirs = batched(action_map="dirichlet"), sync(action_map="dirichlet")
    ours.reset(seed=4)
    theirs.reset(seed=4)
    for t in range(5):  # over a reset
        ours_info, theirs_info = (envs.step(CHOSEN[t])[4] for envs in (ours, theirs))
        np.testing.assert_array_equal(ours_info["mixture"], theirs_info["mixture"])


def test_seeds_and_the_costs_of_each_run() -> None:
    envs = batched()
    _, infos = envs.reset(seed=10)
    assert infos["run_seed"].tolist() == [10, 11, 12]
    _, infos = envs.reset(seed=[None, 5, None])
    drawn = infos["run_seed"].tolist()
    assert drawn[1] == 5 and len({*drawn, 10, 11, 12}) == 6
    alone = make(NANO)
    alone.reset(seed=5)
    envs.step(CHOSEN[0])
    alone.step(CHOSEN[0, 1])
    theirs = alone.unwrapped.ledger.accounts  # type: ignore[attr-defined]
    for name, account in envs.unwrapped.run.ledger[1].accounts.items():
        assert account.tokens == theirs[name].tokens
        assert account.flops == pytest.approx(theirs[name].flops)
    with pytest.raises(ValueError, match="3 entries"):
        envs.reset(seed=[1, 2])


def rollout(envs: Any, seeds: list[int], actions: np.ndarray) -> list[Any]:
    return [envs.reset(seed=seeds), *(envs.step(a) for a in actions)]


def test_a_run_does_not_depend_on_the_others() -> None:
    three = rollout(batched(), [1, 2, 3], CHOSEN[:3])
    turned = rollout(batched(), [3, 9, 1], CHOSEN[:3, [2, 1, 0]])
    alone = rollout(batched(num_envs=1), [3], CHOSEN[:3, [2]])
    for a, b, c in zip(three, turned, alone, strict=True):
        for x, y, z in zip(a[:-1], b[:-1], c[:-1], strict=True):
            np.testing.assert_array_equal(x[2], y[0])
            np.testing.assert_array_equal(x[0], y[2])
            np.testing.assert_array_equal(x[2], z[0])


def test_some_environments_are_reset() -> None:
    envs = batched(autoreset_mode="Disabled")
    with pytest.raises(gym.error.ResetNeeded, match="all"):
        envs.reset(options={"reset_mask": np.array([True, False, False])})
    before, _ = envs.reset(seed=0)
    after, *_ = envs.step(CHOSEN[0])
    mask = np.array([False, True, False])
    observations, infos = envs.reset(seed=[None, 1, None], options={"reset_mask": mask})
    np.testing.assert_array_equal(observations[1], before[1])
    np.testing.assert_array_equal(observations[[0, 2]], after[[0, 2]])
    assert infos["_step"].tolist() == mask.tolist() and infos["run_seed"].tolist() == [0, 1, 0]
    *_, infos = envs.step(CHOSEN[1])
    assert infos["step"].tolist() == [4, 2, 4]
    _, _, terminated, _, _ = envs.step(CHOSEN[2])
    assert terminated.tolist() == [True, False, True]
    with pytest.raises(gym.error.ResetNeeded, match=r"\[0, 2\]"):
        envs.step(CHOSEN[3])
    for wrong in ([True] * 3, np.ones(3), np.zeros(3, bool), np.ones(2, bool)):
        with pytest.raises((TypeError, ValueError), match="reset_mask"):
            envs.reset(options={"reset_mask": wrong})


def test_a_diverged_run_ends_with_the_penalty_and_starts_anew() -> None:
    envs, theirs = batched(**DIVERGING), sync(**DIVERGING)
    envs.reset(seed=0)
    theirs.reset(seed=0)
    ends = 0
    for t in range(6):
        _, rewards, terminated, _, infos = envs.step(CHOSEN[t])
        _, _, end, _, their_infos = theirs.step(CHOSEN[t])
        np.testing.assert_array_equal(terminated, end)
        np.testing.assert_array_equal(infos["diverged"], their_infos["diverged"])
        np.testing.assert_array_equal(infos["run_seed"], their_infos["run_seed"])
        assert (rewards[infos["diverged"]] == -5.0).all()
        ends += int((terminated & infos["diverged"]).sum())
    assert ends >= 3


def test_one_diverging_run_leaves_the_rest_alone() -> None:
    expected = rollout(batched(decisions=4), [1, 2, 3], CHOSEN[:3])
    envs = batched(decisions=4)
    envs.reset(seed=[1, 2, 3])
    rows = envs.unwrapped.run.engine.rows.parameters
    rows[1] = torch.nan
    infos: dict[str, Any] = {}
    for t in range(3):
        observations, rewards, terminated, _, infos = envs.step(CHOSEN[t])
        np.testing.assert_array_equal(observations[[0, 2]], expected[t + 1][0][[0, 2]])
        assert terminated.tolist() == [False, t == 0, False]
        assert (rewards[1] == -5.0) == (t == 0)
        assert observations in envs.observation_space
    assert infos["decision"].tolist() == [3, 1, 3]


def test_what_goes_on_is_the_same(tmp_path: Any) -> None:
    envs = batched().unwrapped
    rollout(envs, [1, 2, 3], CHOSEN[:2])
    copies = [envs.fork(), pickle.loads(pickle.dumps(envs))]
    expected = [envs.step(a)[:4] for a in CHOSEN[2:5]]
    for twin in copies:
        for ours, theirs in zip((twin.step(a)[:4] for a in CHOSEN[2:5]), expected, strict=True):
            for x, y in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(x, y)


def test_the_options_of_reset(tmp_path: Any) -> None:
    envs, alone = batched(), make(NANO)
    alone.reset(seed=1)
    alone.step(CHOSEN[0, 0])
    inner: Any = alone.unwrapped
    assert isinstance(inner.run, TrainingRun)
    inner.run.save(tmp_path / "run")
    options = {"mixture": "wiki_en", "checkpoint": tmp_path / "run"}
    ours, infos = envs.reset(seed=1, options=options)
    theirs, info = alone.reset(seed=1, options=options)
    np.testing.assert_allclose(ours[0], theirs, **CLOSE)
    np.testing.assert_array_equal(infos["mixture"][2], info["mixture"])
    with pytest.raises(UnknownNameError, match="mixtures"):
        envs.reset(options={"mixtures": "natural"})


def test_tensors_in_and_out() -> None:
    ours, theirs = batched(array="torch"), batched()
    observations, _ = ours.reset(seed=0)
    assert isinstance(observations, torch.Tensor)
    theirs.reset(seed=0)
    results, expected = ours.step(torch.from_numpy(CHOSEN[0])), theirs.step(CHOSEN[0])
    for x, y in zip(results[:4], expected[:4], strict=True):
        assert isinstance(x, torch.Tensor)
        np.testing.assert_array_equal(x.numpy(), y)


def test_a_time_limit_truncates_as_gymnasiums() -> None:
    ours = batched(max_episode_steps=2)
    theirs: Any = gym.make_vec(NANO, 3, "sync", max_episode_steps=2, **SHORT)
    for envs in (ours, theirs):
        envs.reset(seed=0)
    for t in range(4):
        a, b = ours.step(CHOSEN[t]), theirs.step(CHOSEN[t])
        for x, y in zip(a[1:4], b[1:4], strict=True):
            np.testing.assert_allclose(x, y, **CLOSE)


def test_make_vec_prefers_the_batch_and_remakes_it() -> None:
    envs: Any = gym.make_vec(NANO, num_envs=2, **SHORT)
    assert isinstance(envs.unwrapped, BatchedEnv) and envs.spec.id == NANO
    again: Any = gym.make_vec(envs.spec)
    assert isinstance(again.unwrapped, BatchedEnv) and again.num_envs == 2
    first, second = (e.reset(seed=0)[0] for e in (envs, again))
    np.testing.assert_array_equal(first, second)
    assert isinstance(gym.make_vec(NANO, 2, "sync", **SHORT), SyncVectorEnv)


def test_gymnasiums_vector_wrappers() -> None:
    wrappers = gym.wrappers.vector
    envs: Any = wrappers.RecordEpisodeStatistics(batched())
    envs.reset(seed=0)
    total, infos = np.zeros(3), {}
    for t in range(3):
        _, rewards, _, _, infos = envs.step(CHOSEN[t])
        total += rewards
    np.testing.assert_allclose(infos["episode"]["r"], total, rtol=1e-5)
    assert infos["episode"]["l"].tolist() == [3, 3, 3]
    envs = wrappers.DictInfoToList(wrappers.NormalizeReward(batched()))
    envs.reset(seed=0)
    *_, listed = envs.step(CHOSEN[0])
    assert [info["step"] for info in listed] == [2, 2, 2]


def test_frames_and_closing() -> None:
    envs = batched(render_mode="ansi")
    with pytest.raises(gym.error.ResetNeeded):
        envs.step(CHOSEN[0])
    first, _ = envs.reset(seed=0)
    assert len(envs.render()) == 3 and "wiki_en" in envs.render()[0]
    envs.close()
    envs.close()
    with pytest.raises(gym.error.ResetNeeded):
        envs.step(CHOSEN[0])
    np.testing.assert_array_equal(envs.reset(seed=0)[0], first)


def test_what_does_not_fit_is_named() -> None:
    for arguments, error, match in [
        ({"array": "jax"}, UnknownNameError, "array"),
        ({"autoreset_mode": "never"}, UnknownNameError, "autoreset"),
        ({"num_envs": 0}, ValueError, "num_envs"),
        ({"decision": 3}, UnknownArgumentError, "decisions"),
        ({"precision": "fp8"}, UnknownNameError, "precision"),
        ({"reward": "holistic"}, MixgymError, "batch of environments does not measure"),
    ]:
        with pytest.raises(error, match=match):
            batched(**arguments)

    class Continual(BatchedEnv):
        SINGLE = ContinualEnv

    with pytest.raises(MixgymError, match="async"):
        Continual(2)
    envs = batched()
    envs.reset(seed=0)
    wrong = CHOSEN[0].copy()
    wrong[1, 0] = np.nan
    for actions in (wrong, CHOSEN[0, :2]):
        with pytest.raises(ValueError, match="actions must"):
            envs.step(actions)
    assert envs.step(CHOSEN[0])[4]["step"].tolist() == [2, 2, 2]

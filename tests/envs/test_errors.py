"""Bad input gets an error that names the value and the remedy."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from test_registry import SHORT, actions, assert_equal, make, rollout

from mixgym.errors import CheckpointError, CorpusError, MixgymError, UnknownNameError

NANO = "mixgym/NanoPretrain-v0"


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.full(8, np.nan, np.float32), "(?i)nan|finite"),
        (np.full(8, np.inf, np.float32), "inf"),
        (np.zeros(7, np.float32), r"\(7,\)"),
        (np.zeros((8, 1), np.float32), r"\(8, 1\)"),
    ],
)
def test_bad_actions_are_refused_and_change_nothing(action: Any, message: str) -> None:
    env = make(NANO, action_map="softmax").unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(action)
    clean = make(NANO).unwrapped
    clean.reset(seed=0)
    np.testing.assert_array_equal(env.step(np.zeros(8))[0], clean.step(np.zeros(8))[0])


def test_bad_mixtures_are_refused() -> None:
    env = make(NANO, action_map="simplex").unwrapped
    env.reset(seed=0)
    for bad in (np.zeros(8), np.full(8, 0.25), np.array([1.5, -0.5, *[0.0] * 6])):
        with pytest.raises(ValueError):
            env.step(bad.astype(np.float32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"corpus": "nano9"}, "nano8"),
        ({"domains": ["recipe"]}, "recipes"),
        ({"limit": {"pyton": 1000}}, "python"),
        ({"limit": {"python": 0}}, "0"),
        ({"limit": {"python": -5}}, "-5"),
        ({"model": "nanno"}, "did you mean 'nano'"),
        ({"model": {"model_type": "gpt_neoxx"}}, "gpt_neoxx"),
        ({"tokenizer": "byte"}, "bytes"),
        ({"reward": "progres"}, "did you mean 'progress'"),
        ({"action_map": "softmx"}, "did you mean 'softmax'"),
        ({"action_arguments": {"scal": 1.0}}, "scale"),
        ({"observation": "defualt"}, "did you mean 'default'"),
        ({"observation": {"domain": ["trainloss"]}}, "did you mean 'train_loss'"),
        ({"objective": ["recipe"]}, "did you mean 'recipes'"),
        ({"objective": {"recipes": -1.0}}, "-1"),
        ({"objective": {"recipes": 0.0}}, "zero"),
        ({"objective": {"recipes": float("nan")}}, "nan"),
        ({"step_per_decision": 3}, "did you mean 'steps_per_decision'"),
        ({"decisions": 0}, "decisions"),
        ({"steps_per_decision": 1.5}, "1.5"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"validation": "some"}, "objective"),
        ({"render_mode": "human"}, "rgb_array"),
        ({"divergence_penalty": float("inf")}, "inf"),
        ({"batch_size": -1}, "-1"),
        ({"batch_size": True}, "batch_size"),
        ({"learning_rate": "1e-3"}, "must be a number, got '1e-3'"),
        ({"betas": 0.9}, "betas"),
        ({"betas": [0.9, 2]}, "betas"),
        ({"device": "gpu"}, "cuda"),
        ({"warmup_steps": "x"}, "warmup_steps"),
        ({"groups": 5}, "groups must be a mapping"),
        ({"groups": {"g": "wiki_en"}}, r"groups\['g'\] must be a list"),
        ({"groups": {"g": ["wiki_en", "wiki_frr"]}}, r"groups\['g'\].*did you mean 'wiki_fr'"),
        ({"groups": {"g": ["zzz"]}}, "unknown domain in groups.*'zzz'"),
        ({"domains": {"python": 1.0, "recipes": 2.0}}, "weights"),
        ({"domains": "python"}, "domains must be a list"),
        ({"limit": 5}, "limit must be a mapping"),
        ({"objective": 5}, "objective must be.*got 5"),
        ({"reward": None}, "reward must be a name or a mapping, got None"),
        ({"reward": ["progress"]}, "reward must be a name or a mapping"),
        ({"observation": 5}, "observation must be a name or a mapping"),
        ({"action_arguments": 5}, "action_arguments must be a mapping"),
        ({"gradients": 5}, "gradients must be a mapping"),
        ({"evaluation_seed": None}, "evaluation_seed must be a whole number.*None"),
        ({"evaluation_seed": float("nan")}, "evaluation_seed.*nan"),
        ({"evaluation_seed": object()}, "evaluation_seed.*object"),
        ({"evaluation_seed": -1}, "evaluation_seed.*-1"),
        ({"divergence_penalty": "5"}, "divergence_penalty.*'5'"),
    ],
)
def test_bad_arguments_name_value_and_remedy(arguments: dict[str, Any], message: str) -> None:
    from mixgym.envs.nano_pretrain import NanoPretrainEnv

    with pytest.raises((ValueError, MixgymError), match=message):
        NanoPretrainEnv(**{**SHORT, **arguments})


def test_another_corpus_hash_is_refused() -> None:
    with pytest.raises(CorpusError, match="rebuild the corpus"):
        make(NANO, corpus_hash="0" * 64)
    right = make(NANO).unwrapped.corpus.hash  # type: ignore[attr-defined]
    make(NANO, corpus_hash=right)


def test_order_of_calls() -> None:
    env = gym.make(NANO, **SHORT).unwrapped
    with pytest.raises(gym.error.ResetNeeded, match="reset"):
        env.step(np.zeros(8))
    with pytest.raises(gym.error.ResetNeeded, match="reset"):
        env.report()  # type: ignore[attr-defined]
    chosen = [np.zeros(8, np.float32)] * 3
    played = rollout(env, chosen)
    with pytest.raises(gym.error.ResetNeeded, match="ended"):
        env.step(np.zeros(8))
    env.reset(seed=0)
    env.step(np.zeros(8))
    env.close()
    env.close()
    with pytest.raises(MixgymError, match=r"closed: call reset\(\)"):
        env.step(np.zeros(8))
    assert_equal(rollout(env, chosen), played)


def test_reset_options(tmp_path: Any) -> None:
    env = make(NANO)
    with pytest.raises(UnknownNameError, match="did you mean 'mixture'"):
        env.reset(options={"mixtur": "uniform"})
    with pytest.raises(UnknownNameError, match="did you mean 'recipes'"):
        env.reset(options={"mixture": "recipe"})
    _, info = env.reset(seed=0, options={"mixture": {"recipes": 1, "python": 3}})
    assert info["mixture"][[2, 3]].tolist() == [0.25, 0.75]
    trained = make(NANO)
    rollout(trained, actions(trained))
    end = trained.unwrapped.signals.objective_loss  # type: ignore[attr-defined]
    trained.unwrapped.run.save(tmp_path)  # type: ignore[attr-defined]
    for path in (tmp_path, str(tmp_path)):
        _, info = env.reset(seed=9, options={"checkpoint": path})
        assert info["objective_loss"] == end
    for option, value in (("checkpoint", 5), ("mixture", 5)):
        with pytest.raises(ValueError, match=rf"(?s){option}.*got 5"):
            env.reset(options={option: value})
    assert info["step"] == 0
    norms = env.unwrapped.signals.weight_norms  # type: ignore[attr-defined]
    np.testing.assert_array_equal(norms, trained.unwrapped.signals.weight_norms)  # type: ignore[attr-defined]
    other = make(NANO, domains=["recipes", "python"])
    with pytest.raises(CheckpointError, match="corpus"):
        other.reset(options={"checkpoint": str(tmp_path)})


@pytest.mark.parametrize("steps", [1, 20])
@pytest.mark.parametrize("rate", [1e3, 1e6])
def test_divergence_terminates_with_the_documented_penalty(steps: int, rate: float) -> None:
    env = make(
        NANO, learning_rate=rate, warmup_steps=0, clip=1e6, steps_per_decision=steps, decisions=5
    )
    observation, _ = env.reset(seed=0)
    terminated, episode = False, 0
    reward, truncated, info = 0.0, False, {}
    while not terminated:
        episode += 1
        observation, reward, terminated, truncated, info = env.step(np.zeros(8, np.float32))
        assert observation in env.observation_space
    assert episode < 5 and info["diverged"] and not truncated
    assert reward == -5.0
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros(8, np.float32))

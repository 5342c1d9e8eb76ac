"""What other libraries' code does with an environment, without those libraries."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from test_registry import IDS, SHORT, actions, assert_equal, make, rollout

from mixgym.envs.protocol import MixingEnv, Preparable
from mixgym.envs.registration import ENVIRONMENTS
from mixgym.errors import UnknownNameError

NANO = "mixgym/NanoPretrain-v0"


# --- keywords


def test_an_unknown_keyword_is_a_type_error_in_pythons_words() -> None:
    """TorchRL tries `frameskip` and goes on without it by the text of the TypeError."""
    wording = "got an unexpected keyword argument 'frameskip'"
    with pytest.raises(TypeError, match=wording):
        gym.make(NANO, frameskip=1)
    with pytest.raises(UnknownNameError, match=r"argument 'decision': did you mean 'decisions'\?"):
        gym.make(NANO, decision=3)


# --- info


def numbers(info: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = []
    for value in info.values():
        found += numbers(value) if isinstance(value, Mapping) else [value]
    return found


@pytest.mark.parametrize("env_id", [NANO, "mixgym/mo-NanoPretrain-v0", "mixgym/NanoContinual-v0"])
def test_every_number_of_an_info_has_a_dtype(env_id: str) -> None:
    env = make(env_id)
    for info in (env.reset(seed=0)[1], env.step(actions(env)[0])[4]):
        assert "reward" not in info
        for value in numbers(info):
            assert isinstance(value, str) or value.dtype.kind in "fiub"
        assert not info["diverged"]


def test_vector_environments_make_arrays_of_an_infos_numbers() -> None:
    envs: Any = gym.make_vec(NANO, num_envs=2, vectorization_mode="sync", **SHORT)
    _, infos = envs.reset(seed=[1, 2])
    kinds = {"objective_loss": "f", "scalar_reward": "f", "step": "i", "diverged": "b"}
    for name, kind in kinds.items():
        assert infos[name].shape == (2,) and infos[name].dtype.kind == kind
    envs.close()


# --- the length of an episode


def ends(env: Any, n: int = 3) -> list[tuple[bool, bool]]:
    return [step[2:4] for step in rollout(env, actions(env, n))[1:]]


def test_the_specification_has_a_limit_that_no_episode_reaches() -> None:
    assert gym.spec(NANO).max_episode_steps is None
    env = make(NANO)
    spec = env.spec
    assert spec is not None and spec.max_episode_steps == 4
    budget = [(False, False), (False, False), (True, False)]
    assert ends(env) == budget
    for again in (gym.make(spec), gym.make(EnvSpec.from_json(spec.to_json()))):
        assert again.spec is not None and again.spec.max_episode_steps == 4
        assert ends(again) == budget
    cut = make(NANO, max_episode_steps=2)
    assert cut.spec is not None and cut.spec.max_episode_steps == 2
    assert ends(cut, 2) == [(False, False), (False, True)]


def test_wrappers_that_need_the_limit_work() -> None:
    env = gym.wrappers.TimeAwareObservation(make(NANO))
    for step in rollout(env, actions(env)):
        assert step[0] in env.observation_space


# --- actions


@pytest.mark.parametrize("action_map", ["softmax", "ilr", "delta", "dirichlet"])
def test_an_action_outside_the_box_is_clipped(action_map: str) -> None:
    env = make(NANO, action_map=action_map)
    inside = [np.sign(action).astype(np.float32) for action in actions(env)]
    outside = [3 * action for action in inside]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checker's, which names the action
        assert_equal(rollout(env, outside), rollout(env, inside))


# --- groups


def test_a_group_that_a_subset_of_domains_makes_smaller_is_said_so() -> None:
    given: Any = {"groups": {"text": ["recipes", "wiki_en"], "g": ["wiki_fr"]}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert make(NANO, **given).unwrapped.task.groups["g"] == ("wiki_fr",)  # type: ignore
        # An environment's own groups go with its corpus.
        subset: Any = {"domains": ["recipes", "hashes"], "limit": None}
        make("mixgym/MicroTarget-v1", **subset)
    with pytest.warns(UserWarning, match=r"groups\['text'\] is without wiki_en"):
        env: Any = make(NANO, domains=["recipes", "python"], objective="text", **given).unwrapped
    assert env.task.groups == {"text": ("recipes",)}
    assert env.task.objective.tolist() == [1.0, 0.0]


# --- what the rest of mixgym relies on


@pytest.mark.parametrize("env_id", IDS)
def test_environments_offer_the_protocol(env_id: str) -> None:
    env: Any = make(env_id).unwrapped
    assert isinstance(type(env), Preparable)
    assert not isinstance(gym.Env, Preparable)
    assert env.resolve({"decisions": 7, "render_mode": "ansi"}).decisions == 7
    assert env.corpus_hash == env.corpus.hash
    env.verify()
    given = {"decisions": 7, "learning_rate": 0.5}
    found = env.configuration(given)
    assert found["arguments"]["decisions"] == 7 and found["settings"]["learning_rate"] == 0.5
    assert found["model"]["hidden_size"] > 0
    assert found.get("base", "") == getattr(env, "base_hash", "")


def test_an_environment_is_a_mixing_env() -> None:
    env: Any = make(NANO).unwrapped
    env.reset(seed=3)
    assert isinstance(env, MixingEnv) and env.run_seed == 3


def test_ids_with_a_vector_reward_have_a_scalar_one_beside_them() -> None:
    for env_id in ENVIRONMENTS:
        if "/mo-" in env_id:
            assert env_id.replace("mo-", "") in ENVIRONMENTS
    assert "mixgym/mo-MicroTarget-v1" in ENVIRONMENTS

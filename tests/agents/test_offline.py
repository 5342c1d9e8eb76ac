"""The offline agents on the solvable toy: learning, determinism, saving, other domain spaces."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch

if find_spec("d3rlpy") is None or find_spec("minari") is None:
    pytest.skip("needs the extra offline", allow_module_level=True)

from mixgym_agents.offline.encoders import ActorEncoder, CriticEncoder, Shape

from mixgym.agents import make_agent
from mixgym.errors import MixgymError
from mixgym.simplex import make_action_map
from mixgym.trajectories.evaluation import evaluate_policy_offline
from mixgym.trajectories.record import Trajectories
from tests.agents.offline_toy import SCALE, BoxedToy, logged
from tests.agents.toy import average_reward, step

ALGORITHMS = ("cql", "bc", "iql", "td3-bc")
SMALL: dict[str, Any] = {"width": 16, "window": 2, "batch_size": 16, "action_samples": 2}
MLP = {**SMALL, "network": "mlp"}
QUICK: dict[str, Any] = {
    "network": "mlp",
    "width": 32,
    "window": 1,
    "warm_start": 100,
    "batch_size": 64,
    "actor_learning_rate": 3e-3,
    "critic_learning_rate": 3e-3,
    "gamma": 0.0,
    "conservative_weight": 0.05,
    "alpha_learning_rate": 0,
    "initial_temperature": 0.05,
    "action_samples": 4,
}


@pytest.fixture(scope="module")
def data() -> Trajectories:
    return logged(BoxedToy(decisions=10), 12)


def learned(name: str, data: Trajectories, steps: int = 4, **arguments: Any) -> Any:
    agent: Any = make_agent(name, **{**SMALL, "warm_start": 2, **arguments})
    agent.prepare([data], 0)
    if steps:
        agent.learn_offline(steps)
    return agent


def actions(agent: Any, env: Any, decisions: int = 6) -> np.ndarray:
    observation, info = env.reset(seed=5)
    agent.start(env, 5)
    taken = []
    for _ in range(decisions):
        taken.append(agent.act(observation, info))
        observation, *_, info = env.step(taken[-1])
    return np.array(taken)


@pytest.mark.parametrize("network", ["tokens", "mlp"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_parameters_move_and_actions_lie_in_the_box(
    name: str, network: str, data: Trajectories
) -> None:
    agent = learned(name, data, steps=0, network=network)
    before = agent.learner.tensors()
    losses = agent.learn_offline(4)
    after = agent.learner.tensors()
    assert losses and all(np.isfinite(value) for value in losses.values())
    for part in ("imitator",) if name == "bc" else ("policy", "q_funcs"):
        own = [key for key in before if key.startswith(f"algorithm.{part}.")]
        assert any(not torch.equal(before[key], after[key]) for key in own), part
    taken = actions(agent, BoxedToy(decisions=10))
    assert taken.dtype == np.float32 and taken.shape == (6, 4) and np.abs(taken).max() <= 1
    assert len(np.unique(taken, axis=0)) > 1  # it looks at the observation


def test_the_same_seed_gives_the_same_policy_and_globals_are_untouched(
    data: Trajectories,
) -> None:
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[union-attr]
    first = learned("cql", data).learner.tensors()
    np.random.seed(7)
    torch.manual_seed(7)
    drawn = torch.get_rng_state()
    second = learned("cql", data).learner.tensors()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not torch.equal(states[0], drawn)
    agent: Any = make_agent("cql", **SMALL)
    agent.prepare([data], 1)
    other = agent.learner.tensors()
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_resuming_is_exact_even_within_the_warm_start(
    name: str, data: Trajectories, tmp_path: Path
) -> None:
    whole = learned(name, data, steps=7, warm_start=3)
    for cut in (1, 3, 5):
        learned(name, data, steps=cut, warm_start=3).save(tmp_path / str(cut))
        agent = learned(name, data, steps=0, warm_start=3)
        agent.load(tmp_path / str(cut))
        agent.learn_offline(7 - cut)
        ours, theirs = agent.learner.tensors(), whole.learner.tensors()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), cut
    with pytest.raises(MixgymError, match="other settings"):
        learned(name, data, steps=0, warm_start=3, gamma=0.5).load(tmp_path / "5")


@pytest.mark.parametrize("network", ["tokens", "mlp"])
@pytest.mark.parametrize("steps", [1, 4], ids=["cloned", "learned"])
def test_a_saved_policy_acts_bit_for_bit_alike(
    network: str, steps: int, data: Trajectories, tmp_path: Path
) -> None:
    agent = learned("cql", data, steps=steps, network=network)
    agent.set_cost(100, 1.0, 2.0)
    agent.save(tmp_path / "policy")
    env = BoxedToy(decisions=10)
    restored: Any = make_agent("cql", policy=str(tmp_path / "policy"))
    np.testing.assert_array_equal(actions(agent, env), actions(restored, env))
    assert restored.action_map == "softmax"
    assert restored.env_arguments["action_arguments"] == {"scale": SCALE}
    assert restored.tally.total.tokens == 100
    # in the middle of an episode, where the window matters
    observation, info = env.reset(seed=1)
    restored.start(env, 1)
    for _ in range(3):
        observation, _, _, info = step(restored, env, observation, info)
    restored.save(tmp_path / "middle")
    expected = restored.act(observation, info)
    other: Any = make_agent("cql", policy=str(tmp_path / "policy"))
    other.start(env, 1)
    other.load(tmp_path / "middle")
    np.testing.assert_array_equal(other.act(observation, info), expected)


def test_tokens_act_on_other_domains_and_do_not_mind_their_order(
    data: Trajectories, tmp_path: Path
) -> None:
    learned("cql", data, steps=4).save(tmp_path / "tokens")
    agent: Any = make_agent("cql", policy=str(tmp_path / "tokens"))
    assert actions(agent, BoxedToy(K=7, decisions=10)).shape == (6, 7)
    env = BoxedToy(decisions=10)
    observation, info = env.reset(seed=0)
    agent.start(env, 0)
    action = agent.act(observation, info)
    order = [2, 0, 3, 1]
    domains = observation[:8].reshape(4, 2)[order].ravel()
    agent.start(env, 0)
    permuted = agent.act(np.concatenate([domains, observation[8:]]), info)
    np.testing.assert_allclose(permuted, action[order], atol=1e-6)
    learned("cql", data, steps=4, network="mlp").save(tmp_path / "mlp")
    fixed: Any = make_agent("cql", policy=str(tmp_path / "mlp"))
    with pytest.raises(MixgymError, match="network='tokens'"):
        fixed.start(BoxedToy(K=7, decisions=10), 0)


def test_the_critic_sees_the_mixture_and_not_the_null_direction() -> None:
    shape = Shape(K=4, F=2, C=3, window=2, scale=SCALE, dim=4)
    from mixgym_agents.offline.config import OfflineConfig

    torch.manual_seed(0)
    for network in ("tokens", "mlp"):
        config = OfflineConfig(network=network, width=16)  # type: ignore[arg-type]
        critic, x = CriticEncoder(shape, config), torch.randn(5, shape.size)
        action = torch.rand(5, 4) - 0.5
        same = critic(x, action + 0.3)
        torch.testing.assert_close(critic(x, action), same, atol=1e-5, rtol=1e-4)
        assert not torch.allclose(critic(x, action), critic(x, -action), atol=1e-3)
        assert ActorEncoder(shape, config)(x).shape == (5, 8 if network == "tokens" else 16)


def test_windows_are_laid_out_domain_by_domain() -> None:
    shape = Shape(K=2, F=2, C=1, window=2, scale=1.0, dim=2)
    old, new = [1, 2, 3, 4, 9], [5, 6, 7, 8, 10]  # d0: 1 2, d1: 3 4, context 9; ...
    inputs = shape.split(torch.tensor([[*old, *new]], dtype=torch.float32))
    assert inputs.domains[0].tolist() == [[1, 2, 5, 6], [3, 4, 7, 8]]
    assert inputs.context[0].tolist() == [9, 10]


def test_good_episodes_and_held_out_ones(data: Trajectories) -> None:
    agent = learned("cql", data, steps=0, share=0.25, held_out=0.25)
    assert len(agent.held_out) == 3 and len(agent.learner._all) == 9 * 10
    kept = [e for i, e in enumerate(data.episodes) if i not in agent.held_out]
    best = sorted((e.total for e in kept), reverse=True)[:3]  # ceil(.25 * 9)
    good = agent.learner._good
    assert len(good) == 30
    returns = [good.rows.reward[good.episode == i].sum() for i in range(3)]
    scaling = agent.learner.scaling
    expected = [(total - sum(scaling.baseline)) / scaling.scale for total in best]
    np.testing.assert_allclose(returns, expected, rtol=1e-4, atol=1e-4)
    assert learned("bc", data, steps=0, held_out=0.0).held_out == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": "token"}, "did you mean 'tokens'"),
        ({"windw": 3}, "did you mean 'window'"),
        ({"window": 0}, "window=0"),
        ({"width": 10, "heads": 4}, "multiple of heads"),
        ({"reward_scaling": "decisions"}, "did you mean 'decision'"),
        ({"policy": "/nowhere"}, "no saved policy"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((MixgymError, ValueError), match=message):
        make_agent("cql", **arguments)


def test_what_it_cannot_do_it_says(data: Trajectories, tmp_path: Path) -> None:
    agent: Any = make_agent("cql", **SMALL)
    env = BoxedToy(decisions=10)
    env.reset(seed=0)
    with pytest.raises(MixgymError, match="has learned nothing"):
        agent.start(env, 0)
    with pytest.raises(MixgymError, match="--dataset"):
        agent.learn(env, 10)
    learned("bc", data).save(tmp_path / "bc")
    with pytest.raises(MixgymError, match="one of agent 'bc'"):
        make_agent("cql", policy=str(tmp_path / "bc"))
    bc: Any = make_agent("bc", policy=str(tmp_path / "bc"))
    with pytest.raises(MixgymError, match="leave action_map"):
        bc.start(BoxedToy(decisions=10, scale=5.0), 0)
    for other, message in (
        (BoxedToy(K=5, decisions=10), "differ in their observation"),
        (BoxedToy(decisions=10, scale=5.0), "differ in their action map"),
        (BoxedToy(decisions=9), r"differ in their configuration: task.decisions;"),
    ):
        with pytest.raises(MixgymError, match=message):
            agent.prepare([data, logged(other, 2)], 0)
    other = replace(data, metadata={**data.metadata, "resolved": {"arguments": {"reward": "x"}}})
    with pytest.raises(MixgymError, match=r"configuration: arguments.reward;"):
        agent.prepare([data, other], 0)
    with pytest.raises(MixgymError, match=r"episode 0 of .* is episode 0 of .* another --seed"):
        agent.prepare([data, logged(BoxedToy(decisions=10), 1)], 0)
    with pytest.raises(MixgymError, match="without policy="):
        bc.prepare([data], 0)


def test_critics_learn_from_no_action_whose_level_counts(data: Trajectories) -> None:
    noisy = replace(data, action_map=make_action_map("dirichlet", 4))
    with pytest.raises(MixgymError, match="DirichletMap"):
        learned("cql", noisy, steps=0)
    assert np.isfinite(learned("bc", noisy).learn_offline(1)["cloning_loss"])


def test_episodes_of_one_run_are_held_out_together(data: Trajectories) -> None:
    others = logged(BoxedToy(decisions=10), 12, "random-walk")
    agent: Any = make_agent("cql", **{**SMALL, "held_out": 0.25})
    agent.prepare([data, others], 0)
    episodes = [*data.episodes, *others.episodes]
    held = {episodes[index].seed for index in agent.held_out}
    kept = {e.seed for index, e in enumerate(episodes) if index not in agent.held_out}
    assert len(held) == 3 and len(agent.held_out) == 6 and not held & kept


@pytest.mark.parametrize(
    ("validation", "reward", "expected"),
    [
        ("all", "progress", "all"),
        ("reward", "progress", "objective"),
        ("reward", {}, "reward"),
        ("reward", "diversity", "reward"),
    ],
    ids=["all", "needed", "none", "unneeded"],
)
def test_a_policy_asks_for_the_validation_losses_of_its_data(
    validation: str, reward: Any, expected: str, data: Trajectories, tmp_path: Path
) -> None:
    resolved = {"arguments": {"validation": validation, "reward": reward}}
    seen = replace(data, metadata={**data.metadata, "resolved": resolved})
    learned("bc", seen, steps=1).save(tmp_path / "blind")
    assert "validation" not in make_agent("bc", policy=str(tmp_path / "blind")).env_arguments
    layout = replace(data.layout, scalar_features=("objective_loss",))
    learned("bc", replace(seen, layout=layout), steps=1).save(tmp_path / "policy")
    policy = make_agent("bc", policy=str(tmp_path / "policy"))
    assert policy.env_arguments["validation"] == expected


def test_cql_soon_beats_its_behaviour() -> None:
    env = BoxedToy()
    data = logged(env, 60)
    agent: Any = make_agent("cql", **QUICK)
    agent.prepare([data], 0)
    agent.learn_offline(300)
    behaviour = data.returns.mean() / env.task.decisions
    assert average_reward(agent, env) > max(0.5, behaviour + 0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "steps"), [("mlp", 2000), ("tokens", 1200)], ids=["mlp", "tokens"]
)
def test_cql_solves_the_toy_from_random_data(network: str, steps: int) -> None:
    """Within 10 % of the optimum (1), from behaviour that is worse than uniform (0)."""
    env = BoxedToy()
    data = logged(env, 100)
    assert data.returns.mean() / env.task.decisions < 0
    agent: Any = make_agent("cql", **{**QUICK, "network": network, "blocks": 0})
    agent.prepare([data], 0)
    agent.learn_offline(steps)
    reached = [average_reward(agent, env, seed) for seed in (1000, 1001, 1002)]
    assert np.mean(reached) > 0.9


@pytest.mark.slow
def test_fitted_q_evaluation_agrees_with_playing() -> None:
    """The estimate from logged data is what the policy then returns, within its interval."""
    env = BoxedToy(decisions=5)
    data = logged(env, 240)
    agent: Any = make_agent("bc", **{**QUICK, "gamma": 0.9, "held_out": 0.5, "share": 0.2})
    agent.prepare([data], 0)
    agent.learn_offline(300)
    held = [data.episodes[index] for index in agent.held_out]
    result = evaluate_policy_offline(agent.learner, held, steps=800, replicates=3, seed=0)
    played = []
    for seed in range(200):
        observation, info = env.reset(seed=10_000 + seed)
        agent.start(env, seed)
        total, done, t = 0.0, False, 0
        while not done:
            observation, reward, done, info = step(agent, env, observation, info)
            total, t = total + 0.9**t * float(reward), t + 1
        played.append(total)
    deviation = float(np.std(data.returns))
    assert abs(result.fitted[0] - np.mean(played)) < 0.25 * deviation
    discounted = np.mean([0.9 ** np.arange(5) @ episode.rewards for episode in held])
    assert result.behaviour[0] == pytest.approx(discounted)
    _, low, high = result.fitted
    assert low is not None and high is not None and low <= high
    assert result.initial_value is None


def test_evaluation_wants_enough(data: Trajectories) -> None:
    agent = learned("cql", data, held_out=0.3)
    held = [data.episodes[index] for index in agent.held_out]
    with pytest.raises(MixgymError, match="too few to evaluate"):
        evaluate_policy_offline(agent.learner, held[:1])
    with pytest.raises(MixgymError, match="steps=10 is too few"):
        evaluate_policy_offline(agent.learner, held, steps=10)
    asked: list[int] = []

    def fitted(*_: Any, steps: int, **__: Any) -> float:
        asked.append(steps)
        return 0.0

    with patch("mixgym.trajectories.evaluation._fitted_value", fitted):
        evaluate_policy_offline(agent.learner, held, replicates=0)
        evaluate_policy_offline(agent.learner, held, replicates=0, target_update=300)
    assert asked == [2000, 2 * 10 * 300]  # of 10 decisions
    result = evaluate_policy_offline(
        agent.learner, held, steps=20, replicates=2, target_update=2, batch_size=8
    )
    again = evaluate_policy_offline(
        agent.learner, held, steps=20, replicates=2, target_update=2, batch_size=8
    )
    assert result == again and result.initial_value is not None
    assert result.undiscounted == pytest.approx(np.mean([e.total for e in held]))

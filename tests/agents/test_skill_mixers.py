"""`naive`, `dbl`, `skill-it`, `aioli` and `oracle-lookahead`: rules by hand, and in real runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mixgym_agents.proxies.store
import numpy as np
import pytest
from mixgym_agents.mixers.naive import Naive
from mixgym_agents.proxies.aioli import Aioli, interaction_matrix, normalised, probe_mixtures
from mixgym_agents.proxies.dbl import DynamicBatchLoading
from mixgym_agents.proxies.oracle_lookahead import OracleLookahead
from mixgym_agents.proxies.skill_it import SkillIt, skill_graph

from mixgym.agents import make_agent
from mixgym.errors import CheckpointError, MixgymError, UnknownNameError
from tests.agents.short import make

NATURAL = np.array([0.6, 0.3, 0.08, 0.02])
NOTHING = np.zeros(0)


def rollout(agent: Any, env: Any, decisions: int = 3) -> np.ndarray:
    actions = []
    for _ in range(decisions):
        actions.append(agent.act(NOTHING, {}))
        assert env.action_space.contains(actions[-1])
        env.step(actions[-1])
    return np.array(actions)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(mixgym_agents.proxies.store, "cache_root", lambda: tmp_path)
    return tmp_path / "proxies"


# --- naive


def test_naive_is_the_target_alone(task: Any) -> None:
    target = [0, 30 / 38, 8 / 38, 0]
    np.testing.assert_allclose(Naive().choose(task), target)
    np.testing.assert_allclose(Naive().choose(replace(task, groups={})), target)
    np.testing.assert_allclose(Naive(target="law").choose(task), [0, 0, 1, 0])
    both = replace(task, objective=np.array([0.25, 0.25, 0.25, 0.25]))  # source and target count
    np.testing.assert_allclose(Naive().choose(both), target)


# --- dbl


def dbl(task: Any, **arguments: Any) -> DynamicBatchLoading:
    agent = DynamicBatchLoading(losses=[2.0, 1.0, 1.5, 3.0], **arguments)
    agent.forget(task)
    return agent


def test_dbl_follows_its_equation(task: Any) -> None:
    agent = dbl(task, eta=0.7, smoothing=1e-2)
    weights, last = NATURAL, np.zeros(4)
    history = [[2.5, 0.8, 2.0, 4.0], [2.2, np.nan, 1.4, 3.5], [1.9, 1.3, np.nan, 3.2]]
    for losses in history:
        for i in range(4):
            if np.isfinite(losses[i]):
                last[i] = max(losses[i] - [2.0, 1.0, 1.5, 3.0][i], 0.0)
        raised = [weights[i] * np.exp(0.7 * last[i]) for i in range(4)]
        weights = np.array([0.99 * raised[i] / sum(raised) + 0.01 / 4 for i in range(4)])
        agent.weights = agent.updated(agent.weights, np.array(losses))
        np.testing.assert_allclose(agent.weights, weights, rtol=1e-12)


def test_dbl_in_numbers_worked_by_hand(task: Any) -> None:
    agent = dbl(task, smoothing=0.0, initial="uniform")
    # differences 1, -.5, 0, 0
    losses = np.array([3.0, 0.5, 1.5, 3.0])
    got = agent.updated(np.full(4, 0.25), losses)
    e = np.exp(1.0)
    np.testing.assert_allclose(got, np.array([e, 1, 1, 1]) / (e + 3))
    released = dbl(task, smoothing=0.0, initial="uniform", clip=False)
    got = released.updated(np.full(4, 0.25), losses)
    np.testing.assert_allclose(got, np.array([e, np.exp(-0.5), 1, 1]) / (e + np.exp(-0.5) + 2))


def test_dbl_updates_every_decision_from_given_losses() -> None:
    env = make(validation="all")
    given = {"recipes": 1.0, "python": 9.0, "icd10": 5.0}
    agent = DynamicBatchLoading(losses=given, initial="uniform", smoothing=0.0)
    agent.start(env, 0)
    weights = np.full(3, 1 / 3)
    for decision in range(3):
        action = agent.act(NOTHING, {})
        if decision:
            losses = env.unwrapped.signals.validation_loss.astype(float)
            raised = weights * np.exp(np.maximum(losses - [1.0, 9.0, 5.0], 0))
            weights = raised / raised.sum()
        np.testing.assert_allclose(action, weights, rtol=1e-5)
        env.step(action)
    assert weights[0] > 0.9
    assert env.unwrapped.ledger.accounts["proxy"].tokens == 0


def test_dbl_measures_its_references_on_the_ledger() -> None:
    bills = []
    agent, env = DynamicBatchLoading(reference={"recipes": 1.0}, steps=3), make(validation="all")
    for _ in range(2):  # trained, then read from the cache
        env.reset(seed=0)
        agent.start(env, 0)
        agent.act(NOTHING, {})
        bills.append(env.unwrapped.ledger.accounts["proxy"].tokens)
    assert bills == [3 * 4 * 16 + 3 * 2 * 16] * 2
    twin = agent.proxy(env.unwrapped, agent._seed)
    twin.advance([1.0, 0.0, 0.0], 3)
    np.testing.assert_array_equal(agent.expected, twin.evaluate(windows=2))


def test_dbl_says_what_it_needs() -> None:
    assert dict(make_agent("dbl").env_arguments) == {"validation": "all"}
    with pytest.raises(MixgymError, match="validation='all'"):
        DynamicBatchLoading().start(make(), 0)
    env = make(validation="all")
    with pytest.raises(UnknownNameError, match="did you mean 'recipes'"):
        DynamicBatchLoading(losses={"recipe": 1.0}).start(env, 0)
    with pytest.raises(ValueError, match="one finite number for each of recipes, python, icd10"):
        DynamicBatchLoading(losses={"recipes": 1.0}).start(env, 0)
    with pytest.raises(ValueError, match="one finite number"):
        DynamicBatchLoading(losses=[1.0, 2.0]).start(env, 0)
    with pytest.raises(ValueError, match="recipe"):
        DynamicBatchLoading(initial="recipe").start(env, 0)


# --- skill-it


def test_skill_it_follows_its_equation(task: Any) -> None:
    before = np.array([2.0, 4.0])
    after = np.array([[1.0, 4.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0]])
    graph = skill_graph(before, after)
    np.testing.assert_allclose(graph, [[0.5, 0], [0, 0.75], [0, 0.25], [0, 0.5]])
    agent = SkillIt(eta=0.3, window=2)
    agent.forget(task)
    agent.graph = graph
    # the objective counts two domains, half each, so that their factor 2 x .5 is one
    first = np.exp(0.3 * np.array([0.5, 0.75, 0.25, 0.5]))
    np.testing.assert_allclose(agent.weights(task), first / first.sum())
    agent.history = [[1.5, 3.0], [1.0, 2.0]]
    sums = (2.5, 5.0)
    powers = [np.exp(0.3 * sum(graph[i, j] * sums[j] for j in range(2))) for i in range(4)]
    np.testing.assert_allclose(agent.weights(task), np.array(powers) / sum(powers))


def test_skill_it_learns_its_graph_from_one_proxy_a_domain(cache: Path) -> None:
    env = make(objective=["recipes", "icd10"])
    agent = SkillIt(steps=4, window=2)
    agent.start(env, 0)
    actions = rollout(agent, env)
    inner = env.unwrapped
    graph = agent.graph
    assert graph is not None
    untrained = agent.proxy(inner, agent._seed)
    before = untrained.evaluate(windows=2)
    for i in range(3):
        twin = agent.proxy(inner, agent._seed)
        twin.advance(np.eye(3)[i], 4)
        after = twin.evaluate(windows=2)
        for column, j in enumerate((0, 2)):
            expected = max(0.0, (before[j] - after[j]) / before[j])
            assert graph[i, column] == pytest.approx(expected, abs=1e-12)
    assert graph[0, 0] > 0
    assert len(agent.history) == 2 and not np.array_equal(actions[0], actions[1])
    # three proxies and four measurements of two domains
    assert inner.ledger.accounts["proxy"].tokens == 3 * 4 * 4 * 16 + 4 * 2 * 2 * 16
    with pytest.raises(MixgymError, match="validation='objective'"):
        unmeasured = make(validation="reward", reward={"alignment": 1.0}, observation="minimal")
        blind = SkillIt(steps=4)
        blind.start(unmeasured, 0)
        rollout(blind, unmeasured, 2)


# --- aioli


def test_probe_mixtures_by_hand() -> None:
    expected = [[0.7, 0.15, 0.15], [0.15, 0.7, 0.15], [0.15, 0.15, 0.7]]
    np.testing.assert_allclose(probe_mixtures(3, 0.7), expected)
    np.testing.assert_allclose(probe_mixtures(4, 1.0), np.eye(4))


def test_the_interaction_matrix_undoes_the_smoothing() -> None:
    known = np.array([[0.5, 0.1, -0.2], [0.0, 0.3, 0.4]])  # loss i under a step on domain j alone
    probes = probe_mixtures(3, 0.7)
    decreases = np.array(
        [[sum(known[i, j] * probes[p, j] for j in range(3)) for i in range(2)] for p in range(3)]
    )
    np.testing.assert_allclose(interaction_matrix(decreases, probes), known, atol=1e-12)


def test_aioli_follows_its_equations(task: Any) -> None:
    matrices = np.array([[[0.3, 0.1, -0.1, 0.2], [0.0, 0.5, 0.1, 0.1]],
                         [[0.1, 0.2, 0.3, 0.0], [0.2, 0.0, 0.1, 0.2]]])  # fmt: skip
    agent = Aioli(eta=2.0, ema=0.25)
    agent.forget(task)
    first = (matrices[0] + 0.1) / (matrices[0] + 0.1).sum()
    np.testing.assert_allclose(normalised(matrices[0]), first)
    second = 0.75 * matrices[1] / matrices[1].sum() + 0.25 * first
    for matrix, averaged in zip(matrices, (first, second), strict=True):
        powers = np.exp(2.0 * (averaged[0] + averaged[1]))
        got = agent.updated(NATURAL, matrix, task)
        np.testing.assert_allclose(got, powers / powers.sum())
    plain = Aioli(eta=2.0, ema=None, normalise=False)
    plain.forget(task)
    powers = NATURAL * np.exp(2.0 * (matrices[0][0] + matrices[0][1]))
    got = plain.updated(NATURAL, matrices[0], task)
    np.testing.assert_allclose(got, powers / powers.sum())


def test_aioli_probes_a_fork_and_leaves_the_run_alone() -> None:
    plain, probed = make(), make()
    agent = Aioli(interval=2, rounds=1, probe_steps=4, share=0.8)
    agent.start(probed, 0)
    inner = probed.unwrapped
    rng = np.random.default_rng([agent._seed, 0])
    order = np.random.default_rng([agent._seed, 0]).permutation(3)
    twin = make().unwrapped.run
    twin.total_steps = 12
    decreases, before = np.zeros((3, 3)), twin.evaluate(windows=2)
    for j in order:  # one after the other on one fork
        twin.advance(probe_mixtures(3, 0.8)[j], 4)
        after = twin.evaluate(windows=2)
        decreases[j], before = before - after, after
    expected = np.linalg.solve(probe_mixtures(3, 0.8), decreases).T
    np.testing.assert_allclose(agent.estimate(inner, rng), expected, rtol=1e-9)
    probes = inner.ledger.accounts["proxy"].tokens
    assert probes == 3 * 4 * 4 * 16 + 4 * 3 * 2 * 16
    rollout(agent, probed, 1)
    plain.step(agent.played.astype(np.float32))
    np.testing.assert_array_equal(inner.signals.train_loss, plain.unwrapped.signals.train_loss)
    rollout(agent, probed, 1)  # decision 1 is between two estimates
    assert inner.ledger.accounts["proxy"].tokens == 2 * probes
    agent.act(NOTHING, {})  # decision 2: two steps are left, twelve are probed
    assert inner.ledger.accounts["proxy"].tokens == 3 * probes


def test_aioli_needs_probes_that_tell_domains_apart() -> None:
    with pytest.raises(ValueError, match="more than 1/K"):
        Aioli(share=1 / 3).start(make(), 0)


# --- oracle-lookahead


def test_the_oracle_plays_the_candidate_that_turns_out_best() -> None:
    env = make(objective="icd10", decisions=2, steps_per_decision=20)
    agent = OracleLookahead(candidates=["recipes", "python", "icd10"], move=0.5)
    agent.start(env, 0)
    inner = env.unwrapped
    tried = agent.proposals(inner.task, 0)
    assert len(tried) == 7
    action = agent.act(NOTHING, {})
    outcomes = []
    for mixture in tried:
        fork = inner.fork()
        _, _, _, _, info = fork.step(mixture.astype(np.float32))
        outcomes.append(info["objective_loss"])
    np.testing.assert_array_equal(action, tried[int(np.argmin(outcomes))].astype(np.float32))
    _, _, _, _, info = env.step(action)
    assert info["objective_loss"] == min(outcomes)
    assert action[2] >= 0.5  # the objective's own domain helps it most
    assert inner.ledger.accounts["proxy"].tokens == 7 * (20 * 4 * 16 + 2 * 16)


def test_the_oracle_looks_no_further_than_the_budget_and_forks_change_nothing() -> None:
    plain, watched = make(), make()
    agent = OracleLookahead(candidates=[], move=0.0, draws=1, horizon=2, interval=2)
    agent.start(watched, 0)
    actions = rollout(agent, watched)
    for action in actions:
        plain.step(action)
    np.testing.assert_array_equal(
        plain.unwrapped.signals.train_loss, watched.unwrapped.signals.train_loss
    )
    # two candidates at decisions 0 (two decisions ahead) and 2 (one is left)
    tokens = 2 * ((4 + 2) * 4 * 16 + 2 * 3 * 2 * 16)
    assert watched.unwrapped.ledger.accounts["proxy"].tokens == tokens
    np.testing.assert_array_equal(actions[0], actions[1])


# --- all of them

EVERY: dict[str, dict[str, Any]] = {
    "naive": {},
    "dbl": {"steps": 2},
    "skill-it": {"steps": 2},
    "aioli": {"interval": 2, "rounds": 1, "probe_steps": 1},
    "oracle-lookahead": {"draws": 1},
}


@pytest.mark.parametrize("name", EVERY)
def test_a_reloaded_agent_continues_identically(name: str, tmp_path: Path) -> None:
    state = np.random.get_state()[1].copy()  # type: ignore[index]
    env = make(**make_agent(name, **EVERY[name]).env_arguments)
    agent = make_agent(name, **EVERY[name])
    agent.start(env, 1)
    rollout(agent, env, 1)
    agent.save(tmp_path / "agent.json")
    other = env.unwrapped.fork()
    twin = make_agent(name, **EVERY[name])
    twin.start(other, 1)
    twin.load(tmp_path / "agent.json")
    np.testing.assert_array_equal(rollout(agent, env, 2), rollout(twin, other, 2))
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # type: ignore[index]
    (tmp_path / "agent.json").write_text("[]")
    with pytest.raises(CheckpointError):
        twin.load(tmp_path / "agent.json")

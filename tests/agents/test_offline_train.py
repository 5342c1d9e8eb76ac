"""`mixgym train --dataset`, and its policies in `mixgym evaluate` and runs, on real data."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from typer.testing import CliRunner

if find_spec("d3rlpy") is None or find_spec("minari") is None:
    pytest.skip("needs the extra offline", allow_module_level=True)

import mixgym  # noqa: F401  (registers the environments)
from mixgym.agents import make_agent
from mixgym.commands.main import app
from mixgym.errors import MixgymError
from mixgym.experiment.request import AgentSpec
from mixgym.train import policy_agent
from mixgym.train.offline import OfflineRequest, _accounts, train_offline
from mixgym.trajectories import load_trajectories
from mixgym.trajectories.evaluation import evaluate_policy_offline, offline_policy
from mixgym.trajectories.explain import explain_policy
from tests.agents.toy import driven
from tests.trajectories.in_process import TINY, collect_here

ENV = "mixgym/NanoPretrain-v0"
SMALL: dict[str, Any] = {
    "width": 8,
    "window": 2,
    "batch_size": 8,
    "action_samples": 2,
    "warm_start": 2,
    "held_out": 0.5,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dataset") / "out"
    collect_here("mixed", 4, out)
    return out


def request(dataset: Path, agent: str = "cql", **arguments: Any) -> OfflineRequest:
    return OfflineRequest(AgentSpec(agent, agent, {**SMALL, **arguments}), (str(dataset),), 1)


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "out"
    train_offline(request(dataset), out, 6, save_every=2)
    return out


def tensors(out: Path) -> str:
    policy = json.loads((out / "cost.json").read_text())["policy"]
    return json.loads((out / policy / "policy.json").read_text())["tensors"]["sha256"]


def test_the_cost_is_collecting_and_learning(trained: Path, dataset: Path) -> None:
    cost, data = json.loads((trained / "cost.json").read_text()), load_trajectories(dataset)
    assert cost["tokens"] == data.cost["tokens"] == sum(cost["accounts"].values())
    assert cost["flops"] == data.cost["flops"]
    assert cost["seconds"] == pytest.approx(data.cost["seconds"] + cost["learning"]["seconds"])
    assert [row["steps"] for row in cost["losses"]] == [2, 4, 6]
    assert cost["episodes"] == 4 and cost["decisions"] == 12


def test_a_policy_that_logged_two_datasets_costs_once(dataset: Path) -> None:
    data = load_trajectories(dataset)

    def by_policy(tokens: int) -> Any:
        agent = {"tokens": tokens, "flops": 2.0, "seconds": 3.0}
        episodes = [
            replace(e, facts={**e.facts, "ledger": {**e.facts["ledger"], "agent": agent}})
            for e in data.episodes
        ]
        return replace(data, episodes=tuple(episodes))

    train = data.metadata["accounts"]["train"]["tokens"]
    accounts = _accounts([by_policy(5), by_policy(5), by_policy(7)])
    assert accounts["train"]["tokens"] == 3 * train
    assert accounts["agent"] == {"tokens": 12, "flops": 4.0, "seconds": 6.0}


def test_killed_at_any_save_it_resumes_exactly(
    trained: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    for number, target in enumerate(
        ("mixgym_agents.learning.store.write_json", "mixgym.train.saving._remove")
    ):
        out = tmp_path / str(number)
        train_offline(request(dataset), out, 4, save_every=2)

        def killed(*_: Any, **__: Any) -> None:
            raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(target, killed)
            train_offline(request(dataset), out, 6, save_every=2, resume=True)
        train_offline(request(dataset), out, 6, save_every=2, resume=True)
        assert tensors(out) == tensors(trained), target
    with pytest.raises(MixgymError, match="another training"):
        train_offline(request(dataset, gamma=0.5), tmp_path / "0", 6, resume=True)


def test_a_policy_drives_a_run_and_answers_for_its_cost(trained: Path) -> None:
    agent = make_agent("cql", **policy_agent(trained).arguments)
    arguments = {**TINY, "domains": ["python", "recipes", "wiki_en", "math_synth"]}
    env = gym.make(
        ENV,
        disable_env_checker=True,
        action_map=agent.action_map,
        **{**arguments, **agent.env_arguments},
    )
    rewards, _, info = driven(agent, env)
    cost = json.loads((trained / "cost.json").read_text())
    assert rewards == [0.0] * 3 and info["mixture"].shape == (4,)
    assert info["ledger"]["agent"]["tokens"] == cost["tokens"]
    env.close()


def test_bad_requests_are_refused(trained: Path, dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(MixgymError, match="not empty"):
        train_offline(request(dataset), trained, 8)
    with pytest.raises(MixgymError, match="steps is 0"):
        train_offline(request(dataset), tmp_path / "a", 0)
    with pytest.raises(MixgymError, match="does not learn from trajectories"):
        natural = OfflineRequest(AgentSpec("natural", "natural"), (str(dataset),))
        train_offline(natural, tmp_path / "b", 1)
    twice = OfflineRequest(AgentSpec("bc", "bc", SMALL), (str(dataset), str(dataset)))
    with pytest.raises(MixgymError, match="given twice"):
        train_offline(twice, tmp_path / "c", 1)
    old = OfflineRequest(AgentSpec("cql", "cql", {"policy": str(trained)}), (str(dataset),))
    with pytest.raises(MixgymError, match="without policy="):
        train_offline(old, tmp_path / "d", 1)
    assert not (tmp_path / "d" / "config.json").exists()
    with pytest.raises(MixgymError, match="at least one --dataset"):
        OfflineRequest(AgentSpec("bc", "bc"), ())


def test_a_saved_policy_is_evaluated_on_what_it_held_out(trained: Path, dataset: Path) -> None:
    _, learned, held_out = offline_policy(trained, [dataset])
    result = evaluate_policy_offline(learned, held_out, steps=150, replicates=0)
    assert result.episodes == 2 and result.initial_value is not None
    other = dataset.parent / "other"
    shutil.copytree(dataset, other)
    collect_here("mixed", 3, other, resume=True)
    with pytest.raises(MixgymError, match="not from the datasets given"):
        offline_policy(trained, [other])


def test_a_saved_policy_is_explained_where_it_held_out(
    trained: Path, dataset: Path, tmp_path: Path
) -> None:
    data, learned, held_out = offline_policy(trained, [dataset])
    found = explain_policy(learned, data[0], held_out, states=5)
    np.testing.assert_allclose(found.mixtures.sum(axis=1), 1.0, rtol=1e-6)
    assert found.states == 5 and "train_loss" in found.features
    assert np.abs(found.responses).max() > 0
    figure = tmp_path / "policy.png"
    command = ["trajectories", "explain", str(trained), "--dataset", str(dataset)]
    result = CliRunner().invoke(app, [*command, "--states", "5", "--figure", str(figure)])
    assert result.exit_code == 0, result.output
    assert figure.read_bytes().startswith(b"\x89PNG") and "train_loss" in result.output


def test_the_commands(trained: Path, dataset: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    out = tmp_path / "policy"
    command = ["train", f"cql:{json.dumps(SMALL)}", "--dataset", str(dataset), "--seed", "1"]
    result = runner.invoke(app, [*command, "--steps", "6", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert tensors(out) == tensors(trained)
    for bad, message in (
        ([*command, "--out", "x", "--env", "NanoPretrain-v0", "--steps", "1"], "leave out --env"),
        ([*command, "--out", "x"], "give --steps"),
        (["train", "cql", "--out", "x"], "--dataset DIR"),
        (["train", "cql", "--out", "x", "--steps", "2"], "give --dataset"),
    ):
        result = runner.invoke(app, bad)
        assert result.exit_code != 0 and message in str(result.exception)


@pytest.mark.slow
def test_evaluate_and_compare_take_the_policy(trained: Path, tmp_path: Path) -> None:
    from mixgym.compare import compare

    arms = ["natural", f"cql:{{policy: {trained}}}"]
    result = compare(ENV, arms, out=tmp_path / "out", seeds=1, env_arguments=TINY, workers=1)
    cost = json.loads((trained / "cost.json").read_text())
    rows = list(csv.DictReader((tmp_path / "out" / "summary.csv").read_text().splitlines()))
    assert {row["agent"]: row["agent_tokens"] for row in rows} == {
        "natural": "0",
        "cql": str(cost["tokens"]),
    }
    assert len(result.summary) == 2

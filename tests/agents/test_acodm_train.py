"""`mixgym train`, `mixgym evaluate` and saved policies in `mixgym compare`, on real runs."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from mixgym_agents.acodm.agent import AcOdm
from typer.testing import CliRunner

import mixgym  # noqa: F401  (registers the environments)
from mixgym.agents import make_agent
from mixgym.commands.main import app
from mixgym.errors import MixgymError
from mixgym.experiment.request import AgentSpec
from mixgym.train import TrainingRequest, policy_agent, train_agent
from tests.agents.toy import driven
from tests.tiny import ENV, TINY

SMALL: dict[str, Any] = {"network": "tokens", "width": 8, "updates_per_decision": 2}
TRAIN_TOKENS = 3 * 2 * 16 * 64  # decisions, steps, sequences, context


def request(**arguments: Any) -> TrainingRequest:
    return TrainingRequest(AgentSpec("acodm", "acodm", {**SMALL, **arguments}), ENV, TINY, seed=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "out"
    train_agent(request(), out, 2)
    return out


def same_policy(first: Path, second: Path) -> bool:
    folders = [
        folder / json.loads((folder / "cost.json").read_text())["policy"]
        for folder in (first, second)
    ]
    records = [json.loads((folder / "policy.json").read_text()) for folder in folders]
    for record in records:
        current = record["scalars"]["current_run"].values()
        for cost in (record["scalars"]["cost"], *current):
            cost.pop("seconds")
        record.pop("digest")
    return records[0] == records[1]


def test_the_entry_points_are_installed():
    assert make_agent("acodm", gamma=0.9).name == "acodm"
    assert make_agent("untrained-actor").name == "untrained-actor"
    with pytest.raises(MixgymError, match="did you mean 'gamma'"):
        make_agent("acodm", gama=0.9)


def test_training_books_every_token(trained):
    cost = json.loads((trained / "cost.json").read_text())
    assert cost["episodes"] == 2 and cost["decisions"] == 6
    assert cost["accounts"]["train"] == 2 * TRAIN_TOKENS
    assert cost["accounts"]["reward"] > 0 and cost["accounts"]["evaluation"] == 0
    assert cost["tokens"] == sum(cost["accounts"].values())
    assert cost["flops"] > 0 and cost["seconds"] > 0
    seeds = [run["seed"] for run in cost["runs"]]
    assert len(set(seeds)) == 2 and 1 not in seeds
    # what the agent itself has counted is the same
    saved = AcOdm(policy=str(trained))._saved
    assert saved is not None and saved.scalars["cost"]["tokens"] == cost["tokens"]
    assert saved.scalars["cost"]["flops"] == cost["flops"]


def test_resuming_equals_never_having_stopped(trained, tmp_path):
    out = tmp_path / "out"
    train_agent(request(), out, 1)
    assert train_agent(request(), out, 2, resume=True)["episodes"] == 2
    assert same_policy(out, trained)
    assert len(list(out.glob("policy-*"))) == 1
    # nothing left to do
    assert train_agent(request(), out, 2, resume=True)["episodes"] == 2


def test_a_training_killed_at_any_moment_resumes_exactly(trained, tmp_path, monkeypatch):
    """Killed in the second episode; between the policy and its cost; in writing the policy."""

    class Killed(BaseException):
        pass

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    for number, target in enumerate(
        (
            "mixgym.envs.pretrain.PretrainEnv.step",
            "mixgym.train.saving.write_json",
            "mixgym_agents.learning.store.write_json",
        )
    ):
        out = tmp_path / str(number)
        train_agent(request(), out, 1)
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(target, killed)
            train_agent(request(), out, 2, resume=True)
        train_agent(request(), out, 2, resume=True)
        assert same_policy(out, trained), target


def test_bad_requests_are_refused(trained, tmp_path):
    with pytest.raises(MixgymError, match="not empty"):
        train_agent(request(), trained, 3)
    with pytest.raises(MixgymError, match="another training"):
        train_agent(request(gamma=0.5), trained, 3, resume=True)
    with pytest.raises(MixgymError, match="episodes is 0"):
        train_agent(request(), tmp_path / "a", 0)
    with pytest.raises(MixgymError, match="did you mean 'mixgym/NanoPretrain-v0'"):
        TrainingRequest(AgentSpec("acodm", "acodm"), "NanoPretrian-v0")
    natural = TrainingRequest(AgentSpec("natural", "natural"), ENV, TINY)
    with pytest.raises(MixgymError, match="does not learn"):
        train_agent(natural, tmp_path / "b", 1)
    with pytest.raises(MixgymError, match="no saved policy"):
        policy_agent(tmp_path)


def test_a_policy_drives_a_run_without_rewards(trained):
    """Proxy mode: another model and other domains; nothing is measured for a reward."""
    agent = AcOdm(policy=str(trained))
    env = gym.make(
        ENV,
        disable_env_checker=True,
        action_map="simplex",
        **{**TINY, "domains": ["python", "recipes", "wiki_en", "math_synth"], "model": "micro"},
        **agent.env_arguments,
    )
    rewards, _, info = driven(agent, env)
    assert rewards == [0.0] * 3 and info["mixture"].shape == (4,)
    cost = json.loads((trained / "cost.json").read_text())
    assert info["ledger"]["agent"]["tokens"] == cost["tokens"]
    env.close()


@pytest.mark.parametrize(
    ("reward", "released"),
    [("progress", "none"), ("alignment", "none"), ("alignment", "all")],
)
def test_non_proxy_mode_learns_in_the_run_itself(reward, released):
    agent = AcOdm(**SMALL, released=released, reward=reward, observation="acodm")
    env = gym.make(
        ENV, disable_env_checker=True, action_map="simplex", **TINY, **agent.env_arguments
    )
    rewards, _, _ = driven(agent, env)
    assert agent.learner is not None
    stored = agent.learner.replay.all().reward
    assert stored.shape == (2, 3 if released == "all" else 1)
    if released == "none":
        np.testing.assert_allclose(stored[:, 0], rewards[:2], rtol=1e-5)
    else:
        assert np.abs(stored.sum(axis=1)).max() < 1e-4 < np.abs(stored).max()
    assert agent.metrics.keys() == {"critic_loss", "actor_loss"}
    env.close()


def test_the_commands(trained, tmp_path):
    runner = CliRunner()
    arguments = [f"--env-arg={key}={json.dumps(value)}" for key, value in TINY.items()]
    out = tmp_path / "policy"
    agent = f"acodm:{json.dumps(SMALL)}"
    command = ["train", agent, "--env", "NanoPretrain-v0", "--out", str(out), "--seed", "1"]
    result = runner.invoke(app, [*command, "--episodes", "1", *arguments])
    assert result.exit_code == 0, result.output
    result = runner.invoke(app, [*command, "--episodes", "2", "--resume", *arguments])
    assert result.exit_code == 0, result.output
    assert "2 episodes" in result.output.replace("\n", " ")
    assert same_policy(out, trained)

    evaluation = tmp_path / "evaluation"
    command = ["evaluate", str(out), "--env", "NanoPretrain-v0", "--seeds", "2"]
    result = runner.invoke(app, [*command, "--workers", "1", "--out", str(evaluation), *arguments])
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader((evaluation / "summary.csv").read_text().splitlines()))
    cost = json.loads((out / "cost.json").read_text())
    assert [row["agent_tokens"] for row in rows] == [str(cost["tokens"])] * 2
    assert {row["agent"] for row in rows} == {"acodm"}


def test_a_policy_that_was_trained_on_is_another_policy(trained, tmp_path):
    copied = tmp_path / "copy"
    shutil.copytree(trained, copied)
    before = policy_agent(copied)
    assert before == policy_agent(copied) and before.arguments["policy"] == str(copied)
    train_agent(request(), copied, 3, resume=True)
    assert policy_agent(copied).arguments["digest"] != before.arguments["digest"]
    with pytest.raises(MixgymError, match="was asked for"):
        make_agent("acodm", **before.arguments)


@pytest.mark.slow
def test_compare_accepts_a_saved_policy(trained, tmp_path):
    from mixgym.compare import compare

    arms = ["natural", "untrained-actor", f"proxy=acodm:{{policy: {trained}}}"]
    result = compare(ENV, arms, out=tmp_path / "out", seeds=1, env_arguments=TINY, workers=1)
    tokens = {row.agent: row.agent_tokens for row in result.summary}
    cost = json.loads((trained / "cost.json").read_text())
    assert tokens == {"natural": 0, "untrained-actor": 0, "proxy": cost["tokens"]}

"""Collecting real episodes in processes: round trip, resuming, damage."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from typer.testing import CliRunner

from mixgym.errors import MixgymError
from mixgym.experiment.request import parse_agent
from mixgym.files import read_json, write_json
from mixgym.trajectories import (
    collect,
    load_trajectories,
    normalised_scores,
    set_reference_scores,
)
from mixgym.trajectories.collect import _pinned, episode_path
from mixgym.trajectories.episode import run_episode
from mixgym.trajectories.record import read_episode, write_episode
from mixgym.trajectories.request import members_of
from mixgym.trajectories.show import split_by_reward, summarise
from tests.trajectories.in_process import TINY, collect_here

minari = pytest.importorskip("minari")
pytest.importorskip("h5py")

ENV = "mixgym/NanoPretrain-v0"
BEHAVIOUR = "mixed:{members: [random-walk, heuristic, odm-exp3]}"
TRAIN_TOKENS = 3 * 2 * 16 * 64  # decisions, steps, sequences, context


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("collected") / "out"
    collect_here(BEHAVIOUR, 3, out)
    return out


@pytest.fixture
def copied(collected: Path, tmp_path: Path) -> Path:
    shutil.copytree(collected, tmp_path / "out")
    return tmp_path / "out"


def test_what_is_logged_is_what_the_environment_did(collected: Path) -> None:
    data = load_trajectories(collected)
    assert [e.behaviour for e in data.episodes] == ["random-walk", "heuristic", "odm-exp3"]
    assert data.env == ENV and data.task.names == tuple(TINY["domains"])
    # the actions, played again in the recovered environment, give every number again
    env = minari.MinariDataset(str(collected / "datasets" / data.dataset_id / "data"))
    env = env.recover_environment()
    for episode in data.episodes:
        observation, info = env.reset(seed=episode.seed)
        np.testing.assert_array_equal(observation, episode.observations[0])
        for t, action in enumerate(episode.actions):
            observation, reward, ended, _, info = env.step(action)
            np.testing.assert_array_equal(observation, episode.observations[t + 1])
            np.testing.assert_array_equal(info["mixture"], episode.mixtures[t])
            assert reward == episode.rewards[t] == episode.infos["reward_terms/progress"][t + 1]
            assert ended == episode.terminations[t]
    env.close()


def test_the_cost_is_every_token_of_every_episode(collected: Path) -> None:
    data = load_trajectories(collected)
    accounts = data.metadata["accounts"]
    assert accounts["train"]["tokens"] == 3 * TRAIN_TOKENS
    assert accounts["reward"]["tokens"] > 0 and accounts["evaluation"]["tokens"] == 0
    assert data.cost["tokens"] == sum(account["tokens"] for account in accounts.values())
    assert data.cost["flops"] > 0 and data.cost["seconds"] > 0


def _documented_d3rlpy(root: Path, dataset_id: str) -> str:
    """The script of docs/trajectories.md up to its learning, for another dataset."""
    docs = (Path(__file__).parents[2] / "docs" / "trajectories.md").read_text()
    script = "import os" + docs.split("```python\nimport os")[1].split("cql =")[0]
    wanted = {
        '"random/datasets"': repr(str(root)),
        "mixgym/NanoPretrain/random-walk-v0": dataset_id,
    }
    for stated, ours in wanted.items():
        assert stated in script
        script = script.replace(stated, ours)
    return script


def test_minari_loads_it_and_d3rlpy_reads_it(
    collected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec("d3rlpy") is None:
        pytest.skip("needs the extra offline")
    from mixgym.trajectories.library import d3rlpy

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(collected / "datasets"))
    dataset = minari.load_dataset("mixgym/NanoPretrain/mixed-v0")
    assert dataset.total_episodes == 3 and dataset.total_steps == 9
    assert "mixgym/NanoPretrain/mixed-v0" in minari.list_local_datasets()
    d3rlpy()
    scope: dict[str, Any] = {}
    exec(_documented_d3rlpy(collected / "datasets", "mixgym/NanoPretrain/mixed-v0"), scope)
    buffer = scope["data"]
    assert buffer.transition_count == 9  # none dropped: the budget's end is terminal
    for ours, theirs in zip(dataset.iterate_episodes(), buffer.episodes, strict=True):
        np.testing.assert_array_equal(theirs.observations, ours.observations[:-1])
        np.testing.assert_array_equal(theirs.actions, ours.actions)
        np.testing.assert_allclose(theirs.rewards.ravel(), ours.rewards, rtol=1e-6)
    assert load_trajectories("mixgym/NanoPretrain/mixed-v0").dataset_id == dataset.spec.dataset_id


def test_a_worker_process_resumes_and_repeats_no_episode(copied: Path, collected: Path) -> None:
    kept = [episode_path(copied, index) for index in (0, 2)]
    times = [path.stat().st_mtime_ns for path in kept]
    episode_path(copied, 1).unlink()  # as if killed in it
    partial = copied / "episodes" / ".000001.safetensors.x.tmp"
    partial.write_bytes(b"half")
    with pytest.raises(MixgymError, match="not empty"):
        collect(ENV, BEHAVIOUR, 3, copied, env_arguments=TINY)
    collect(ENV, BEHAVIOUR, 3, copied, env_arguments=TINY, workers=1, resume=True)
    assert [path.stat().st_mtime_ns for path in kept] == times and not partial.exists()
    before, after = load_trajectories(collected), load_trajectories(copied)
    assert before.metadata["digest"] == after.metadata["digest"]
    with pytest.raises(MixgymError, match=r"another collection.*seed"):
        collect(ENV, BEHAVIOUR, 3, copied, env_arguments=TINY, resume=True, seed=1)


def test_fewer_episodes_are_the_first_ones(copied: Path, collected: Path) -> None:
    """Nothing is run: no worker could start in this little time."""
    collect(ENV, BEHAVIOUR, 2, copied, env_arguments=TINY, resume=True)
    data = load_trajectories(copied)
    assert data.returns.tolist() == load_trajectories(collected).returns[:2].tolist()


def test_an_episode_file_round_trips_and_a_cut_one_is_noticed(
    collected: Path, tmp_path: Path
) -> None:
    episode = read_episode(episode_path(collected, 1))
    write_episode(tmp_path / "e.safetensors", episode)
    again = read_episode(tmp_path / "e.safetensors")
    assert again.facts == episode.facts and again.index == 1
    for name, values in episode.infos.items():
        np.testing.assert_array_equal(values, again.infos[name])
        assert values.dtype == again.infos[name].dtype
    content = (tmp_path / "e.safetensors").read_bytes()
    (tmp_path / "e.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(MixgymError, match="not a whole episode"):
        read_episode(tmp_path / "e.safetensors")


def _edit(folder: Path, name: str, change: Any) -> None:
    import h5py

    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        dataset: Any = file[f"episode_1/{name}"]
        values = dataset[()]
        dataset[...] = change(values)


def _redigest(folder: Path) -> None:
    """Make the digest right again, so that the other checks are reached."""
    from mixgym.trajectories.dataset import _trajectory, content_digest

    dataset = minari.MinariDataset(str(folder / "data"))
    metadata = read_json(folder / "data" / "metadata.json")
    facts = metadata["mixgym"]["episodes"]
    episodes = [_trajectory(e, f) for e, f in zip(dataset.iterate_episodes(), facts, strict=True)]
    metadata["mixgym"]["digest"] = content_digest(episodes)
    write_json(folder / "data" / "metadata.json", metadata)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("rewards", lambda x: x + np.nan, "rewards are not all finite"),
        ("observations", lambda x: x + np.inf, "observations are not all finite"),
        ("actions", lambda x: x * 0 + 2, "outside"),
        ("actions", lambda x: -x, "action stands for"),
        ("terminations", lambda x: x & False, "ends nothing"),
        ("terminations", lambda x: x | True, "goes on"),
        ("infos/mixture", lambda x: x * 0.9, "sums to"),
        ("infos/mixture", lambda x: x - 1, "negative"),
        ("infos/reward_terms/progress", lambda x: x + np.inf, "reward_terms/progress"),
        ("infos/scalar_reward", lambda x: x + 1, "not the rewards"),
    ],
    ids=[
        *("nan-reward", "infinite-observation", "action-outside", "other-action", "no-end"),
        *("early-end", "sum", "negative", "infinite-term", "other-reward"),
    ],
)
def test_damaged_datasets_are_refused(name: str, change: Any, message: str, copied: Path) -> None:
    folder = copied / "datasets" / "mixgym/NanoPretrain/mixed-v0"
    _edit(folder, name, change)
    if not name.startswith("infos"):
        with pytest.raises(MixgymError, match="digest"):
            load_trajectories(copied)
        _redigest(folder)
    with pytest.raises(MixgymError, match=message):
        load_trajectories(copied)


@pytest.mark.parametrize("damage", ["data", "infos", "metadata", "facts", "missing"])
def test_resuming_repairs_a_damaged_dataset(damage: str, copied: Path, collected: Path) -> None:
    folder = copied / "datasets" / "mixgym/NanoPretrain/mixed-v0"
    metadata = folder / "data" / "metadata.json"
    if damage == "data":
        _edit(folder, "rewards", lambda x: x + 1)
    elif damage == "infos":
        _edit(folder, "infos/epochs", lambda x: x + 1)
    elif damage == "metadata":
        metadata.write_text("{")
    elif damage == "facts":
        content = read_json(metadata)
        content["mixgym"]["cost"]["tokens"] += 1
        write_json(metadata, content)
    else:
        (folder / "data" / "main_data.hdf5").unlink()
    with pytest.raises(MixgymError):
        load_trajectories(copied)
    collect(ENV, BEHAVIOUR, 3, copied, env_arguments=TINY, resume=True)
    ours, theirs = load_trajectories(copied), load_trajectories(collected)
    assert ours.metadata == theirs.metadata


def test_a_relative_folder_is_where_one_stands(
    copied: Path, collected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(copied / "datasets")
    monkeypatch.chdir(copied.parent)
    collect_here(BEHAVIOUR, 3, Path("out"), resume=True)
    again, before = load_trajectories("out"), load_trajectories(collected)
    assert again.metadata["digest"] == before.metadata["digest"]


def test_a_refused_dataset_id_is_not_kept(copied: Path, tmp_path: Path) -> None:
    other = "mixgym/NanoPretrain/mixed-v0"
    with pytest.raises(MixgymError, match="another collection"):
        collect_here(
            "dirichlet", 1, tmp_path / "b", dataset_id=other, datasets_path=copied / "datasets"
        )
    assert not (tmp_path / "b" / "config.json").exists()


def test_policies_are_pinned_by_path_and_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(tmp_path / "run/cost.json", {"policy": "policy-1"})
    write_json(tmp_path / "run/policy-1/policy.json", {"agent": "cql", "digest": "abc"})
    (tmp_path / "foreign").mkdir()
    monkeypatch.chdir(tmp_path)
    pinned = {"policy": str(tmp_path / "run"), "digest": "abc"}
    assert _pinned(parse_agent("cql:{policy: run}")).arguments == pinned
    assert _pinned(parse_agent("cql:{policy: run, digest: old}")).arguments["digest"] == "old"
    foreign = {"policy": str(tmp_path / "foreign")}
    assert _pinned(parse_agent("other:{policy: foreign}")).arguments == foreign
    mixed = parse_agent("mixed:{members: [dirichlet, 'cql:{policy: run}']}")
    assert [member.arguments for member in members_of(_pinned(mixed))] == [{}, pinned]
    assert _pinned(parse_agent("mixed")) == parse_agent("mixed")


def test_actions_outside_the_box_are_logged_inside(tmp_path: Path) -> None:
    class Edge:
        action_map = None

        def __init__(self, value: float) -> None:
            self.value = value

        def start(self, env: Any, seed: int) -> None:
            pass

        def act(self, observation: Any, info: Any) -> Any:
            return np.array([self.value, -self.value, 0.0], np.float32)

        def observe(self, *seen: Any) -> None:
            pass

    env = gym.make(ENV, disable_env_checker=True, **{**TINY, "decisions": 1})
    member = parse_agent("natural")
    beyond = float(np.nextafter(np.float32(1), np.float32(2)))
    for value in (beyond, 1.5):
        assert np.abs(run_episode(env, Edge(value), member, 0).actions).max() == 1.0
    with pytest.raises(ValueError, match=r"action\[0\] is nan"):
        run_episode(env, Edge(np.nan), member, 0)
    env.close()


def test_other_things_than_our_datasets_are_refused(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(MixgymError, match="no dataset of trajectories"):
        load_trajectories(tmp_path / "nothing")
    with pytest.raises(MixgymError, match="was asked for"):
        load_trajectories(copied, corpus_hash="other")
    metadata = copied / "datasets/mixgym/NanoPretrain/mixed-v0/data/metadata.json"
    content = read_json(metadata)
    content.pop("mixgym")
    write_json(metadata, content)
    with pytest.raises(MixgymError, match="not made by mixgym collect"):
        load_trajectories(copied)


def test_reference_scores(copied: Path) -> None:
    expert = copied.parent / "expert"
    shutil.copytree(copied, expert)
    first, second = load_trajectories(copied), load_trajectories(expert)
    with pytest.raises(MixgymError, match="not above"):
        set_reference_scores([], random=copied, expert=expert)
    best = int(np.argmax(first.returns))
    for index in range(3):
        shutil.copy(episode_path(copied, best), episode_path(expert, index))
    from mixgym.trajectories.dataset import assemble
    from mixgym.trajectories.request import CollectionRequest

    env = gym.make(ENV, **TINY)
    request = CollectionRequest.from_json(second.metadata)
    episodes = [read_episode(episode_path(expert, index)) for index in range(3)]
    assemble(episodes, env, request, second.dataset_id, expert / "datasets")
    low, high = set_reference_scores([copied], random=copied, expert=expert)
    assert (low, high) == (first.returns.mean(), first.returns.max())
    # (r - random) / (expert - random), in Minari's own words too
    dataset = minari.MinariDataset(str(copied / "datasets/mixgym/NanoPretrain/mixed-v0/data"))
    theirs = 100 * minari.get_normalized_score(dataset, first.returns)
    np.testing.assert_allclose(normalised_scores(first.returns, low, high), theirs)
    assert summarise(load_trajectories(expert))[0].score == pytest.approx(100.0)
    assemble(episodes, env, request, second.dataset_id, expert / "datasets")
    assert load_trajectories(expert).metadata["ref_max_score"] == high  # kept
    env.close()


def test_mixtures_split_by_reward(collected: Path) -> None:
    episodes = load_trajectories(collected).episodes
    found = split_by_reward(episodes)
    up, down = [], []
    for t in range(3):
        mean = np.mean([e.rewards[t] for e in episodes])
        for e in episodes:
            (up if e.rewards[t] > mean else down).append(e.mixtures[t])
    np.testing.assert_allclose(found.rising, np.mean(up, axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.falling, np.mean(down, axis=0), rtol=1e-12)
    assert found.counts == (len(up), len(down)) and sum(found.counts) == 9
    with pytest.raises(MixgymError, match="did you mean 'zero'"):
        split_by_reward(episodes, "zeros")


def test_the_commands(collected: Path, tmp_path: Path) -> None:
    from mixgym.commands.main import app

    runner = CliRunner()
    figure = tmp_path / "split.png"
    result = runner.invoke(app, ["trajectories", "show", str(collected), "--figure", str(figure)])
    assert result.exit_code == 0, result.output
    assert "odm-exp3" in result.output and figure.read_bytes()[1:4] == b"PNG"
    command = ["collect", "NanoPretrain-v0", "--behaviour", BEHAVIOUR, "--episodes", "3"]
    command += [f"--env-arg={key}={json.dumps(value)}" for key, value in TINY.items()]
    result = runner.invoke(app, [*command, "--out", str(collected), "--resume"])
    assert result.exit_code == 0, result.output
    assert "random-walk" in result.output


@pytest.mark.slow
def test_killed_hard_and_resumed(tmp_path: Path) -> None:
    """kill -9 while episodes are being logged: finished ones stay, none is doubled."""
    command = [sys.executable, "-m", "mixgym.commands.main", "collect", "NanoPretrain-v0"]
    command += ["--behaviour", "dirichlet", "--episodes", "6", "--workers", "1"]
    command += [f"--env-arg={k}={json.dumps(v)}" for k, v in {**TINY, "decisions": 12}.items()]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen([*command, "--out", str(killed)], start_new_session=True)
    deadline = time.monotonic() + 300
    while not episode_path(killed, 1).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = sorted((killed / "episodes").glob("*.safetensors"))
    assert done and not (killed / "dataset.json").exists()
    times = [path.stat().st_mtime_ns for path in done]
    subprocess.run([*command, "--out", str(killed), "--resume"], check=True)
    assert [path.stat().st_mtime_ns for path in done] == times
    subprocess.run([*command, "--out", str(whole), "--workers", "2"], check=True)
    first, second = load_trajectories(killed), load_trajectories(whole)
    assert first.metadata["digest"] == second.metadata["digest"] and len(first) == 6


@pytest.mark.slow
def test_a_local_ray_cluster_logs_the_same_episodes(collected: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    collect(ENV, BEHAVIOUR, 3, tmp_path / "out", env_arguments=TINY, workers=1, ray=True)
    ours, theirs = load_trajectories(tmp_path / "out"), load_trajectories(collected)
    assert ours.metadata["digest"] == theirs.metadata["digest"]

"""Logging one episode: the environment in its own box, a behaviour or an agent that plays it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from mixgym.agents import make_agent
from mixgym.errors import MixgymError
from mixgym.experiment.environment import (
    Wanted,
    corpus_hash,
    make_environment,
    mixing_environment,
)
from mixgym.experiment.request import AgentSpec
from mixgym.experiment.rollout import rollout
from mixgym.simplex import Simplex
from mixgym.trajectories.behaviours import BEHAVIOURS, make_behaviour
from mixgym.trajectories.players import player_of
from mixgym.trajectories.record import SEPARATOR, Trajectory, write_episode
from mixgym.trajectories.request import CollectionRequest

Progress = Callable[[int, int], None]


def collect_episode(
    request: CollectionRequest, index: int, path: Path, on_progress: Progress | None = None
) -> None:
    """Run episode `index` of a collection and write it to `path`.

    Raises:
        MixgymError: the corpus is not the request's.
    """
    member = request.member(index)
    env, player = build(request, member)
    try:
        if request.corpus_hash and corpus_hash(env) != request.corpus_hash:
            raise MixgymError(
                f"corpus hash is {corpus_hash(env)}, but this collection has "
                f"{request.corpus_hash}: rebuild its corpus, or choose another --out"
            )
        episode = run_episode(env, player, member, request.episode_seed(index), index, on_progress)
    finally:
        env.close()
    facts = {**episode.facts, "request": request.digest, "corpus_hash": request.corpus_hash}
    write_episode(path, Trajectory(**{**vars(episode), "facts": facts}))


def build(request: CollectionRequest, member: AgentSpec) -> tuple[gym.Env[Any, Any], Any]:
    """Make a request's environment and a member's behaviour or agent.

    The environment keeps its own observation and reward whatever an agent wants: all members of a
    dataset must see and earn the same. Gradients that an agent needs are measured besides.
    """
    player: Any
    wanted = Wanted()
    if member.agent in BEHAVIOURS:
        player = make_behaviour(member.agent, member.arguments)
    else:
        player = make_agent(member.agent, **member.arguments)
        measured = {k: v for k, v in player.env_arguments.items() if k == "gradients"}
        wanted = Wanted(env_arguments=measured)
    return make_environment(request.env, request.env_arguments, wanted), player


def run_episode(
    env: gym.Env[Any, Any],
    player: Any,
    member: AgentSpec,
    seed: int,
    index: int = 0,
    on_progress: Progress | None = None,
) -> Trajectory:
    """Play one episode and return it.

    Args:
        env: a mixgym environment with a box of actions; its infos must hold `mixture`.
        player: a `Behaviour` or an agent.
        member: what the player was made from.
        seed: of the run, the behaviour and the agent, which draw from streams of their own.
        index: number of the episode.
        on_progress: called after every decision with decisions done and their number.

    Raises:
        MixgymError: the environment is not a mixing environment with a box of actions.
    """
    inner = mixing_environment(env)
    if isinstance(env.action_space, Simplex):
        raise MixgymError(
            f"{inner} takes mixtures, but logged actions are points of a box: make it with another "
            "action_map"
        )
    started = time.perf_counter()
    actor = player_of(player)
    observations, infos, actions, rewards, ends = [], [], [], [], []
    info: dict[str, Any] = {}
    for step in rollout(env, actor, seed):
        info = step.info
        observations.append(np.array(step.observation, np.float32))
        infos.append(_flat(info))
        if step.action is None:
            continue
        actions.append(step.action)
        rewards.append(float(step.reward))
        ends.append((step.terminated, step.truncated))
        if on_progress is not None:
            on_progress(step.decision, inner.task.decisions)
    ledger = getattr(inner, "ledger", None)
    return Trajectory(
        index=index,
        observations=np.stack(observations),
        actions=np.stack(actions),
        rewards=np.array(rewards, dtype=np.float64),
        terminations=np.array([end[0] for end in ends]),
        truncations=np.array([end[1] for end in ends]),
        infos=_stacked(infos),
        facts={
            "seed": seed,
            "behaviour": {"name": member.agent, "arguments": member.arguments},
            "return": float(np.sum(rewards)),
            "diverged": bool(info.get("diverged", False)),
            "ledger": {} if ledger is None else ledger.to_json(),
            "seconds": time.perf_counter() - started,
        },
    )


def _flat(info: Mapping[str, Any], prefix: str = "") -> dict[str, NDArray[Any]]:
    """Numbers of an info as arrays, nested names joined; text and empty arrays are left out."""
    flat: dict[str, NDArray[Any]] = {}
    for name, value in info.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}{SEPARATOR}")
            continue
        array = np.array(value)
        if array.dtype.kind in "fiub" and array.size:
            flat[f"{prefix}{name}"] = array
    return flat


def _stacked(infos: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """(T + 1, ...) arrays of what every info of the episode holds, in the same shape."""
    first = infos[0]
    kept = [
        name
        for name, value in first.items()
        if all(name in info and info[name].shape == value.shape for info in infos)
    ]
    return {name: np.stack([info[name] for info in infos]) for name in kept}

"""One run: an environment, an agent and a seed, executed into a folder."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import mixgym  # noqa: F401  (registers the environments)
from mixgym.agents import make_agent
from mixgym.compare.runfolder import (
    CONFIG,
    MetricsWriter,
    finished_result,
    write_actions,
    write_result,
)
from mixgym.envs.arguments import with_wanted
from mixgym.errors import MixgymError
from mixgym.experiment.configuration import configuration_differences, resolved_configuration
from mixgym.experiment.provenance import git_revision, library_versions
from mixgym.experiment.request import RunRequest
from mixgym.files import write_json
from mixgym.rewards.vector import penalty_vector, scalar_reward

Progress = Callable[[dict[str, Any]], None]
TIMING_STEPS = 8
_REPORTED = ("domain_loss", "objective_loss", "worst_domain", "worst_domain_loss")


def make_environment(
    request: RunRequest, action_map: str | None, wanted: Mapping[str, Any] | None = None
) -> gym.Env[Any, Any]:
    """Build a request's environment with the action map and the arguments its agent wants.

    The request's own arguments come before `wanted` ones. The passive checker is left out: it
    would be timed as the environment's own overhead.
    """
    arguments = with_wanted(request.env_arguments, wanted or {})
    if action_map is not None:
        arguments["action_map"] = action_map
    return gym.make(request.env, disable_env_checker=True, **arguments)


def check_corpus(env: gym.Env[Any, Any], request: RunRequest) -> None:
    """Raise `MixgymError` unless the environment's corpus is the one the request names."""
    found = env.unwrapped.corpus.hash  # type: ignore[attr-defined]
    if found != request.corpus_hash:
        raise MixgymError(
            f"corpus hash is {found}, but this run was made with {request.corpus_hash}: the text "
            "is not the same; rebuild the corpus that the run used, or start a new comparison"
        )


def check_configuration(env: gym.Env[Any, Any], request: RunRequest) -> None:
    """Raise `MixgymError` naming the keys in which presets or defaults are not the request's.

    A request that does not know its configuration (of an older mixgym) passes.
    """
    if not request.resolved:
        return
    now = resolved_configuration(env, request.env_arguments)
    differences = configuration_differences(request.resolved, now)
    if differences:
        raise MixgymError(
            f"presets or defaults are not those of this run: {'; '.join(differences)}. Give these "
            "arguments, or use the version of mixgym that made it"
        )


def as_action(action: Any) -> NDArray[np.float32]:
    """An action as the float32 that is stored, so that a replay feeds the environment the same."""
    return np.array(action, dtype=np.float32)


def execute_run(
    request: RunRequest,
    directory: Path,
    on_progress: Progress | None = None,
    timing_steps: int = TIMING_STEPS,
) -> dict[str, Any]:
    """Run one episode into `directory` and return its result; a finished equal run is returned.

    `on_progress` is called after reset and after every decision with decision, decisions, step
    and objective. `timing_steps` steps of the bare training loop are timed before and after the
    episode, on copies, so that overhead is measured under the load the run itself had; 0 skips
    it. A diverged run finishes and says so. Raises `MixgymError` if the folder holds another
    finished run, or if the corpus or the resolved configuration is not the request's.
    """
    stored = finished_result(directory, request)
    if stored is not None:
        return stored
    directory.mkdir(parents=True, exist_ok=True)
    agent = make_agent(request.agent.agent, **request.agent.arguments)
    env = make_environment(request, agent.action_map, agent.env_arguments)
    try:
        check_corpus(env, request)
        check_configuration(env, request)
        write_json(directory / CONFIG, {**request.to_json(), **_context(env, agent)})
        return _episode(request, directory, env, agent, on_progress, timing_steps)
    finally:
        env.close()


def _context(env: gym.Env[Any, Any], agent: Any) -> dict[str, Any]:
    spec = env.unwrapped.spec
    return {
        "action_map": agent.action_map,
        "agent_env_arguments": dict(agent.env_arguments),
        "env_spec": json.loads(spec.to_json()) if spec is not None else None,
        "versions": library_versions(),
        "git": git_revision(),
    }


def _episode(
    request: RunRequest,
    directory: Path,
    env: gym.Env[Any, Any],
    agent: Any,
    on_progress: Progress | None,
    timing_steps: int,
) -> dict[str, Any]:
    inner: Any = env.unwrapped
    started = time.perf_counter()
    observation, info = env.reset(seed=request.seed)
    agent.start(env, request.seed)
    task = inner.task
    setup_seconds = time.perf_counter() - started
    bare = [_bare_milliseconds(inner, timing_steps)]

    actions: list[NDArray[np.float32]] = []
    mixtures = [np.array(info["mixture"])]
    milliseconds: list[float] = []
    act_seconds = episode_return = 0.0
    term_returns: dict[str, float] = {}
    writer = MetricsWriter(directory, task.names)
    episode_started = time.perf_counter()
    try:
        _record(writer, 0, inner, info, math.nan, 0.0)
        _report_progress(on_progress, 0, task.decisions, info)
        done = False
        while not done:
            before = time.perf_counter()
            action = as_action(agent.act(observation, info))
            decided = time.perf_counter()
            apart, step = _seconds_apart(inner), info["step"]
            observation, given, terminated, truncated, info = env.step(action)
            reward = scalar_reward(given, info)
            _add_terms(term_returns, given, info, inner.reward_weights)
            done = terminated or truncated
            stepped = time.perf_counter() - decided
            act_seconds += decided - before
            episode_return += reward
            actions.append(action)
            mixtures.append(np.array(info["mixture"]))
            if info["step"] > step:
                own = stepped - (_seconds_apart(inner) - apart)
                milliseconds.append(1000.0 * own / (info["step"] - step))
            wall = time.perf_counter() - episode_started
            _record(writer, len(actions), inner, info, reward, wall)
            _report_progress(on_progress, len(actions), task.decisions, info)
        writer.finish()
    except BaseException:
        writer.abandon()
        raise
    write_actions(directory, actions)
    report = inner.report(split="test")
    seconds = setup_seconds + time.perf_counter() - episode_started
    bare.append(_bare_milliseconds(inner, timing_steps))

    per_step = float(np.median(milliseconds)) if milliseconds else math.nan
    bare_per_step = float(np.mean(bare))
    result = {
        "env": request.env,
        "agent": request.agent.label,
        "seed": request.seed,
        "objective_test_loss": report["objective_loss"],
        "worst_domain": report["worst_domain"],
        "worst_domain_test_loss": report["worst_domain_loss"],
        "domain_test_loss": dict(zip(task.names, report["domain_loss"], strict=True)),
        "final_objective_validation_loss": info["objective_loss"],
        "return": episode_return,
        "term_returns": term_returns,
        "decisions": len(actions),
        "steps": info["step"],
        "diverged": bool(info["diverged"]),
        "epochs": dict(zip(task.names, info["epochs"], strict=True)),
        "starved": [name for name, x in zip(task.names, info["starved"], strict=True) if x],
        "mixture_movement": _movement(np.stack(mixtures)),
        "ledger": _accounts(inner),
        "parameters": inner.run.n_parameters,
        "seconds": seconds,
        "agent_act_seconds": act_seconds,
        "ms_per_step": per_step,
        "bare_ms_per_step": bare_per_step,
        "overhead": per_step / bare_per_step,
        "corpus_hash": request.corpus_hash,
        "configuration": request.configuration,
        "version": request.version,
    }
    # What an environment reports beyond losses: retention, gain and probes of the continual ones.
    if own := {key: value for key, value in report.items() if key not in _REPORTED}:
        result["report"] = own
    write_result(directory, result)
    return result


def _add_terms(
    returns: dict[str, float], reward: Any, info: dict[str, Any], weights: NDArray[np.float64]
) -> None:
    """Add a decision's reward terms to their returns; of a vector reward its own entries.

    A scalar reward's penalty for divergence is shared out among the terms as in a vector reward.
    """
    terms = info.get("reward_terms", {})
    if np.ndim(reward):
        values = np.asarray(reward).tolist()
    elif info["diverged"]:
        values = penalty_vector(weights.tolist(), -float(info["scalar_reward"])).tolist()
    else:
        values = list(terms.values())
    for name, value in zip(terms, values, strict=True):
        returns[name] = returns.get(name, 0.0) + float(value)


def _record(
    writer: MetricsWriter,
    decision: int,
    inner: Any,
    info: dict[str, Any],
    reward: float,
    wall: float,
) -> None:
    scalars = {
        "decision": decision,
        "step": info["step"],
        "objective_validation_loss": info["objective_loss"],
        "reward": reward,
        "train_seconds": inner.ledger.accounts["train"].seconds,
        "wall_seconds": wall,
    }
    writer.append(scalars, info)


def _report_progress(
    on_progress: Progress | None, decision: int, decisions: int, info: dict[str, Any]
) -> None:
    if on_progress is not None:
        objective = float(info["objective_loss"])
        on_progress(
            {
                "decision": decision,
                "decisions": decisions,
                "step": int(info["step"]),
                "objective": objective if math.isfinite(objective) else None,
            }
        )


def _seconds_apart(inner: Any) -> float:
    """Seconds spent so far on rewards and evaluation, which are no overhead of a training step."""
    accounts = inner.ledger.accounts
    return accounts["reward"].seconds + accounts["evaluation"].seconds


def _bare_milliseconds(inner: Any, steps: int) -> float:
    if steps < 1:
        return math.nan
    from mixgym.lm.bare import bare_milliseconds_per_step

    return bare_milliseconds_per_step(inner.run, steps)


def _accounts(inner: Any) -> dict[str, dict[str, float]]:
    return {
        name: {"tokens": x.tokens, "flops": x.flops, "seconds": x.seconds}
        for name, x in inner.ledger.accounts.items()
    }


def _movement(mixtures: NDArray[np.float64]) -> float:
    """Mean total-variation distance between the mixtures of successive decisions, 0 to 1.

    `mixtures` has shape (decisions + 1, K); its first row, the mixture at reset, is not an
    agent's choice and is left out. Zero means a constant mixture.
    """
    chosen = mixtures[1:]
    if len(chosen) < 2:
        return 0.0
    return float(0.5 * np.abs(np.diff(chosen, axis=0)).sum(axis=1).mean())

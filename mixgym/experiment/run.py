"""One run: an environment, an agent and a seed, executed into a folder."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from mixgym.agents import make_agent
from mixgym.errors import MixgymError
from mixgym.experiment.configuration import configuration_differences, resolved_configuration
from mixgym.experiment.environment import corpus_hash, make_environment
from mixgym.experiment.provenance import git_revision, library_versions
from mixgym.experiment.request import RunRequest
from mixgym.experiment.rollout import Player, rollout
from mixgym.experiment.runfolder import (
    CONFIG,
    MetricsWriter,
    RunResult,
    finished_result,
    read_result,
    write_actions,
    write_result,
)
from mixgym.files import write_json
from mixgym.rewards.vector import penalty_vector, scalar_reward

Progress = Callable[[dict[str, Any]], None]
TIMING_STEPS = 8
_REPORTED = ("domain_loss", "objective_loss", "worst_domain", "worst_domain_loss")


def check_corpus(env: gym.Env[Any, Any], request: RunRequest) -> None:
    """Raise `MixgymError` unless the environment's corpus is the one the request names."""
    found = corpus_hash(env)
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


def execute_run(
    request: RunRequest,
    directory: Path,
    on_progress: Progress | None = None,
    timing_steps: int = TIMING_STEPS,
) -> RunResult:
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
    env = make_environment(request.env, request.env_arguments, agent)
    try:
        check_corpus(env, request)
        check_configuration(env, request)
        config = {**request.to_json(), **_context(env, agent)}
        write_json(directory / CONFIG, config, digest=True)
        _episode(request, directory, env, agent, on_progress, timing_steps)
    finally:
        env.close()
    return read_result(directory)


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
) -> None:
    inner: Any = env.unwrapped
    timed = Stopwatch(agent, env)
    started = time.perf_counter()
    steps = rollout(env, timed, request.seed)
    first = next(steps)
    task = inner.task
    setup_seconds = time.perf_counter() - started
    bare = [_bare_milliseconds(inner, timing_steps)]

    actions: list[NDArray[np.float32]] = []
    mixtures = [np.array(first.info["mixture"])]
    info, episode_return = first.info, 0.0
    term_returns: dict[str, float] = {}
    writer = MetricsWriter(directory, task.names)
    episode_started = time.perf_counter()
    try:
        _record(writer, 0, inner, first.info, math.nan, 0.0)
        _report_progress(on_progress, 0, task.decisions, first.info)
        for step in steps:
            assert step.action is not None
            info, reward = step.info, scalar_reward(step.reward, step.info)
            actions.append(step.action)
            mixtures.append(np.array(info["mixture"]))
            episode_return += reward
            _add_terms(term_returns, step.reward, info, inner.reward_weights)
            wall = time.perf_counter() - episode_started
            _record(writer, step.decision, inner, info, reward, wall)
            _report_progress(on_progress, step.decision, task.decisions, info)
        writer.finish()
    except BaseException:
        writer.abandon()
        raise
    write_actions(directory, actions)
    report = inner.report(split="test")
    seconds = setup_seconds + time.perf_counter() - episode_started
    bare.append(_bare_milliseconds(inner, timing_steps))

    per_step = float(np.median(timed.milliseconds)) if timed.milliseconds else math.nan
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
        "agent_act_seconds": timed.act_seconds,
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


class Stopwatch:
    """A player that acts as `agent` does and measures what acting and stepping took.

    Attributes:
        act_seconds: of all calls of `act`.
        milliseconds: of an LM step, one a decision, without what rewards and evaluation took.
    """

    def __init__(self, agent: Player, env: gym.Env[Any, Any]) -> None:
        self.act_seconds = 0.0
        self.milliseconds: list[float] = []
        self._agent = agent
        self._inner: Any = env.unwrapped
        self._step = 0

    def start(self, env: gym.Env[Any, Any], seed: int) -> None:
        """Start the agent."""
        self._agent.start(env, seed)

    def act(self, observation: NDArray[Any], info: dict[str, Any]) -> NDArray[np.float32]:
        """Let the agent act."""
        before = time.perf_counter()
        action = self._agent.act(observation, info)
        self._decided = time.perf_counter()
        self.act_seconds += self._decided - before
        self._apart, self._step = _seconds_apart(self._inner), info["step"]
        return action

    def observe(self, reward: Any, terminated: bool, truncated: bool, info: dict[str, Any]) -> None:
        """Take the time of the step, then let the agent see it."""
        stepped = time.perf_counter() - self._decided
        if info["step"] > self._step:
            own = stepped - (_seconds_apart(self._inner) - self._apart)
            self.milliseconds.append(1000.0 * own / (info["step"] - self._step))
        self._agent.observe(reward, terminated, truncated, info)


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
        values = penalty_vector(weights.tolist(), -float(reward)).tolist()
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
    """Milliseconds a step of the loop that overhead is measured against; NaN without such a one."""
    if steps < 1:
        return math.nan
    from mixgym.lm.bare import bare_milliseconds_per_step
    from mixgym.lm.training import TrainingRun

    if not isinstance(inner.run, TrainingRun):
        return math.nan
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

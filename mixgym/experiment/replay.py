"""Re-executing a run from its seed and actions, to see that its numbers are what it says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixgym.errors import MixgymError
from mixgym.experiment.environment import Wanted, make_environment
from mixgym.experiment.provenance import code_version
from mixgym.experiment.request import RunRequest
from mixgym.experiment.rollout import Replayed, Step, rollout
from mixgym.experiment.runfolder import (
    CONFIG,
    METRICS,
    PER_DOMAIN,
    RESULT,
    Metrics,
    RunResult,
    read_actions,
    read_config,
    read_metrics,
    read_result,
)
from mixgym.rewards.vector import scalar_reward


@dataclass(frozen=True)
class Replay:
    """What a replay found: None if every number is equal bit for bit, else where it first is not.

    `objective_test_loss` is the replayed one, nats a byte. `note` says if other code made the run.
    """

    difference: str | None
    objective_test_loss: float
    decisions: int
    note: str


def replay_run(directory: str | Path) -> Replay:
    """Run `directory`'s actions again and compare mixtures, losses, rewards and the final result.

    Only reads the folder. Raises `MixgymError` if it is not a finished run, if a file is
    damaged, or if the corpus or the resolved configuration is no longer the one the run was made
    with.
    """
    from mixgym.experiment.run import check_configuration, check_corpus

    directory = Path(directory)
    for name in (CONFIG, RESULT):
        if not (directory / name).is_file():
            raise MixgymError(
                f"{directory} has no {name}: give the folder of one finished run, "
                "as in OUT/runs/LABEL/seed-0"
            )
    result = read_result(directory)
    config = read_config(directory, result)
    request = RunRequest.from_json(config)
    actions, metrics = read_actions(directory, result), read_metrics(directory, result)
    if len(metrics.step) != len(actions) + 1:
        difference = f"{METRICS} has {len(metrics.step)} rows for {len(actions)} actions"
        return Replay(difference, math.nan, 0, "")
    wanted = Wanted(config.get("action_map"), config.get("agent_env_arguments") or {})
    env = make_environment(request.env, request.env_arguments, wanted)
    try:
        check_corpus(env, request)
        check_configuration(env, request)
        return _compare(env, request, actions, metrics, result)
    finally:
        env.close()


def _compare(
    env: Any, request: RunRequest, actions: Any, metrics: Metrics, result: RunResult
) -> Replay:
    now = code_version()
    note = "" if now == request.version else f"made by mixgym {request.version}, replayed by {now}"
    difference: str | None = None
    step = Step(0, None, {})
    try:
        for step in rollout(env, Replayed(actions), request.seed, decisions=len(actions)):
            reward = math.nan if step.action is None else scalar_reward(step.reward, step.info)
            difference = _first_difference(metrics, step.decision, step.info, reward)
            if difference is not None:
                break
    except ValueError as error:
        difference = f"decision {step.decision + 1}: the stored action is refused ({error})"
    decision, info = step.decision, step.info
    if difference is None and decision < len(actions):
        difference = f"the episode ends after {decision} decisions, {len(actions)} are stored"
    if difference is None and not step.done:
        difference = f"the episode goes on after the {len(actions)} stored actions"
    if difference is not None:
        return Replay(difference, math.nan, decision, note)
    report = env.unwrapped.report(split="test")
    final = {
        "objective_test_loss": report["objective_loss"],
        "worst_domain_test_loss": report["worst_domain_loss"],
        "final_objective_validation_loss": info["objective_loss"],
        "steps": info["step"],
        **{
            f"domain_test_loss of {name}": loss
            for name, loss in zip(env.unwrapped.task.names, report["domain_loss"], strict=True)
        },
    }
    for name, value in final.items():
        key, _, domain = name.partition(" of ")
        stored = result.get(key)
        if domain:
            stored = (stored or {}).get(domain)
        if not _equal(value, stored):
            difference = f"{name} is {value!r}, {RESULT} says {stored!r}"
            break
    return Replay(difference, float(report["objective_loss"]), decision, note)


def _first_difference(
    metrics: Metrics, row: int, info: dict[str, Any], reward: float
) -> str | None:
    where = f"decision {row}" if row else "reset"
    scalars = {
        "step": float(info["step"]),
        "objective_validation_loss": float(info["objective_loss"]),
        "reward": reward,
    }
    for kind in PER_DOMAIN:
        now, stored = np.asarray(info[kind], np.float64), getattr(metrics, kind)[row]
        for name, a, b in zip(metrics.names, now, stored, strict=True):
            if not _equal(a, b):
                return f"{where}: {kind} of {name} is {float(a)!r}, {METRICS} says {float(b)!r}"
    for name, value in scalars.items():
        stored = metrics.scalars[name][row]
        if not _equal(value, stored):
            return f"{where}: {name} is {value!r}, {METRICS} says {float(stored)!r}"
    return None


def _equal(value: Any, stored: Any) -> bool:
    """Exact equality; a number that is not finite was stored as nothing."""
    value = float(value)
    stored = math.nan if stored is None else float(stored)
    if not math.isfinite(value) or not math.isfinite(stored):
        return not math.isfinite(value) and not math.isfinite(stored)
    return value == stored

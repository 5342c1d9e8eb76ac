"""One trial: an agent with some hyperparameters learns, and is judged on validation alone."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from mixgym.agents import make_agent
from mixgym.experiment.environment import make_environment
from mixgym.experiment.policy import COST
from mixgym.experiment.request import AgentSpec
from mixgym.experiment.rollout import play
from mixgym.files import Finite, read_json, write_json
from mixgym.train.trainer import TrainingRequest, read_cost, train_agent

JUDGED = "judged.json"

#: Called with a stage's number and the objective then (nats a byte, lower is better); raises to
#: stop the trial.
Report = Callable[[int, float], None]


@dataclass(frozen=True)
class Judgement:
    """What a run was worth and what it cost.

    Attributes:
        objective: validation objective at its end, nats a byte; infinite if it diverged.
        tokens: LM tokens of its ledger, of all accounts but `agent`, which is paid in training.
    """

    objective: float
    tokens: int


def trial_folder(parameters: Mapping[str, Any]) -> str:
    """Name of the folder of a trial: the same for the same hyperparameters."""
    text = json.dumps(parameters, sort_keys=True)
    return f"trial-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def run_trial(
    agent: AgentSpec,
    env: str,
    env_arguments: Mapping[str, Any],
    folder: Path,
    *,
    episodes: int,
    training_seed: int,
    seeds: Sequence[int],
    report: Report,
) -> float:
    """Learn for `episodes`, then judge the frozen policy on `seeds`; return the mean objective.

    With `episodes` of 0 the agent learns within each judged run instead. Everything finished is
    kept in `folder` and not done again. `report` is called after every episode and, without
    episodes, after every seed.

    Raises:
        MixgymError: bad input, or an agent that does not learn.
    """
    judged = agent
    if episodes:
        request = TrainingRequest(agent, env, dict(env_arguments), training_seed)
        for episode in range(1, episodes + 1):
            cost = train_agent(request, folder, episode, resume=True)
            report(episode, _learned(cost["runs"], episode))
        judged = AgentSpec(agent.label, agent.agent, {"policy": str(folder)})
    objectives: list[float] = []
    for number, seed in enumerate(seeds):
        objectives.append(_judge(judged, env, env_arguments, seed, folder).objective)
        if not episodes:
            report(number + 1, sum(objectives) / len(objectives))
    return sum(objectives) / len(objectives)


def _learned(runs: Sequence[Mapping[str, Any]], episode: int) -> float:
    """Objective at the end of an episode of learning, infinite if a run diverged in it."""
    own = [run for n, run in enumerate(runs, 1) if run.get("episode", n) == episode]
    if not own or any(run["diverged"] for run in own):
        return math.inf
    return _finite(own[-1]["objective_loss"])


def spent(folder: Path, *, learned: bool = False, judged: bool = False) -> int:
    """LM tokens of all that was finished in a trial's folder, pruned or not.

    Args:
        folder: the trial's.
        learned, judged: whether what learning and judging cost must be there, as in a trial that
            was seen to its end.

    Raises:
        DamagedFileError: a file is not as it was written, or missing.
    """
    training = read_cost(folder)["tokens"] if learned or (folder / COST).exists() else 0
    return training + sum(entry["tokens"] for entry in _judged(folder, judged).values())


class _Judged(TypedDict):
    """What judged.json says of a seed; None for an objective that is not finite."""

    objective: Finite | None
    tokens: int


def _judged(folder: Path, needed: bool = False) -> dict[str, _Judged]:
    """A trial's judged runs by seed."""
    path = folder / JUDGED
    if not needed and not path.exists():
        return {}
    remedy = "restore it from a copy, or tune anew in another --out"
    return read_json(path, dict[str, _Judged], remedy=remedy)


def _judge(
    agent: AgentSpec, env: str, env_arguments: Mapping[str, Any], seed: int, folder: Path
) -> Judgement:
    done = _judged(folder)
    if str(seed) in done:
        return Judgement(_finite(done[str(seed)]["objective"]), done[str(seed)]["tokens"])
    result = judge(agent, env, env_arguments, seed)
    finite = math.isfinite(result.objective)
    objective = result.objective if finite else None  # JSON has no infinity
    done[str(seed)] = {"objective": objective, "tokens": result.tokens}
    write_json(folder / JUDGED, done, digest=True)
    return result


def judge(agent: AgentSpec, env: str, env_arguments: Mapping[str, Any], seed: int) -> Judgement:
    """Run an agent for one episode; the objective is measured on the report's validation windows.

    Test data is not read.
    """
    made = make_agent(agent.agent, **agent.arguments)
    environment = make_environment(env, env_arguments, made)
    try:
        inner: Any = environment.unwrapped
        info = play(environment, made, seed).info
        objective = math.inf
        if not info["diverged"]:
            objective = float(inner.report("validation")["objective_loss"])
        accounts = inner.ledger.accounts.items()
        tokens = sum(account.tokens for name, account in accounts if name != "agent")
        return Judgement(_finite(objective), tokens)
    finally:
        environment.close()


def _finite(objective: float | None) -> float:
    """Infinity for what was not measured or diverged."""
    return objective if objective is not None and math.isfinite(objective) else math.inf

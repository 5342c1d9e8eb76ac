"""`mixgym train --dataset`: an agent learns from logged trajectories, in steps that resume."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from mixgym.agents import make_agent
from mixgym.errors import MixgymError
from mixgym.experiment.outfolder import bind_config, check_config, out_folder
from mixgym.experiment.policy import COST
from mixgym.experiment.provenance import code_version, library_versions
from mixgym.experiment.request import AgentSpec
from mixgym.files import Finite, read_json
from mixgym.train.saving import keep_policy
from mixgym.trajectories.record import Trajectories

#: Called with steps done, steps in total, and the last losses.
Progress = Callable[[int, int, dict[str, float]], None]


class OfflineCost(TypedDict):
    """cost.json of a training on trajectories: of collecting them and of learning."""

    steps: int
    episodes: int
    decisions: int
    tokens: Finite
    flops: Finite
    seconds: Finite
    accounts: dict[str, Finite]
    collecting: dict[str, Finite]
    learning: dict[str, Finite]
    policy: str
    #: Of every stretch between two saves: steps, and losses by name.
    losses: list[dict[str, float]]


@dataclass(frozen=True)
class OfflineRequest:
    """Everything that decides what is learned, but for the number of steps.

    Attributes:
        agent: which, and its arguments.
        datasets: as `load_trajectories` takes them, in this order.
        seed: of the agent.
    """

    agent: AgentSpec
    datasets: tuple[str, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.datasets:
            raise MixgymError("no dataset to learn from: give at least one --dataset DIR")
        if self.seed < 0:
            raise MixgymError(f"seed {self.seed!r} is not a whole number of 0 or more")


def train_offline(
    request: OfflineRequest,
    out: str | Path,
    steps: int,
    *,
    save_every: int = 1000,
    resume: bool = False,
    on_progress: Progress | None = None,
) -> OfflineCost:
    """Let an agent learn from trajectories and return the content of `out`/cost.json.

    Writes `config.json`, `policy-<steps>` (the agent's own `save`) and `cost.json`, as
    `mixgym.train.trainer.train_agent` does and with the same promise: killed at any moment, it
    goes on exactly. The cost is that of collecting the data (all ledger accounts of every episode,
    LM tokens and FLOPs) and the seconds of collecting and learning; the learner's own FLOPs, which
    are no language model's, are not counted.

    Args:
        request: agent, datasets, seed.
        out: folder; new or empty unless `resume`.
        steps: gradient steps in total, those of earlier calls included.
        save_every: steps between two saves.
        resume: go on in `out`, which must be of an equal request.
        on_progress: called after every save.

    Raises:
        MixgymError: bad input, a folder in use or of another training, an agent that does not
            learn from trajectories, a dataset that is damaged or given twice.
        MissingExtraError: d3rlpy or Minari is not installed.
    """
    for name, value in (("steps", steps), ("save_every", save_every)):
        if value < 1:
            raise MixgymError(f"{name} is {value}: give at least 1")
    with out_folder(out, "mixgym train", resume=resume) as out:
        agent: Any = make_agent(request.agent.agent, **request.agent.arguments)
        if not hasattr(agent, "learn_offline"):
            raise MixgymError(
                f"agent {agent.name!r} does not learn from trajectories: leave out --dataset, or "
                "choose cql, bc, iql or td3-bc"
            )
        return _train(request, out, steps, save_every, agent, _load(request.datasets), on_progress)


def _load(paths: Sequence[str]) -> list[Trajectories]:
    from mixgym.trajectories import load_trajectories

    data = [load_trajectories(path) for path in paths]
    digests = [dataset.metadata["digest"] for dataset in data]
    for path, digest in zip(paths, digests, strict=True):
        if digests.count(digest) > 1:
            raise MixgymError(f"dataset {path} is given twice: its cost would count twice")
    return data


def _accounts(data: Sequence[Trajectories]) -> dict[str, dict[str, float]]:
    """What collecting all datasets cost by account; a policy that logged several counts once."""
    from mixgym.trajectories.dataset import total_accounts

    return total_accounts([e.facts.get("ledger", {}) for dataset in data for e in dataset.episodes])


def _train(
    request: OfflineRequest,
    out: Path,
    steps: int,
    save_every: int,
    agent: Any,
    data: list[Trajectories],
    on_progress: Progress | None,
) -> OfflineCost:
    config = {
        "agent": request.agent.agent,
        "arguments": request.agent.arguments,
        "datasets": [
            {key: dataset.metadata[key] for key in ("env", "corpus_hash", "digest")}
            for dataset in data
        ],
        "seed": request.seed,
        "version": code_version(),
    }
    check_config(out, config, "training")
    started = time.perf_counter()
    agent.prepare(data, request.seed)  # before anything is written: it may refuse
    context = {"paths": list(request.datasets), "versions": library_versions()}
    bind_config(out, config, "training", context)
    learning, losses = 0.0, []
    if (out / COST).exists():
        stored = _read_cost(out)
        agent.load(out / stored["policy"])
        learning, losses = stored["learning"]["seconds"], stored["losses"]
    while agent.steps < steps:
        # Saves fall on multiples, so that losses are averaged alike however often one resumes.
        number = min(steps, (agent.steps // save_every + 1) * save_every) - agent.steps
        found = agent.learn_offline(number)
        losses = [*losses, {"steps": agent.steps, **found}]
        learning, started = learning + time.perf_counter() - started, time.perf_counter()
        _keep(out, agent, data, learning, losses)
        if on_progress is not None:
            on_progress(agent.steps, steps, found)
    return _read_cost(out)


def _read_cost(out: Path) -> OfflineCost:
    remedy = "restore it from a copy, or train anew in another --out"
    return read_json(out / COST, OfflineCost, remedy=remedy)


def _keep(
    out: Path,
    agent: Any,
    data: list[Trajectories],
    learning: float,
    losses: list[dict[str, float]],
) -> None:
    """Save the policy beside the last one, then switch to it by writing cost.json."""
    accounts = _accounts(data)
    collecting = {
        unit: sum(account[unit] for account in accounts.values())
        for unit in ("tokens", "flops", "seconds")
    }
    total = {**collecting, "seconds": collecting["seconds"] + learning}
    agent.set_cost(**total)
    cost = {
        "steps": agent.steps,
        "episodes": sum(len(dataset) for dataset in data),
        "decisions": sum(len(episode) for dataset in data for episode in dataset.episodes),
        **total,
        "accounts": {name: account["tokens"] for name, account in accounts.items()},
        "collecting": collecting,
        "learning": {"seconds": learning},
        "losses": losses,
    }
    keep_policy(out, agent, f"{agent.steps:08d}", cost)

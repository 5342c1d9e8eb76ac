"""`mixgym train`: an agent learns over episodes; a checkpoint after each, exact to resume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from mixgym.agents import make_agent
from mixgym.errors import MixgymError
from mixgym.experiment.environment import (
    corpus_hash,
    make_environment,
    mixing_environment,
)
from mixgym.experiment.outfolder import bind_config, out_folder
from mixgym.experiment.pairing import Pairing
from mixgym.experiment.policy import COST
from mixgym.experiment.provenance import code_version, library_versions
from mixgym.files import Finite, read_json
from mixgym.train.monitor import EpisodeRecord, Monitor, StoredRecord
from mixgym.train.saving import keep_policy

CURVE = "learning.png"

#: Called with episodes done, the share of the current one that is done, and its last info.
Progress = Callable[[int, float, dict[str, Any]], None]


class TrainingCost(TypedDict):
    """A training's cost.json: of all ledger accounts, in total and run by run."""

    episodes: int
    tokens: int
    flops: Finite
    seconds: Finite
    decisions: int
    accounts: dict[str, int]
    policy: str
    runs: list[StoredRecord]


@dataclass(frozen=True)
class TrainingRequest(Pairing):
    """Everything that decides what is learned, but for the number of episodes."""

    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seed < 0:
            raise MixgymError(f"seed {self.seed!r} is not a whole number of 0 or more")

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {**super().to_json(), "seed": self.seed}


def train_agent(
    request: TrainingRequest,
    out: str | Path,
    episodes: int,
    *,
    resume: bool = False,
    on_progress: Progress | None = None,
) -> TrainingCost:
    """Let an agent learn from whole episodes and return the content of `out`/cost.json.

    Writes `config.json`, `policy-<episodes>` (the agent's own `save`) and `cost.json`: LM tokens,
    FLOPs and seconds of learning, of all ledger accounts, in total and run by run, and the name of
    the policy they belong to. cost.json is written last: a training killed in between goes on from
    the policy it still names. `learning.png`, return and objective by episode, follows each
    episode. One episode is one `agent.learn(env, decisions)`.

    Args:
        request: agent, environment, seed. Episodes' own seeds follow from the seed.
        out: folder; new or empty unless `resume`.
        episodes: in total, those of earlier calls included.
        resume: go on in `out`; what it holds must be of an equal request, version and corpus.
        on_progress: called after every decision.

    Raises:
        MixgymError: bad input, a folder in use or of another training, an agent that does not
            learn.
    """
    if episodes < 1:
        raise MixgymError(f"episodes is {episodes}: give at least 1")
    with out_folder(out, "mixgym train", resume=resume) as out:
        agent = make_agent(request.agent.agent, **request.agent.arguments)
        env = Monitor(make_environment(request.env, request.env_arguments, agent))
        try:
            return _train(request, out, episodes, agent, env, on_progress)
        finally:
            env.close()


def _train(
    request: TrainingRequest,
    out: Path,
    episodes: int,
    agent: Any,
    env: Monitor,
    on_progress: Progress | None,
) -> TrainingCost:
    inner = mixing_environment(env)
    config = {
        **request.to_json(),
        "version": code_version(),
        "corpus_hash": corpus_hash(env),
    }
    bind_config(out, config, "training", {"versions": library_versions()})
    env.reset(seed=request.seed)
    agent.start(env, request.seed)
    done, records = _restore(out, agent)
    env.take()
    while done < episodes:
        if on_progress is not None:
            env.on_step = _reporter(on_progress, done, inner.task.decisions)
        agent.learn(env, inner.task.decisions)
        fresh = env.take()
        if not fresh:
            raise MixgymError(
                f"agent {agent.name!r} does not learn: it took no decision in the environment; "
                "compare it without training"
            )
        done += 1
        records += [replace(record, episode=done) for record in fresh]
        keep_policy(out, agent, f"{done:05d}", _cost(done, records))
        _draw(out, agent, records)
    return read_cost(out)


def _reporter(
    on_progress: Progress, done: int, decisions: int
) -> Callable[[int, dict[str, Any]], None]:
    def report(decision: int, info: dict[str, Any]) -> None:
        on_progress(done, decision / decisions, info)

    return report


def read_cost(out: Path) -> TrainingCost:
    """Read a training's cost.json; `DamagedFileError` if it is missing, damaged or was changed."""
    remedy = "restore it from a copy, or train anew in another --out"
    return read_json(out / COST, TrainingCost, remedy=remedy)


def _restore(out: Path, agent: Any) -> tuple[int, list[EpisodeRecord]]:
    """Load the policy that cost.json counts; return the episodes learned and their records."""
    if not (out / COST).exists():
        return 0, []
    stored = read_cost(out)
    agent.load(out / stored["policy"])
    return stored["episodes"], [EpisodeRecord(**record) for record in stored["runs"]]


def _cost(done: int, records: list[EpisodeRecord]) -> dict[str, Any]:
    totals = {
        key: sum(getattr(record, key) for record in records)
        for key in ("tokens", "flops", "seconds", "decisions")
    }
    accounts = {
        account: sum(record.accounts[account] for record in records)
        for account in records[0].accounts
    }
    runs = [asdict(record) for record in records]
    return {"episodes": done, **totals, "accounts": accounts, "runs": runs}


def _draw(out: Path, agent: Any, records: list[EpisodeRecord]) -> None:
    from mixgym.plotting.learning import learning_figure
    from mixgym.plotting.style import save

    returns = [record.episode_return for record in records]
    losses = [record.objective_loss for record in records]
    tokens = [record.tokens for record in records]
    save(learning_figure(returns, losses, tokens, agent.name), out / CURVE)

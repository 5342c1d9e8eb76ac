"""`mixgym train`: an agent learns over episodes; a checkpoint after each, exact to resume."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mixgym.agents import make_agent
from mixgym.errors import MixgymError
from mixgym.experiment.environment import environment_id, make_environment
from mixgym.experiment.provenance import code_version, library_versions
from mixgym.experiment.request import AgentSpec, check_plain
from mixgym.files import read_json, write_json
from mixgym.train.monitor import EpisodeRecord, Monitor

CONFIG = "config.json"
COST = "cost.json"
CURVE = "learning.png"
POLICY = "policy"
_LOCK = ".lock"

#: Called with episodes done, the share of the current one that is done, and its last info.
Progress = Callable[[int, float, dict[str, Any]], None]


@dataclass(frozen=True)
class TrainingRequest:
    """Everything that decides what is learned, but for the number of episodes."""

    agent: AgentSpec
    env: str
    env_arguments: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        check_plain(self.env_arguments, f"arguments of {self.env}")
        object.__setattr__(self, "env", environment_id(self.env))
        if self.seed < 0:
            raise MixgymError(f"seed {self.seed!r} is not a whole number of 0 or more")

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "agent": self.agent.agent,
            "arguments": self.agent.arguments,
            "env": self.env,
            "env_arguments": self.env_arguments,
            "seed": self.seed,
        }


def train_agent(
    request: TrainingRequest,
    out: Path,
    episodes: int,
    *,
    resume: bool = False,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
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
    check_folder(out, resume)
    agent = make_agent(request.agent.agent, **request.agent.arguments)
    env = Monitor(make_environment(request.env, request.env_arguments, agent))
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / _LOCK, timeout=0):
            return _train(request, out, episodes, agent, env, on_progress)
    except Timeout:
        raise MixgymError(
            f"another mixgym train is writing to {out}; wait for it, or choose another --out"
        ) from None
    finally:
        env.close()


def check_folder(out: Path, resume: bool) -> None:
    """Raise `MixgymError` unless `out` is a folder, new or empty unless `resume`."""
    if out.exists() and not out.is_dir():
        raise MixgymError(f"{out} is a file: give a folder as --out")
    if not resume and out.exists() and any(path.name != _LOCK for path in out.iterdir()):
        raise MixgymError(
            f"{out} is not empty: pass --resume to go on with what it holds, or another --out"
        )


def _train(
    request: TrainingRequest,
    out: Path,
    episodes: int,
    agent: Any,
    env: Monitor,
    on_progress: Progress | None,
) -> dict[str, Any]:
    inner: Any = env.unwrapped
    config = {
        **request.to_json(),
        "version": code_version(),
        "corpus_hash": inner.corpus.hash,
    }
    check_config(out, config)
    write_json(out / CONFIG, {**config, "versions": library_versions()})
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
        _keep(out, agent, done, records)
    return read_json(out / COST)


def _reporter(
    on_progress: Progress, done: int, decisions: int
) -> Callable[[int, dict[str, Any]], None]:
    def report(decision: int, info: dict[str, Any]) -> None:
        on_progress(done, decision / decisions, info)

    return report


def check_config(out: Path, config: dict[str, Any]) -> None:
    """Raise `MixgymError` naming the keys in which the training in `out` is not `config`'s."""
    if not (out / CONFIG).exists():
        return
    stored = read_json(out / CONFIG)
    changed = [
        f"{key} (stored {stored.get(key)!r}, now {value!r})"
        for key, value in config.items()
        if stored.get(key) != value
    ]
    if changed:
        raise MixgymError(
            f"{out} holds another training, these keys differ: {'; '.join(changed)}. "
            "Ask for the same, or choose another --out"
        )


def _restore(out: Path, agent: Any) -> tuple[int, list[EpisodeRecord]]:
    """Load the policy that cost.json counts; return the episodes learned and their records."""
    if not (out / COST).exists():
        return 0, []
    stored = read_json(out / COST)
    agent.load(out / stored["policy"])
    return stored["episodes"], [EpisodeRecord(**record) for record in stored["runs"]]


def _keep(out: Path, agent: Any, done: int, records: list[EpisodeRecord]) -> None:
    """Save the policy beside the last one, then switch to it by writing cost.json."""
    name = f"{POLICY}-{done:05d}"
    agent.save(out / name)
    totals = {
        key: sum(getattr(record, key) for record in records)
        for key in ("tokens", "flops", "seconds", "decisions")
    }
    accounts = {
        account: sum(record.accounts[account] for record in records)
        for account in records[0].accounts
    }
    write_json(
        out / COST,
        {
            "episodes": done,
            **totals,
            "accounts": accounts,
            "policy": name,
            "runs": [asdict(record) for record in records],
        },
    )
    for old in out.glob(f"{POLICY}-*"):
        if old.name != name:
            remove(old)
    _draw(out, agent, records)


def _draw(out: Path, agent: Any, records: list[EpisodeRecord]) -> None:
    from mixgym.plotting.learning import learning_figure
    from mixgym.plotting.style import save

    returns = [record.episode_return for record in records]
    losses = [record.objective_loss for record in records]
    tokens = [record.tokens for record in records]
    save(learning_figure(returns, losses, tokens, agent.name), out / CURVE)


def remove(folder: Path) -> None:
    """Delete a saved policy, a folder or a file."""
    if folder.is_dir():
        shutil.rmtree(folder)
    else:
        folder.unlink()

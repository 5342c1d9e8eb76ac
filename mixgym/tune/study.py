"""The study: which trials are run, which are pruned, what is the best so far."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mixgym.errors import MixgymError, missing_extra
from mixgym.experiment.outfolder import bind_config, out_folder
from mixgym.experiment.pairing import Pairing
from mixgym.experiment.provenance import code_version, library_versions
from mixgym.experiment.request import AgentSpec
from mixgym.files import write_text
from mixgym.tune.journal import JOURNAL, mend_journal
from mixgym.tune.space import Space, defaults, search_space, split_arguments, suggest
from mixgym.tune.trial import run_trial, spent, trial_folder

#: Seeds from here on are tuning's; comparisons count from 0.
FIRST_SEED = 10_000
BEST = "best.yml"
_STARTUP_TRIALS = 5

#: Called after every stage with the trial's number, the stage and its objective.
Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class TuningRequest(Pairing):
    """Everything that decides a study but for the number of trials.

    Attributes:
        agent: its arguments are fixed, the rest of its search space is searched.
        env: environment id.
        env_arguments: of the environment.
        episodes: of learning in a trial; 0 to learn within the judged runs (online mode).
        seeds: judged runs of a trial.
        seed: of the search. Trials learn from seed `FIRST_SEED + 1000 * seed` and are judged on
            those after it, so that all trials are paired and none shares a seed with a
            comparison.
    """

    episodes: int = 5
    seeds: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if "policy" in self.agent.arguments:
            raise MixgymError(
                "policy: a saved policy has its hyperparameters already; leave it out"
            )
        ranges = {"episodes": (0, 100_000), "seeds": (1, 999), "seed": (0, 1_000_000)}
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise MixgymError(f"{name} is {getattr(self, name)}: give {low} to {high}")

    @property
    def training_seed(self) -> int:
        """Seed that every trial learns from."""
        return FIRST_SEED + 1000 * self.seed

    @property
    def judged_seeds(self) -> tuple[int, ...]:
        """Seeds of the runs that a trial is judged on."""
        return tuple(self.training_seed + 1 + i for i in range(self.seeds))

    def space(self) -> dict[str, dict[str, Any]]:
        """What is searched: the agent's space without the arguments that are given.

        Raises:
            MixgymError: nothing is left, or the agent declares no space.
        """
        space = search_space(self.agent.agent)
        left = {name: x for name, x in space.items() if name not in self.agent.arguments}
        if not left:
            raise MixgymError(
                f"nothing is left to search: all of {', '.join(space)} are given as arguments"
            )
        return left

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            **super().to_json(),
            "episodes": self.episodes,
            "seeds": self.seeds,
            "seed": self.seed,
            "search_space": self.space(),
        }


@dataclass(frozen=True)
class TuningResult:
    """What a study found.

    Attributes:
        parameters: of the best finished trial.
        objective: its mean validation objective, nats a byte.
        trials, pruned, tokens: run, given up early, and LM tokens of all of them.
        best: the file they are written to.
    """

    parameters: dict[str, Any]
    objective: float
    trials: int
    pruned: int
    tokens: int
    best: Path


def tune_agent(
    request: TuningRequest,
    out: str | Path,
    trials: int,
    *,
    resume: bool = False,
    on_progress: Progress | None = None,
) -> TuningResult:
    """Search an agent's hyperparameters and write `out`/best.yml.

    Trials are proposed by Optuna's tree-structured Parzen estimator, beginning with the declared
    defaults; after every episode those worse than the median of earlier ones are given up. The
    objective is the mean validation objective at the end of the judged runs. The study's journal,
    every trial's folder and best.yml stand in `out`, and a study that was killed goes on in the
    middle of its trial, to the same end.

    Args:
        request: agent, environment, effort.
        out: folder; new or empty unless `resume`.
        trials: in total, those of earlier calls included.
        resume: go on in `out`, which must hold an equal request of the same version.
        on_progress: called after every stage of a trial.

    Raises:
        MixgymError: bad input, a folder in use or of another study.
        MissingExtraError: Optuna is not installed.
    """
    if trials < 1:
        raise MixgymError(f"trials is {trials}: give at least 1")
    space = request.space()
    optuna = _optuna()
    with out_folder(out, "mixgym tune", resume=resume) as out, _quiet(optuna):
        config = {**request.to_json(), "version": code_version()}
        bind_config(out, config, "study", {"versions": library_versions()})
        study = _open(optuna, out)
        _requeue_interrupted(optuna, study, space)
        while _finished(optuna, study) < trials:
            _run_next(optuna, study, request, space, out, on_progress)
        return _write_best(optuna, study, request, space, out)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise missing_extra("optuna", "tune", "mixgym tune") from error
    return optuna


@contextlib.contextmanager
def _quiet(optuna: Any) -> Any:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _open(optuna: Any, out: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    class Ours(JournalFileOpenLock):
        """No lock: `out`/.lock is held, and one left by a killed process would stall the next."""

        def acquire(self) -> bool:
            return True

        def release(self) -> None:
            return None

    mend_journal(out / JOURNAL)
    journal = str(out / JOURNAL)
    storage = JournalStorage(JournalFileBackend(journal, Ours(journal)))
    pruner = optuna.pruners.MedianPruner(n_startup_trials=_STARTUP_TRIALS)
    return optuna.create_study(
        storage=storage, pruner=pruner, study_name="mixgym", load_if_exists=True
    )


def _requeue_interrupted(optuna: Any, study: Any, space: Space) -> None:
    """A trial that was running when the process ended is run again, from where it was."""
    state = optuna.trial.TrialState
    waiting = [trial for trial in study.get_trials() if trial.state == state.WAITING]
    for trial in study.get_trials():
        if trial.state == state.RUNNING:
            study.tell(trial.number, state=state.FAIL)
            parameters = {**_fixed(trial), **trial.params}
            if not any(_fixed(other) == parameters for other in waiting):
                study.enqueue_trial(parameters)
    if not study.get_trials():
        study.enqueue_trial(defaults(space))


def _fixed(trial: Any) -> dict[str, Any]:
    return trial.system_attrs.get("fixed_params", {})


def _finished(optuna: Any, study: Any) -> int:
    state = optuna.trial.TrialState
    return len(study.get_trials(states=(state.COMPLETE, state.PRUNED)))


def _run_next(
    optuna: Any,
    study: Any,
    request: TuningRequest,
    space: Space,
    out: Path,
    on_progress: Progress | None,
) -> None:
    # A sampler of its own for each trial: what is proposed depends on the finished trials and the
    # number of this one, not on how often the study was resumed.
    number = _finished(optuna, study)
    text = f"{request.seed} {number}".encode()
    seed = int.from_bytes(hashlib.sha256(text).digest()[:4], "big")
    study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP_TRIALS)
    trial = study.ask()
    parameters = suggest(trial, space)
    folder = out / trial_folder(parameters)

    def report(stage: int, objective: float) -> None:
        if on_progress is not None:
            on_progress(number, stage, objective)
        trial.report(objective, stage)
        if trial.should_prune():
            raise optuna.TrialPruned

    agent = request.agent
    arguments = {**agent.arguments, **parameters}
    state, objective = optuna.trial.TrialState.COMPLETE, None
    try:
        objective = run_trial(
            AgentSpec(agent.label, agent.agent, arguments),
            request.env,
            request.env_arguments,
            folder,
            episodes=request.episodes,
            training_seed=request.training_seed,
            seeds=request.judged_seeds,
            report=report,
        )
    except optuna.TrialPruned:
        state = optuna.trial.TrialState.PRUNED
    study.tell(trial, objective, state=state)


def _write_best(
    optuna: Any, study: Any, request: TuningRequest, space: Space, out: Path
) -> TuningResult:
    """Write best.yml in the form of the packaged `hyperparams/*.yml`."""
    state = optuna.trial.TrialState
    done = study.get_trials(states=(state.COMPLETE,))
    pruned = _finished(optuna, study) - len(done)
    folders = {
        trial_folder(t.params) for t in study.get_trials() if t.params.keys() == space.keys()
    }
    whole = {trial_folder(t.params) for t in done}
    tokens = sum(
        spent(out / name, learned=name in whole and request.episodes > 0, judged=name in whole)
        for name in folders
        if (out / name).exists()
    )
    best = min(done, key=lambda trial: (trial.value, trial.number))
    if not math.isfinite(best.value):
        raise MixgymError(
            "every trial diverged: narrow the search space, or look into the environment's "
            "learning rate"
        )
    parameters = {name: best.params[name] for name in space}
    source = f"mixgym tune, seeds from {request.training_seed} on"
    search = {
        "trials": len(done) + pruned,
        "pruned": pruned,
        "episodes": request.episodes,
        "judged_seeds": request.seeds,
        "tokens": tokens,
        "validation_objective": best.value,
    }
    given, others = split_arguments(request.agent.agent, request.agent.arguments)
    table = {
        request.env: {
            "search": search,
            **{name: {"value": value, "source": "given"} for name, value in given.items()},
            **{name: {"value": value, "source": source} for name, value in parameters.items()},
        }
    }
    heading = (
        f"# Hyperparameters of the `{request.agent.agent}` agent found by mixgym tune; `search` is "
        "what was spent,\n# in trials and language-model tokens. Environment arguments: "
        f"{json.dumps(request.env_arguments) if request.env_arguments else 'none'}.\n"
        f"# The agent's other arguments: {json.dumps(others) if others else 'none'}.\n\n"
    )
    write_text(out / BEST, heading + yaml.safe_dump(table, sort_keys=False, width=100))
    return TuningResult(
        parameters, float(best.value), len(done) + pruned, pruned, tokens, out / BEST
    )

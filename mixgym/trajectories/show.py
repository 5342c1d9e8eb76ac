"""What a dataset of trajectories holds: a table of its behaviours, and which mixtures paid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixgym.errors import MixgymError, unknown_name
from mixgym.trajectories.record import Trajectories, Trajectory
from mixgym.trajectories.scores import scores_of

BASELINES: tuple[str, ...] = ("decision", "zero")


@dataclass(frozen=True)
class BehaviourSummary:
    """One behaviour of a dataset.

    Attributes:
        behaviour: its name.
        episodes, decisions: logged.
        mean, deviation, best: of the undiscounted returns; deviation NaN for one episode.
        score: mean normalised score, None without reference scores.
        movement: mean total variation between successive mixtures, 0 to 1.
    """

    behaviour: str
    episodes: int
    decisions: int
    mean: float
    deviation: float
    best: float
    score: float | None
    movement: float


def summarise(data: Trajectories) -> list[BehaviourSummary]:
    """One summary a behaviour, in alphabetical order."""
    scores = scores_of(data)
    rows = []
    for name in sorted({episode.behaviour for episode in data.episodes}):
        chosen = [i for i, episode in enumerate(data.episodes) if episode.behaviour == name]
        returns = data.returns[chosen]
        moved = np.concatenate([_movement(data.episodes[i]) for i in chosen])
        rows.append(
            BehaviourSummary(
                behaviour=name,
                episodes=len(chosen),
                decisions=sum(len(data.episodes[i]) for i in chosen),
                mean=float(returns.mean()),
                deviation=float(returns.std(ddof=1)) if len(chosen) > 1 else float("nan"),
                best=float(returns.max()),
                score=None if scores is None else float(scores[chosen].mean()),
                movement=float(moved.mean()) if len(moved) else 0.0,
            )
        )
    return rows


def _movement(episode: Trajectory) -> NDArray[np.float64]:
    return 0.5 * np.abs(np.diff(episode.mixtures, axis=0)).sum(axis=1)


@dataclass(frozen=True)
class Split:
    """Mean mixtures of the decisions that earned more than a baseline, and of those that did not.

    Attributes:
        rising, falling: (K,) means.
        errors: their standard errors, decisions taken as independent.
        counts: decisions of each kind.
    """

    rising: NDArray[np.float64]
    falling: NDArray[np.float64]
    errors: tuple[NDArray[np.float64], NDArray[np.float64]]
    counts: tuple[int, int]


def split_by_reward(episodes: Sequence[Trajectory], baseline: str = "decision") -> Split:
    """Average the mixtures of decisions by whether the reward rose or fell.

    The Data Mixing Agent's first figure (arXiv 2507.15640) does so over random trajectories, by
    whether a step raised or lowered the feedback. When the reward is a change of the loss it is
    nearly always positive and shrinks over a run, so that the mean reward of the same decision over
    all episodes is a fairer line than zero. A decision at which the run diverged is left out: its
    reward is a penalty.

    Args:
        episodes: at least one.
        baseline: `"decision"`, that mean, or `"zero"`, the paper's.

    Raises:
        UnknownNameError: an unknown baseline.
        MixgymError: all decisions fall on one side.
    """
    if baseline not in BASELINES:
        raise unknown_name("baseline", baseline, BASELINES)
    earned = np.concatenate([episode.earned for episode in episodes])
    mixtures = np.concatenate([episode.mixtures for episode in episodes])[earned]
    rewards = np.concatenate([episode.rewards for episode in episodes])[earned]
    if baseline == "decision":
        at = np.concatenate([np.arange(len(episode)) for episode in episodes])[earned]
        means = np.bincount(at, rewards) / np.maximum(np.bincount(at), 1)
        rewards = rewards - means[at]
    up, down = mixtures[rewards > 0], mixtures[rewards < 0]
    if not len(up) or not len(down):
        raise MixgymError(
            "every reward lies on one side of the baseline: collect more episodes, or choose "
            "another --baseline"
        )
    return Split(
        up.mean(axis=0),
        down.mean(axis=0),
        (_standard_error(up), _standard_error(down)),
        (len(up), len(down)),
    )


def _standard_error(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(values) < 2:
        return np.zeros(values.shape[1])
    return values.std(axis=0, ddof=1) / np.sqrt(len(values))


def draw_split(data: Trajectories, path: Path, baseline: str = "decision") -> Split:
    """Write the figure of `split_by_reward` to `path` (PNG) and return what it shows."""
    from mixgym.plotting.split import split_figure
    from mixgym.plotting.style import save

    found = split_by_reward(data.episodes, baseline)
    line = "the decision's mean" if baseline == "decision" else "zero"
    figure = split_figure(
        data.task.names,
        found.rising,
        found.falling,
        found.errors,
        found.counts,
        f"{data.dataset_id}: mixtures by reward",
        (f"reward above {line}", f"reward below {line}"),
    )
    save(figure, path)
    return found

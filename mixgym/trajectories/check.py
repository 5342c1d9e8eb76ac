"""What must hold of logged trajectories before anything is learned from them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixgym.errors import MixgymError
from mixgym.simplex import SUM_TOLERANCE, IlrMap, SoftmaxMap
from mixgym.trajectories.record import Trajectories, Trajectory

# Actions are float32: their mixture is reproduced to this.
_MIXTURE_TOLERANCE = 1e-5


def check_trajectories(data: Trajectories) -> None:
    """Check every episode.

    Raises:
        MixgymError: naming the episode and what is wrong with it: lengths, shapes, a number that
            is not finite, actions out of their box, flags of termination, mixtures that do not sum
            to one or are not their action's, or another corpus.
    """
    if not data.episodes:
        raise MixgymError(f"{data.dataset_id} has no episodes: collect at least one")
    for episode in data.episodes:
        problem = _problem(episode, data)
        if problem is not None:
            raise MixgymError(
                f"episode {episode.index} of {data.dataset_id}: {problem}. The dataset is damaged "
                "or was not made by mixgym collect; assemble it again (collect --resume)"
            )


def _problem(episode: Trajectory, data: Trajectories) -> str | None:
    T, K = len(episode), data.task.K
    (dim,) = data.action_map.space.shape
    shapes = {
        "observations": (T + 1, data.layout.size),
        "actions": (T, dim),
        "rewards": (T,),
        "terminations": (T,),
        "truncations": (T,),
    }
    if T == 0:
        return "it has no decision"
    for name, shape in shapes.items():
        if getattr(episode, name).shape != shape:
            return f"{name} have shape {getattr(episode, name).shape}, not {shape}"
    for name in ("observations", "actions", "rewards"):
        if not np.isfinite(getattr(episode, name)).all():
            return f"{name} are not all finite"
    if np.abs(episode.actions).max() > 1.0:
        return "an action lies outside [-1, 1]"
    recorded = str(episode.facts.get("corpus_hash", data.corpus_hash))
    if recorded != data.corpus_hash:
        return f"its corpus has hash {recorded}, the dataset's {data.corpus_hash}"
    return (
        _wrong_end(episode, data)
        or _wrong_mixture(episode, K, data)
        or _wrong_terms(episode)
        or _wrong_rows(episode)
    )


def _wrong_end(episode: Trajectory, data: Trajectories) -> str | None:
    ends = episode.terminations | episode.truncations
    if ends[:-1].any():
        return f"it ends at decision {int(np.argmax(ends)) + 1} and goes on"
    if not ends[-1]:
        return "its last decision ends nothing"
    decisions = data.task.decisions
    if len(episode) > decisions:
        return f"it has {len(episode)} decisions, the task {decisions}"
    if len(episode) < decisions and episode.terminations[-1] and not episode.facts.get("diverged"):
        return f"it terminated after {len(episode)} of {decisions} decisions without diverging"
    if len(episode) == decisions and not episode.terminations[-1]:
        return "its budget is spent, but its last decision is not terminal"
    return None


def _wrong_mixture(episode: Trajectory, K: int, data: Trajectories) -> str | None:
    mixtures = episode.infos.get("mixture")
    if mixtures is None or mixtures.shape != (len(episode) + 1, K):
        return f"infos lack mixtures of shape {(len(episode) + 1, K)}"
    sums = mixtures.sum(axis=1)
    if not np.isfinite(mixtures).all() or mixtures.min() < 0:
        return "a mixture has a weight that is negative or not finite"
    if np.abs(sums - 1.0).max() > SUM_TOLERANCE:
        return f"a mixture sums to {sums[np.argmax(np.abs(sums - 1.0))]}"
    if isinstance(data.action_map, SoftmaxMap | IlrMap):  # neither noise nor memory
        off = np.abs(_applied(episode, data) - episode.mixtures).max()
        if off > _MIXTURE_TOLERANCE:
            return f"a mixture differs by {off:.2g} from the one that its action stands for"
    return None


def _applied(episode: Trajectory, data: Trajectories) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)  # not drawn from
    return np.array(
        [data.action_map.to_mixture(a, data.task.natural, rng) for a in episode.actions]
    )


def _wrong_terms(episode: Trajectory) -> str | None:
    for name, values in episode.infos.items():
        if name.startswith("reward_terms/") and not np.isfinite(values).all():
            return f"{name} is not finite"
    # Older versions called it by the other name.
    rewards = episode.infos.get("scalar_reward", episode.infos.get("reward"))
    if rewards is not None and not np.array_equal(rewards[1:], episode.rewards):
        return "the rewards in its infos are not the rewards it was given"
    return None


def _wrong_rows(episode: Trajectory) -> str | None:
    for name, values in episode.infos.items():
        if len(values) != len(episode) + 1:
            return f"info {name!r} has {len(values)} rows, not {len(episode) + 1}"
    return None

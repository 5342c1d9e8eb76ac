"""Reference scores: what a random and an expert behaviour return, and scores relative to them.

Also what datasets must have in common, and what not, to be scored or learned from together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixgym.errors import MixgymError
from mixgym.experiment.configuration import configuration_differences
from mixgym.trajectories.dataset import (
    REFERENCES,
    content_digest,
    dataset_folder,
    load_trajectories,
    write_reference_scores,
)
from mixgym.trajectories.record import Trajectories, task_to_json


def normalised_scores(returns: ArrayLike, random: float, expert: float) -> NDArray[np.float64]:
    """D4RL's normalised score, 100 (return - random) / (expert - random).

    Raises:
        ValueError: the expert is not better than the random behaviour.

    >>> normalised_scores([1.0, 2.0, 3.0], random=1.0, expert=3.0).tolist()
    [0.0, 50.0, 100.0]
    """
    if not np.isfinite([random, expert]).all() or expert <= random:
        raise ValueError(
            f"expert score {expert} is not above the random score {random}: collect a better "
            "expert set"
        )
    return 100.0 * (np.asarray(returns, dtype=np.float64) - random) / (expert - random)


def scores_of(data: Trajectories) -> NDArray[np.float64] | None:
    """(episodes,) normalised scores, None where no reference scores were set."""
    low, high = (data.metadata.get(name) for name in REFERENCES)
    if low is None or high is None:
        return None
    return normalised_scores(data.returns, low, high)


def set_reference_scores(
    paths: Sequence[str | Path], *, random: str | Path, expert: str | Path
) -> tuple[float, float]:
    """Write the mean returns of a random and an expert dataset into the metadata of all `paths`.

    Minari's keys are used (`ref_min_score`, `ref_max_score`), so that its own
    `get_normalized_score` works too (0 to 1).

    Args:
        paths: datasets, as `load_trajectories` takes them; `random` and `expert` get theirs too.
        random, expert: datasets whose mean undiscounted returns are the reference.

    Returns:
        the random and the expert score.

    Raises:
        MixgymError: the datasets are not of one environment and configuration, or the expert set
            is no better than the random one.
    """
    every = {str(dataset_folder(path)): load_trajectories(path) for path in paths}
    low, high = load_trajectories(random), load_trajectories(expert)
    every |= {str(dataset_folder(random)): low, str(dataset_folder(expert)): high}
    for data in every.values():
        require_same_task(low, data)
    scores = float(low.returns.mean()), float(high.returns.mean())
    try:
        normalised_scores([], *scores)
    except ValueError as error:
        raise MixgymError(str(error)) from error
    for folder in every:
        write_reference_scores(Path(folder), dict(zip(REFERENCES, scores, strict=True)))
    return scores


def require_same_task(first: Trajectories, second: Trajectories) -> None:
    """Raise `MixgymError` unless two datasets are of one environment, configuration and corpus."""
    for what, one, other in (
        ("environment", first.env, second.env),
        ("corpus hash", first.corpus_hash, second.corpus_hash),
        ("observation", first.layout, second.layout),
        ("action map", first.action_map, second.action_map),
    ):
        if one != other:
            raise _unlike(first, second, f"{what}: {one} and {other}")
    parts = [
        {**data.metadata["resolved"], "task": task_to_json(data.task)} for data in (first, second)
    ]
    changed = [line.partition(" (")[0] for line in configuration_differences(*parts)]
    if changed:
        raise _unlike(first, second, f"configuration: {', '.join(changed)}")


def require_distinct_episodes(datasets: Sequence[Trajectories]) -> None:
    """Raise `MixgymError` if two datasets hold the same episode.

    Learning would weigh it twice and count its cost twice. An episode follows from its collection's
    seed, its number and its behaviour: `mixed` and a behaviour alone share some at equal seeds.
    """
    owner: dict[str, tuple[Trajectories, int]] = {}
    for data in datasets:
        found = {content_digest([episode]): episode.index for episode in data.episodes}
        for digest, index in found.items():
            if digest in owner:
                other, twin = owner[digest]
                raise MixgymError(
                    f"episode {index} of {data.dataset_id} is episode {twin} of "
                    f"{other.dataset_id}: collect one of them with another --seed"
                )
        owner |= {digest: (data, index) for digest, index in found.items()}


def _unlike(first: Trajectories, second: Trajectories, what: str) -> MixgymError:
    return MixgymError(
        f"{first.dataset_id} and {second.dataset_id} differ in their {what}; collect both alike"
    )

"""Sets of policies under several rewards: Pareto front, hypervolume, and a comparison's table.

Every reward is maximised.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixgym.compare.plan import Comparison, Study
from mixgym.errors import MixgymError, missing_extra, unknown_name
from mixgym.experiment.runfolder import RunResult, finished_result
from mixgym.files import atomic_path


def pareto_front(points: ArrayLike) -> NDArray[np.bool_]:
    """Return which of n points no other point dominates: (n, d) -> (n,) bool.

    A point dominates another that it equals or exceeds in every entry and exceeds in one; equal
    points do not dominate each other.

    Raises:
        ValueError: not (n, d), or an entry that is not finite.

    >>> pareto_front([[2, 1], [1, 2], [1, 1], [2, 1]]).tolist()
    [True, True, False, True]
    """
    values = _points(points)
    least = (values[:, None, :] >= values[None, :, :]).all(axis=2)
    more = (values[:, None, :] > values[None, :, :]).any(axis=2)
    return np.logical_not((least & more).any(axis=0))


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """Return the volume that n points dominate together above a reference point, exactly.

    That is the measure of {z: reference <= z <= some point}, in the product of the rewards' units;
    a point that is not above the reference in every entry adds nothing. By moocore, in
    O(n log n) for two and three rewards.

    Args:
        points: (n, d).
        reference: (d,); sets compare by one and the same.

    Raises:
        ValueError: shapes that do not fit, or an entry that is not finite.
        MissingExtraError: moocore is not installed.
    """
    values, origin = _points(points), np.asarray(reference, dtype=np.float64)
    _check_reference(values, origin)
    if not len(values):
        return 0.0
    return float(_moocore().hypervolume(values, ref=origin, maximise=True))


def contributions(points: ArrayLike, reference: ArrayLike) -> NDArray[np.float64]:
    """Return how much smaller the hypervolume is without each point: (n, d) -> (n,), at least 0.

    Raises:
        ValueError, MissingExtraError: as `hypervolume`.
    """
    values, origin = _points(points), np.asarray(reference, dtype=np.float64)
    _check_reference(values, origin)
    if not len(values):
        return np.zeros(0)
    return np.asarray(
        _moocore().hv_contributions(values, ref=origin, maximise=True, ignore_dominated=False)
    )


def _points(points: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(points, dtype=np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(f"points must be finite and of shape (n, d), got {values.tolist()!r}")
    return values


def _check_reference(points: NDArray[np.float64], reference: NDArray[np.float64]) -> None:
    if reference.shape != points.shape[1:] or not np.isfinite(reference).all():
        raise ValueError(
            f"the reference point must be {points.shape[1]} finite numbers, got "
            f"{reference.tolist()!r}"
        )


def _moocore() -> Any:
    try:
        import moocore
    except ImportError:
        raise missing_extra("moocore", "mo", "a hypervolume") from None
    return moocore


@dataclass(frozen=True)
class ParetoArm:
    """One arm: returns of the reward terms (d,), means over its seeds; whether it is on the front;
    what it alone adds to the hypervolume; and of its seeds how many diverged.

    An arm with a diverged seed is not on the front and adds nothing.
    """

    label: str
    returns: NDArray[np.float64]
    on_front: bool
    contribution: float
    seeds: int
    diverged: int


@dataclass(frozen=True)
class ParetoSet:
    """A comparison's arms under its reward terms, with the reference point (d,).

    Attributes:
        name: of the comparison.
        terms: d names, in the order of the returns.
        arms: with their returns.
        reference: of the hypervolume.
        hypervolume: of the arms of which no seed diverged.
        left_out: terms that some arms did not measure, with those arms' labels.
    """

    name: str
    terms: tuple[str, ...]
    arms: tuple[ParetoArm, ...]
    reference: NDArray[np.float64]
    hypervolume: float
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def pareto_set(
    study: Study,
    comparison: Comparison,
    out: Path,
    terms: Sequence[str] = (),
    reference: Sequence[float] | None = None,
) -> ParetoSet:
    """Return the front that a comparison's arms make of the undiscounted returns of reward terms.

    Args:
        study: whose folder is `out`.
        comparison: of the study. Every finished run counts in its arm's mean, a diverged one with
            the penalty it was given; but an arm with a diverged run is not on the front, adds
            nothing to the hypervolume, and dominates no other: its run ended early, so that terms
            that only accumulate costs would favour it.
        out: the folder, with the runs' own folders.
        terms: which rewards, in which order; by default all that every arm has measured.
        reference: a number a term; by default the least mean return of any arm, so that an arm at
            the edge adds nothing, and two comparisons' hypervolumes do not compare.

    Raises:
        MixgymError: no finished run, runs without returns of terms, a chosen term that some arms
            did not measure, or fewer than two terms.
        UnknownNameError: a term that was not measured.
        ValueError: a reference of the wrong length.
    """
    returns: dict[str, list[dict[str, float]]] = {}
    diverged = dict.fromkeys(comparison.labels, 0)
    for owner, request in study.requests():
        if owner.name != comparison.name:
            continue
        label = request.agent.label
        result = finished_result(out / study.run_directory(owner, label, request.seed), request)
        if result is not None:
            returns.setdefault(label, []).append(_term_returns(result, comparison))
            diverged[label] += bool(result["diverged"])
    if not returns:
        raise MixgymError(f"{out} has no finished run of {comparison.name} in it")
    known = list(dict.fromkeys(t for runs in returns.values() for run in runs for t in run))
    lacking = {term: arms for term in known if (arms := _arms_without(term, returns))}
    for term in terms:
        if term not in known:
            raise unknown_name("reward term of this comparison", term, known)
        if term in lacking:
            raise MixgymError(f"{_not_measured(lacking, [term])}: {_MEASURE_ALL}")
    chosen = tuple(terms or [term for term in known if term not in lacking])
    if len(chosen) < 2 and lacking and not terms:
        raise MixgymError(
            f"the arms of {comparison.name} share too few reward terms for a front: "
            f"{_not_measured(lacking, lacking)}: {_MEASURE_ALL}"
        )
    if len(chosen) < 2:
        raise MixgymError(
            f"{comparison.name} has the reward {', '.join(chosen) or '{}'} alone: a front needs "
            "two terms or more; compare on an mo- environment, or with reward={...} of several"
        )
    points = np.array(
        [
            np.mean([[run[term] for term in chosen] for run in runs], axis=0)
            for runs in returns.values()
        ]
    )
    origin = points.min(axis=0) if reference is None else np.asarray(reference, dtype=np.float64)
    finished = np.array([not diverged[label] for label in returns])
    front, alone = np.zeros(len(points), dtype=bool), np.zeros(len(points))
    front[finished] = pareto_front(points[finished])
    alone[finished] = contributions(points[finished], origin)
    arms = tuple(
        ParetoArm(label, point, bool(on), float(own), len(returns[label]), diverged[label])
        for label, point, on, own in zip(returns, points, front, alone, strict=True)
    )
    volume = hypervolume(points[finished], origin)
    return ParetoSet(comparison.name, chosen, arms, origin, volume, {} if terms else lacking)


_MEASURE_ALL = "give the comparison reward={...} so that every arm is measured by the same terms"


def _arms_without(term: str, returns: Mapping[str, list[dict[str, float]]]) -> tuple[str, ...]:
    return tuple(label for label, runs in returns.items() if any(term not in run for run in runs))


def _not_measured(lacking: Mapping[str, tuple[str, ...]], terms: Iterable[str]) -> str:
    return "; ".join(f"{term} was not measured for {', '.join(lacking[term])}" for term in terms)


def _term_returns(result: RunResult, comparison: Comparison) -> dict[str, float]:
    found = result.get("term_returns")
    if found is None:
        raise MixgymError(
            f"the runs of {comparison.name} do not say what each reward term returned: they are of "
            "an older mixgym or another environment; run the comparison again"
        )
    return {term: math.nan if value is None else value for term, value in found.items()}


def write_table(path: Path, found: ParetoSet) -> None:
    """Write a set as CSV, a row an arm, atomically."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        head = ("arm", *(f"return.{term}" for term in found.terms), "on_front", "contribution")
        writer.writerow([*head, "seeds", "diverged"])
        for arm in found.arms:
            values = [repr(float(x)) for x in (*arm.returns, arm.contribution)]
            row = [arm.label, *values[:-1], arm.on_front, values[-1]]
            writer.writerow([*row, arm.seeds, arm.diverged])

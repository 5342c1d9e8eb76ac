"""Statistics of paired comparisons: pure functions on arrays whose first axis is the seed.

The unit is the training seed, and arms share seeds, so everything starts from per-seed
differences. Below `BOOTSTRAP_FROM` seeds the 95 % interval is Student's t (a percentile bootstrap
of so few values is far too narrow); from there it is a percentile bootstrap of the mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

BOOTSTRAP_FROM = 10
SMOKE_BELOW = 5
RESAMPLES = 20_000
_BOOTSTRAP_SEED = 20_250_101

# 97.5 % quantiles of Student's t for 1 .. 8 degrees of freedom, all that 2 .. 9 seeds can need.
_T_975 = (
    12.706204736174694,
    4.302652729749462,
    3.1824463052837078,
    2.7764451051977934,
    2.5705818356363146,
    2.4469118511449786,
    2.364624251592784,
    2.306004135204166,
)


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95 % interval; `low` and `high` are NaN where there is none.

    `method` is "t", "bootstrap" or "none" (fewer than two finite values); `n` counts the finite
    values used.
    """

    mean: float
    low: float
    high: float
    n: int
    method: str

    @property
    def bounded(self) -> bool:
        """Whether there is an interval at all."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        return self.bounded and (self.low > 0 or self.high < 0)


def mean_interval(values: ArrayLike) -> Interval:
    """95 % interval of the mean of `values`, shape (seeds,).

    Non-finite values (a diverged run, a target never reached) are left out and show in `n`.
    One value has no interval; none has a NaN mean. Equal inputs give equal intervals: the
    bootstrap draws from its own fixed generator.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"values must have shape (seeds,), got {array.shape}; pass one arm's row")
    array = array[np.isfinite(array)]
    n = len(array)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0, "none")
    mean = float(array.mean())
    if n == 1:
        return Interval(mean, math.nan, math.nan, 1, "none")
    if n < BOOTSTRAP_FROM:
        half = _T_975[n - 2] * float(array.std(ddof=1)) / math.sqrt(n)
        return Interval(mean, mean - half, mean + half, n, "t")
    rng = np.random.default_rng(_BOOTSTRAP_SEED)
    means = array[rng.integers(n, size=(RESAMPLES, n))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(mean, float(low), float(high), n, "bootstrap")


def paired_differences(values: ArrayLike, reference: ArrayLike) -> NDArray[np.float64]:
    """`values - reference` seed by seed; both of shape (seeds,), seeds in the same order."""
    first = np.asarray(values, dtype=np.float64)
    second = np.asarray(reference, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(
            f"paired arrays need one shape (seeds,), got {first.shape} and {second.shape}; "
            "give both arms the same seeds"
        )
    return first - second


def steps_to_target(steps: ArrayLike, losses: ArrayLike, target: float) -> float:
    """First evaluated LM step whose loss is at most `target`; NaN if there is none.

    `steps` and `losses` have shape (evaluations,), steps increasing. NaN losses (not measured)
    never count as reaching the target.
    """
    at = np.asarray(steps, dtype=np.float64)
    loss = np.asarray(losses, dtype=np.float64)
    if at.shape != loss.shape or at.ndim != 1:
        raise ValueError(
            f"steps and losses need one shape (evaluations,), got {at.shape} and {loss.shape}"
        )
    reached = np.flatnonzero(loss <= target)
    return float(at[reached[0]]) if len(reached) else math.nan


def percent_fewer_steps(steps: ArrayLike, reference_steps: ArrayLike) -> NDArray[np.float64]:
    """100 (1 - steps / reference_steps) seed by seed, shape (seeds,).

    Positive means fewer LM steps than the reference needed for the same validation loss; NaN
    where the target was never reached, or where the reference needed no step at all.
    """
    first = np.asarray(steps, dtype=np.float64)
    second = np.asarray(reference_steps, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(
            f"paired arrays need one shape (seeds,), got {first.shape} and {second.shape}"
        )
    ratio = np.full_like(first, math.nan)
    np.divide(first, second, out=ratio, where=second > 0)
    return 100.0 * (1.0 - ratio)


def bits_per_byte(nats_per_byte: float) -> float:
    """Nats a byte as bits a byte."""
    return nats_per_byte / math.log(2)


def perplexity_per_byte(nats_per_byte: float) -> float:
    """exp(nats a byte): the effective number of equally likely next bytes; inf on overflow."""
    return math.exp(nats_per_byte) if nats_per_byte < 700 else math.inf

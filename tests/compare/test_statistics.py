from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from mixgym.compare.statistics import (
    bits_per_byte,
    mean_interval,
    paired_differences,
    percent_fewer_steps,
    perplexity_per_byte,
    steps_to_target,
)


@pytest.mark.parametrize("n", range(2, 10))
def test_interval_below_ten_seeds_is_students_t(n: int) -> None:
    values = np.random.default_rng(n).normal(1.7, 0.1, n)
    interval = mean_interval(values)
    low, high = scipy.stats.t.interval(0.95, n - 1, values.mean(), scipy.stats.sem(values))
    assert interval.method == "t"
    assert (interval.low, interval.high) == pytest.approx((low, high), rel=1e-10)


def test_t_interval_by_hand() -> None:
    # mean 2, standard deviation 1, t(0.975, 2) = 4.302653: half width 4.302653 / sqrt(3)
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval.mean == 2.0
    assert interval.high == pytest.approx(2.0 + 2.484138, abs=1e-6)
    assert interval.low == pytest.approx(2.0 - 2.484138, abs=1e-6)
    assert not mean_interval([-1.0, 2.0, 3.0]).excludes_zero
    assert mean_interval([1.0, 1.1, 1.2]).excludes_zero


def test_interval_from_ten_seeds_is_a_bootstrap_of_the_mean() -> None:
    values = np.random.default_rng(0).normal(0.0, 1.0, 40)
    interval = mean_interval(values)
    half = 1.96 * values.std() / math.sqrt(40)
    assert interval.method == "bootstrap"
    assert interval.low == pytest.approx(values.mean() - half, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.03)
    assert mean_interval(values) == interval


def test_bootstrap_leaves_global_random_state_alone() -> None:
    before = np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    mean_interval(np.arange(12.0))
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index, union-attr]


def test_one_seed_has_no_interval_and_none_has_no_mean() -> None:
    one, none = mean_interval([1.5]), mean_interval([math.nan])
    assert one.mean == 1.5 and not one.bounded and one.n == 1
    assert math.isnan(none.mean) and none.n == 0 and not none.excludes_zero


def test_values_that_are_not_finite_are_left_out_and_counted() -> None:
    interval = mean_interval([1.0, math.nan, 3.0, math.inf])
    assert interval.mean == 2.0 and interval.n == 2


def test_two_dimensional_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(seeds,\), got \(2, 2\)"):
        mean_interval([[1.0, 2.0], [3.0, 4.0]])


def test_paired_differences_are_seed_by_seed() -> None:
    assert paired_differences([1.0, 5.0], [2.0, 3.0]).tolist() == [-1.0, 2.0]
    with pytest.raises(ValueError, match="same seeds"):
        paired_differences([1.0], [1.0, 2.0])


def test_steps_to_target_is_the_first_evaluated_step() -> None:
    steps, losses = [0, 10, 20, 30], [5.0, math.nan, 2.0, 1.0]
    assert steps_to_target(steps, losses, 2.0) == 20
    assert steps_to_target(steps, losses, 5.5) == 0
    assert math.isnan(steps_to_target(steps, losses, 0.9))
    assert math.isnan(steps_to_target(steps, losses, math.nan))


def test_percent_fewer_steps() -> None:
    fewer = percent_fewer_steps([50, 200, math.nan, 10], [100, 100, 100, 0])
    assert fewer[:2].tolist() == [50.0, -100.0]
    assert np.isnan(fewer[2:]).all()


def test_units() -> None:
    assert bits_per_byte(math.log(2)) == pytest.approx(1.0)
    assert perplexity_per_byte(math.log(256)) == pytest.approx(256.0)
    assert perplexity_per_byte(1e4) == math.inf

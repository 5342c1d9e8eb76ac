"""Two kinds of training step, alternated one by one, so that other load meets both alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median, quantiles
from typing import Any

#: Subjects of the measurements.
ENVIRONMENTS = {
    "nano": "mixgym/NanoPretrain-v0",
    "micro": "mixgym/MicroPretrain-v0",
    "target": "mixgym/MicroTarget-v0",
    "target-v1": "mixgym/MicroTarget-v1",
}
STEPS_PER_ROUND = 20


class BareBeside:
    """Takes a step of a bare loop beside every step of a run, before and after it in turn.

    Other load on a machine comes and goes within seconds: whole rounds of either kind would be
    compared under different conditions.

    Attributes:
        seconds: spent in the bare loop; set it to 0 to start over.
        pairs: seconds of every step of the run, and of the bare step beside it.
    """

    def __init__(self, run: Any) -> None:
        from mixgym.lm.bare import BareLoop

        self.seconds = 0.0
        self.pairs: list[tuple[float, float]] = []
        self._bare = BareLoop(run)
        self._number = 0
        self._step = run._optimiser_step
        run._optimiser_step = self._both

    def _both(self, batch: Any, *arguments: Any) -> Any:
        self._number += 1
        bare = self._take(batch) if self._number % 2 else None
        start = time.perf_counter()
        result = self._step(batch, *arguments)
        own = time.perf_counter() - start
        self.pairs.append((own, self._take(batch) if bare is None else bare))
        return result

    def _take(self, batch: Any) -> float:
        start = time.perf_counter()
        self._bare.train([batch])
        seconds = time.perf_counter() - start
        self.seconds += seconds
        return seconds


def measure(
    run: Any,
    advance: Callable[[], float],
    rounds: int,
    steps: int = STEPS_PER_ROUND,
    warm_up: int = 1,
) -> dict[str, Any]:
    """Compare a run's steps, with all that surrounds them, to bare steps on the same batches.

    Args:
        run: the `TrainingRun` that is advanced.
        advance: takes one round of `steps` of its steps; returns seconds not to be counted.
        rounds: how many are measured, after `warm_up` others.
        steps: of a round.

    Returns:
        Medians over rounds; `step_ratio` over single steps, without what is done once a round, and
        `round_ms`, what that takes.
    """
    beside = BareBeside(run)
    ratios, inside, outside, apart_from_steps = [], [], [], []
    for index in range(warm_up + rounds):
        beside.seconds = 0.0
        start = time.perf_counter()
        apart = advance()
        seconds = time.perf_counter() - start - beside.seconds - apart
        if index >= warm_up:
            ratios.append(seconds / beside.seconds)
            inside.append(1000 * seconds / steps)
            outside.append(1000 * beside.seconds / steps)
            own = sum(own for own, _ in beside.pairs[-steps:])
            apart_from_steps.append(1000 * (seconds - own))
    low, middle, high = quantiles(ratios, n=4) if rounds > 1 else ratios * 3
    return {
        "ms_per_step": median(inside),
        "bare_ms_per_step": median(outside),
        "ratio": middle,
        "lower_quartile": low,
        "upper_quartile": high,
        "rounds": rounds,
        "step_ratio": median(own / bare for own, bare in beside.pairs[warm_up * steps :]),
        "round_ms": median(apart_from_steps),
    }

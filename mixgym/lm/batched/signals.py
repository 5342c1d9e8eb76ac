"""The signals of N runs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixgym.signals import Signals

Array = NDArray[np.float32]


@dataclass(frozen=True)
class BatchedSignals:
    """`Signals` of N runs: the same names with the runs as first axis.

    What `Signals` leaves empty where it was not measured is None here. `batched[i]` is run i's
    `Signals`; `len(batched)` is N.

    Attributes:
        mixture, counts, tokens, epochs, train_loss, train_loss_age, train_loss_change, last_loss,
        validation_loss, validation_change: (N, K) float32.
        starved: (N, K) bool.
        weight_norms, update_norms: (N, L) float32.
        step, decision: (N,) int64.
        total_steps: of all.
        remaining, learning_rate, objective_loss: (N,) float64.
        diverged: (N,) bool.
        advanced: (N,) bool, whether the run took part in the decision. One that did not has its
            state of before, with no counts, changes and losses of this decision.
        gram: (N, K, K); gradient_norms, gradient_variance, alignment, objective_alignment: (N, K);
            objective_gradient_norm: (N,) float64; or None.
    """

    mixture: Array
    counts: Array
    tokens: Array
    epochs: Array
    train_loss: Array
    train_loss_age: Array
    train_loss_change: Array
    last_loss: Array
    validation_loss: Array
    validation_change: Array
    starved: NDArray[np.bool_]
    weight_norms: Array
    update_norms: Array
    step: NDArray[np.int64]
    total_steps: int
    decision: NDArray[np.int64]
    remaining: NDArray[np.float64]
    objective_loss: NDArray[np.float64]
    diverged: NDArray[np.bool_]
    learning_rate: NDArray[np.float64]
    advanced: NDArray[np.bool_]
    gram: Array | None = None
    gradient_norms: Array | None = None
    gradient_variance: Array | None = None
    alignment: Array | None = None
    objective_alignment: Array | None = None
    objective_gradient_norm: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.mixture)

    def __getitem__(self, i: int) -> Signals:
        values: dict[str, Any] = {"total_steps": self.total_steps}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray) and item.name != "advanced":
                own = value[i]
                values[item.name] = own.copy() if value.ndim > 1 else own.item()
        return Signals(**values)

"""Vector rewards: what a weighted sum of them is, and what a diverged run gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def scalar_reward(reward: Any, info: dict[str, Any]) -> float:
    """Return an environment's reward as a number: a vector's weighted sum is in its info."""
    return float(reward) if np.ndim(reward) == 0 else float(info["scalar_reward"])


def penalty_vector(weights: Sequence[float], penalty: float) -> NDArray[np.float64]:
    """Share a scalar `penalty` out among terms of the given `weights`.

    Every term gets -penalty / sum_j |w_j| times the sign of its own weight (+ for 0), so that each
    term is worse than nothing and the weighted sum is -penalty (where a weight is not 0).

    >>> penalty_vector([1.0, -3.0], 5.0).tolist()
    [-1.25, 1.25]
    """
    given = np.asarray(weights, dtype=np.float64)
    total = float(np.abs(given).sum()) or 1.0
    return -penalty / total * np.where(given < 0, -1.0, 1.0)

"""Losses and norms of N runs become signals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class BatchedRecorder:
    """What N runs remember between decisions to make signals of.

    Args:
        N: number of runs.
        natural: (K,) mixture before the first decision.
        bytes_per_token: (K,).
        decay: coefficient of the running mean of the training loss.

    Attributes:
        train_loss: (N, K) running means, nats per byte; NaN before the first.
        last_seen: (N, K) step after which a domain was seen last.
        mixture: (N, K) applied last.
        norms: (N, L) of the layers' weights.
    """

    def __init__(
        self,
        N: int,
        natural: NDArray[np.float64],
        bytes_per_token: NDArray[np.float64],
        decay: float,
    ) -> None:
        self._natural, self._bytes_per_token, self._decay = natural, bytes_per_token, decay
        K = len(natural)
        self.train_loss = np.full((N, K), np.nan)
        self.last_seen = np.zeros((N, K), dtype=np.int64)
        self.mixture = np.tile(natural, (N, 1))
        self.norms = np.zeros((N, 0))

    def restart(self, runs: NDArray[np.int64]) -> None:
        """Begin anew for `runs`, except for the norms."""
        self.train_loss[runs], self.last_seen[runs] = np.nan, 0
        self.mixture[runs] = self._natural

    def record(
        self,
        runs: NDArray[np.int64],
        domains: NDArray[np.int64],
        losses: NDArray[np.float64],
        step: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Take in R runs' losses of a decision and return the (R, K) mean losses of its domains.

        Args:
            runs: (R,) which runs.
            domains: (R, n, B) of the sequences of n steps.
            losses: (R, n, B) of each sequence, nats per token.
            step: (R,) steps taken when the decision has ended.
        """
        (R, n, _), K = losses.shape, self.train_loss.shape[1]
        cells = (np.arange(R * n).reshape(R, n, 1) * K + domains).ravel()
        total = np.bincount(cells, losses.ravel(), R * n * K).reshape(R, n, K)
        number = np.bincount(cells, minlength=R * n * K).reshape(R, n, K)
        seen = number > 0
        average = self.train_loss[runs]
        with np.errstate(invalid="ignore", over="ignore"):
            means = total / number / self._bytes_per_token
            for at in range(n):
                new = self._decay * average + (1 - self._decay) * means[:, at]
                new = np.where(np.isnan(average), means[:, at], new)
                average = np.where(seen[:, at], new, average)
            # In the steps' order, as a single run sums.
            last_loss = total.cumsum(axis=1)[:, -1] / number.sum(axis=1) / self._bytes_per_token
        self.train_loss[runs] = average
        last = step[:, None] - seen[:, ::-1].argmax(axis=1)
        self.last_seen[runs] = np.where(seen.any(axis=1), last, self.last_seen[runs])
        return last_loss

    def state_dict(self) -> dict[str, Any]:
        """Return everything remembered, JSON-plain (NaN as None)."""
        return {
            "train_loss": _plain(self.train_loss),
            "last_seen": self.last_seen.tolist(),
            "mixture": self.mixture.tolist(),
            "norms": _plain(self.norms),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.train_loss = np.array(state["train_loss"], dtype=np.float64)
        self.last_seen = np.array(state["last_seen"], dtype=np.int64)
        self.mixture = np.array(state["mixture"], dtype=np.float64)
        self.norms = np.array(state["norms"], dtype=np.float64)


def _plain(values: NDArray[np.float64]) -> list[list[float | None]]:
    return [[None if x != x else x for x in row] for row in values.tolist()]

"""From N runs' losses and norms to `BatchedSignals`; no model, no text."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixgym.lm.batched.adamw import current_rates
from mixgym.lm.batched.signals import BatchedSignals
from mixgym.lm.batched.stream import BatchedStream
from mixgym.lm.recorder import DIVERGENCE_FACTOR, nan_to_none
from mixgym.lm.settings import Settings


class BatchedRecorder:
    """What N runs remember between decisions beside models, optimisers and data positions.

    It is `lm.recorder.SignalRecorder` with the runs as first axis, and gives its numbers exactly.

    Args:
        learning_rates: (N,) peaks.
        natural: (K,) mixture before the first decision.
        bytes_per_token: (K,) mean bytes of a training token.
        layers: number L of signal layers.
        vocabulary: tokens of the model, whose uniform prediction divergence is measured by.
        settings: of the runs.
        total_steps: optimiser steps in each budget.

    Attributes:
        step: (N,) int64 optimiser steps done.
        decision: (N,) int64 decisions done.
        diverged: (N,) bool.
        learning_rates: (N,) peaks.
        mixture: (N, K) applied last.
        norms: (N, L) of the layers' weights.
        train_loss: (N, K) running means, nats per byte; NaN for a domain unseen.
        last_seen: (N, K) steps done when a domain was last seen.
    """

    def __init__(
        self,
        learning_rates: NDArray[np.float64],
        natural: NDArray[np.float64],
        bytes_per_token: NDArray[np.float64],
        layers: int,
        vocabulary: int,
        settings: Settings,
        total_steps: int,
    ) -> None:
        N, K = len(learning_rates), len(natural)
        self.settings, self.total_steps = settings, total_steps
        self.learning_rates = learning_rates
        self.step = np.zeros(N, dtype=np.int64)
        self.decision = np.zeros(N, dtype=np.int64)
        self.diverged = np.zeros(N, dtype=bool)
        self.mixture = np.tile(natural, (N, 1))
        self.norms = np.zeros((N, layers))
        self.train_loss = np.full((N, K), np.nan)
        self.last_seen = np.zeros((N, K), dtype=np.int64)
        self._natural, self._bytes_per_token = natural, bytes_per_token
        self._limit = DIVERGENCE_FACTOR * float(np.log(vocabulary))

    def restart(self, runs: NDArray[np.int64]) -> None:
        """Begin anew for `runs`, except for the norms and learning rates."""
        self.step[runs], self.decision[runs], self.diverged[runs] = 0, 0, False
        self.train_loss[runs], self.last_seen[runs] = np.nan, 0
        self.mixture[runs] = self._natural

    def record(
        self, runs: NDArray[np.int64], domains: NDArray[np.int64], losses: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Take the losses of a decision's steps, and count the steps and the decision.

        Args:
            runs: (R,) which runs.
            domains: (R, n, B) of the sequences of n steps.
            losses: (R, n, B) of each sequence, nats per token.

        Returns:
            (R, K) mean losses of the domains over the decision, NaN where there were none.
        """
        (R, n, _), K = losses.shape, self.train_loss.shape[1]
        self.step[runs] += n
        self.decision[runs] += 1
        self.diverged[runs] = np.any(~(losses.mean(axis=2) < self._limit), axis=1)
        cells = (np.arange(R * n).reshape(R, n, 1) * K + domains).ravel()
        total = np.bincount(cells, losses.ravel(), R * n * K).reshape(R, n, K)
        number = np.bincount(cells, minlength=R * n * K).reshape(R, n, K)
        seen = number > 0
        average, decay = self.train_loss[runs], self.settings.loss_decay
        with np.errstate(invalid="ignore", over="ignore"):
            means = total / number / self._bytes_per_token
            for at in range(n):
                new = decay * average + (1 - decay) * means[:, at]
                new = np.where(np.isnan(average), means[:, at], new)
                average = np.where(seen[:, at], new, average)
            # In the steps' order, as a single run sums.
            last_loss = total.cumsum(axis=1)[:, -1] / number.sum(axis=1) / self._bytes_per_token
        self.train_loss[runs] = average
        last = self.step[runs][:, None] - seen[:, ::-1].argmax(axis=1)
        self.last_seen[runs] = np.where(seen.any(axis=1), last, self.last_seen[runs])
        return last_loss

    def signals(
        self,
        stream: BatchedStream,
        drawn_before: NDArray[np.int64],
        loss_before: NDArray[np.float64],
        last_loss: NDArray[np.float64],
        updates: NDArray[np.float64],
        advanced: NDArray[np.bool_],
    ) -> BatchedSignals:
        """Return the signals of a decision.

        Args:
            stream: that the sequences came from.
            drawn_before: (N, K) what was drawn when the decision began.
            loss_before: (N, K) `train_loss` then.
            last_loss: (N, K) what `record` returned, NaN for runs that took no part.
            updates: (N, L) norms of the weights' changes.
            advanced: (N,) runs that took part.
        """
        counts, nothing = stream.drawn - drawn_before, np.full(last_loss.shape, np.nan)
        with np.errstate(invalid="ignore"):
            change = self.train_loss - loss_before
        change = np.nan_to_num(change, nan=0.0, posinf=0.0, neginf=0.0)
        peaks = self.learning_rates
        return BatchedSignals(
            mixture=_f32(self.mixture),
            counts=_f32(counts),
            tokens=_f32(stream.drawn * self.settings.context),
            epochs=_f32(stream.epochs),
            train_loss=_f32(self.train_loss),
            train_loss_age=_f32(self.step[:, None] - self.last_seen),
            train_loss_change=_f32(change),
            last_loss=_f32(last_loss),
            validation_loss=_f32(nothing),
            validation_change=_f32(nothing),
            starved=(self.mixture > 0) & (counts == 0) & (self.decision > 0)[:, None],
            weight_norms=_f32(self.norms),
            update_norms=_f32(updates),
            step=self.step.copy(),
            total_steps=self.total_steps,
            decision=self.decision.copy(),
            remaining=1.0 - self.step / self.total_steps,
            objective_loss=np.full(len(peaks), np.nan),
            diverged=self.diverged.copy(),
            learning_rate=current_rates(self.settings, peaks, self.step, self.total_steps),
            advanced=advanced,
        )

    def idle_signals(self, stream: BatchedStream) -> BatchedSignals:
        """Return the signals between two decisions, where nothing has changed."""
        nothing = np.full(self.train_loss.shape, np.nan)
        nobody = np.zeros(len(nothing), dtype=bool)
        updates = np.zeros_like(self.norms)
        return self.signals(stream, stream.drawn, self.train_loss, nothing, updates, nobody)

    def has_diverged(self, loss: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(N,) whether any of (N, K) losses, nats per byte, is beyond the limit or not a number."""
        return np.any(~(loss * self._bytes_per_token < self._limit), axis=1)

    def state_dict(self) -> dict[str, Any]:
        """Return everything remembered, JSON-plain (NaN as None)."""
        return {
            "learning_rates": self.learning_rates.tolist(),
            "step": self.step.tolist(),
            "decision": self.decision.tolist(),
            "diverged": self.diverged.tolist(),
            "train_loss": [nan_to_none(row) for row in self.train_loss],
            "last_seen": self.last_seen.tolist(),
            "mixture": self.mixture.tolist(),
            "norms": [nan_to_none(row) for row in self.norms],
        }

    def single(self, i: int) -> dict[str, Any]:
        """Return the state of run i's `SignalRecorder`."""
        whole = self.state_dict()
        del whole["learning_rates"]
        return {name: values[i] for name, values in whole.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.diverged = np.array(state["diverged"], dtype=bool)
        for name in ("step", "decision", "last_seen"):
            setattr(self, name, np.array(state[name], dtype=np.int64))
        for name in ("learning_rates", "train_loss", "mixture", "norms"):
            # A None among floats becomes NaN.
            setattr(self, name, np.array(state[name], dtype=np.float64))


def _f32(values: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.array(values, dtype=np.float32)

"""From a decision's losses and norms to `Signals`; no model, no text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from mixgym.errors import CheckpointError
from mixgym.lm.settings import Settings
from mixgym.lm.stream import MixtureStream
from mixgym.signals import Signals

if TYPE_CHECKING:
    from mixgym.corpus import Corpus

#: Above this multiple of the uniform prediction's loss, ln(vocabulary), training has diverged.
DIVERGENCE_FACTOR = 3.0


@dataclass(frozen=True)
class Before:
    """What the signals of a decision are compared to.

    Attributes:
        train_loss: (K,) float64 running mean when the decision began, NaN for a domain unseen.
        drawn: (K,) int64 sequences drawn by then.
    """

    train_loss: NDArray[np.float64]
    drawn: NDArray[np.int64]


class RecorderState(TypedDict):
    """`SignalRecorder.state_dict`."""

    step: int
    decision: int
    diverged: bool
    train_loss: list[float | None]
    last_seen: list[int]
    mixture: list[float]
    norms: list[float | None]


class SignalRecorder:
    """What a run remembers between decisions beside its model, optimiser and data position.

    A decision: note `before`, count `step` up with every optimiser step, `record` their losses,
    set `norms`, and `finish`. Losses go in as nats per token and come out as nats per byte.

    Args:
        natural: (K,) the mixture before the first decision.
        bytes_per_token: (K,) mean bytes of a training token.
        vocabulary: tokens of the model, whose uniform prediction divergence is measured by.
        settings: `loss_decay`, `context` and the learning rate's schedule count here.
        total_steps: optimiser steps in the budget.

    Attributes:
        step: optimiser steps done.
        decision: decisions done.
        diverged: whether a step's loss was beyond the limit, or not a number.
        mixture: (K,) float64, of the last decision.
        norms: (L,) float64, of the signal layers' weights.
        train_loss: (K,) float64 running mean, nats per byte; NaN for a domain unseen.
        last_seen: (K,) int64 number of optimiser steps done when the domain was last seen.
    """

    @classmethod
    def of(
        cls, corpus: Corpus, vocabulary: int, settings: Settings, total_steps: int
    ) -> SignalRecorder:
        """Return the recorder of a run on `corpus`."""
        bytes_per_token = np.array([d.bytes_per_token("train") for d in corpus.domains])
        return cls(corpus.natural, bytes_per_token, vocabulary, settings, total_steps)

    def __init__(
        self,
        natural: NDArray[np.float64],
        bytes_per_token: NDArray[np.float64],
        vocabulary: int,
        settings: Settings,
        total_steps: int,
    ) -> None:
        self.settings = settings
        self.total_steps = total_steps
        self.step = 0
        self.decision = 0
        self.diverged = False
        self.mixture = natural.copy()
        self.norms = np.zeros(0)
        self.train_loss = np.full(len(natural), np.nan)
        self.last_seen = np.zeros(len(natural), dtype=np.int64)
        self._bytes_per_token = bytes_per_token
        self._limit = DIVERGENCE_FACTOR * float(np.log(vocabulary))

    @property
    def K(self) -> int:
        """Number of domains."""
        return len(self.mixture)

    def before(self, stream: MixtureStream) -> Before:
        """Return what the coming decision is compared to."""
        return Before(self.train_loss.copy(), stream.drawn)

    def record(
        self, domains: NDArray[np.int64], losses: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Take the losses of a decision's steps, `step` being counted already.

        Args:
            domains: (steps, B) of the sequences.
            losses: (steps, B) float64 mean losses, nats per token.

        Returns:
            (K,) mean losses of the domains over the decision, NaN where there were none.
        """
        self.diverged = not bool((losses.mean(axis=1) < self._limit).all())
        (steps, _), K = losses.shape, self.K
        cells = (np.arange(steps)[:, None] * K + domains).ravel()
        total = np.bincount(cells, losses.ravel(), steps * K).reshape(steps, K)
        number = np.bincount(cells, minlength=steps * K).reshape(steps, K)
        seen = number > 0
        decay = self.settings.loss_decay
        with np.errstate(invalid="ignore"):
            for mean, drawn in zip(total / number / self._bytes_per_token, seen, strict=True):
                old = self.train_loss
                average = np.where(np.isnan(old), mean, decay * old + (1 - decay) * mean)
                self.train_loss = np.where(drawn, average, old)
            last = self.step - seen[::-1].argmax(axis=0)
            self.last_seen = np.where(seen.any(axis=0), last, self.last_seen)
            # In the steps' order, whatever their number: a sum over pairs would round otherwise.
            return total.cumsum(axis=0)[-1] / number.sum(axis=0) / self._bytes_per_token

    def finish(
        self,
        mixture: NDArray[np.float64],
        before: Before,
        stream: MixtureStream,
        last_loss: NDArray[np.float64],
        updates: NDArray[np.float64],
        learning_rate: float | None = None,
    ) -> Signals:
        """Count the decision whose losses were recorded, and return its signals.

        Args:
            mixture: (K,) of the decision.
            before: when it began.
            stream: that the sequences came from.
            last_loss: (K,) what `record` returned.
            updates: (L,) norms of the weights' changes.
            learning_rate: of the last step; the settings' by default.
        """
        self.decision += 1
        self.mixture = mixture
        change = np.nan_to_num(self.train_loss - before.train_loss, nan=0.0, posinf=0.0, neginf=0.0)
        counts = stream.drawn - before.drawn
        return self._signals(stream, counts, change, last_loss, updates, learning_rate)

    def between(self, stream: MixtureStream) -> Signals:
        """Return the signals between decisions: nothing sampled, nothing changed."""
        nothing, updates = np.zeros(self.K), np.zeros(len(self.norms))
        return self._signals(stream, nothing, nothing, np.full(self.K, np.nan), updates)

    def _signals(
        self,
        stream: MixtureStream,
        counts: NDArray[Any],
        change: NDArray[np.float64],
        last_loss: NDArray[np.float64],
        updates: NDArray[np.float64],
        learning_rate: float | None = None,
    ) -> Signals:
        nothing = np.full(self.K, np.nan, dtype=np.float32)
        return Signals(
            mixture=_f32(self.mixture),
            counts=_f32(counts),
            tokens=_f32(stream.drawn * self.settings.context),
            epochs=_f32(stream.epochs),
            train_loss=_f32(self.train_loss),
            train_loss_age=_f32(self.step - self.last_seen),
            train_loss_change=_f32(change),
            last_loss=_f32(last_loss),
            validation_loss=nothing,
            validation_change=nothing.copy(),
            starved=(self.mixture > 0) & (counts == 0) & (self.decision > 0),
            weight_norms=_f32(self.norms),
            update_norms=_f32(updates),
            step=self.step,
            total_steps=self.total_steps,
            decision=self.decision,
            remaining=1.0 - self.step / self.total_steps,
            diverged=self.diverged,
            learning_rate=self._rate() if learning_rate is None else learning_rate,
        )

    def _rate(self) -> float:
        if not self.step:
            return float("nan")
        return self.settings.learning_rate_at(self.step - 1, self.total_steps)

    def has_diverged(self, loss: NDArray[np.float64]) -> bool:
        """Whether any of (K,) losses in nats per byte is beyond the limit or not a number.

        The limit is `DIVERGENCE_FACTOR` times the loss of knowing nothing, ln(vocabulary).
        """
        return not bool((loss * self._bytes_per_token < self._limit).all())

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered, JSON-plain."""
        return {
            "step": self.step,
            "decision": self.decision,
            "diverged": self.diverged,
            "train_loss": nan_to_none(self.train_loss),
            "last_seen": self.last_seen.tolist(),
            "mixture": self.mixture.tolist(),
            "norms": nan_to_none(self.norms),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Remember what `saved` says; further keys are let be.

        Raises:
            CheckpointError: it is of another number of domains.
        """
        for name in ("train_loss", "last_seen", "mixture"):
            if len(saved[name]) != self.K:
                raise CheckpointError(
                    f"the saved {name} has {len(saved[name])} entries, the corpus {self.K} domains"
                )
        self.step = saved["step"]
        self.decision = saved["decision"]
        self.diverged = saved["diverged"]
        # A None among floats becomes NaN.
        self.train_loss = np.array(saved["train_loss"], dtype=np.float64)
        self.last_seen = np.array(saved["last_seen"], dtype=np.int64)
        self.mixture = np.array(saved["mixture"], dtype=np.float64)
        self.norms = np.array(saved["norms"], dtype=np.float64)


def nan_to_none(values: NDArray[np.float64]) -> list[float | None]:
    """Return `values` as JSON-plain numbers."""
    return [None if np.isnan(x) else float(x) for x in values]


def _f32(values: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.array(values, dtype=np.float32)

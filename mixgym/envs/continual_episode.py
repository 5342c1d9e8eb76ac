"""An episode of continual pretraining: feedback of two fields, and what was kept and gained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mixgym.envs.continual_arguments import FIELD_NAMES, ContinualArguments
from mixgym.envs.episode import Episode, Measurement
from mixgym.envs.observation import WINDOW
from mixgym.signals import Signals


class ContinualEpisode(Episode):
    """An `Episode` whose signals hold the fields' feedback, and the past of it and the mixtures.

    Args as of `Episode`; the arguments are `ContinualArguments`.

    Attributes:
        fields: (2, K) share of each domain in the source and the target field: natural, each row
            summing to one.
    """

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.probes = cast(ContinualArguments, self.arguments).probes
        self.fields = np.zeros((2, self.task.K))
        for row, name in enumerate(FIELD_NAMES):
            member = np.isin(self.task.names, self.task.groups.get(name, ()))
            natural = np.where(member, self.task.natural, 0.0)
            self.fields[row] = natural / max(natural.sum(), 1e-12)

    def by_field(self, loss: NDArray[np.float64]) -> NDArray[np.float64]:
        """(2,) mean of (K,) losses over the fields; NaN unless all their domains were measured."""
        return np.array(
            [
                float(np.dot(shares[shares > 0], loss[shares > 0])) if shares.any() else np.nan
                for shares in self.fields
            ]
        )

    def _folded(self, signals: Signals, measured: Measurement, before: Signals | None) -> Signals:
        signals = super()._folded(signals, measured, before)
        feedback = np.full(2, np.nan)
        self._probe_values = dict(measured.feedback or {})
        if measured.feedback is not None:
            for row, names in enumerate(self.probes.values()):
                feedback[row] = np.mean([measured.feedback[name] for name in names])
        if before is None:
            self._start_feedback = feedback
            self._start_loss = self._field_loss(signals)
            past_mixtures = np.full((WINDOW, self.task.K), np.nan, dtype=np.float32)
            past_feedback = np.full((WINDOW, 2), np.nan, dtype=np.float32)
        else:
            gained = (feedback - self._start_feedback).astype(np.float32)
            past_mixtures = np.vstack([signals.mixture, before.past_mixtures[:-1]])
            past_feedback = np.vstack([gained, before.past_feedback[:-1]])
        return replace(
            signals,
            feedback=feedback.astype(np.float32),
            past_mixtures=past_mixtures,
            past_feedback=past_feedback,
        )

    def _field_loss(self, signals: Signals) -> NDArray[np.float64]:
        return self.by_field(signals.validation_loss.astype(np.float64))

    @property
    def source_tokens(self) -> int:
        """Training tokens spent on the source field so far."""
        return int(self.signals.tokens[self.fields[0] > 0].sum())

    def info(self) -> dict[str, Any]:
        s = self.signals
        change = self._start_loss - self._field_loss(s)
        names = [name for probes in self.probes.values() for name in probes]
        values = {name: self._probe_values.get(name, np.inf) for name in names}
        retention, gain = (np.float64(x if np.isfinite(x) else np.inf) for x in change)
        return {
            **super().info(),
            "feedback": {
                name: np.float64(x if np.isfinite(x) else np.inf)
                for name, x in zip(FIELD_NAMES, s.feedback, strict=True)
            },
            "probes": {name: np.float64(value) for name, value in values.items()},
            "retention": retention,
            "gain": gain,
            "source_tokens": np.int64(self.source_tokens),
        }

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        state["scalars"]["probes"] = dict(self._probe_values)
        state["arrays"] |= {
            "start.feedback": self._start_feedback.copy(),
            "start.loss": self._start_loss.copy(),
        }
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._probe_values = dict(state["scalars"]["probes"])
        self._start_feedback = np.array(state["arrays"]["start.feedback"])
        self._start_loss = np.array(state["arrays"]["start.loss"])

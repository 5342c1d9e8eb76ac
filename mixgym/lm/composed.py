"""What runs of a model have in common because they are made of the same parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mixgym.ledger import Ledger
from mixgym.lm.evaluation import EvaluationWindows, charged_losses
from mixgym.lm.norms import LayerNorms
from mixgym.lm.ranks import Ranks
from mixgym.lm.recorder import SignalRecorder
from mixgym.lm.settings import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from mixgym.corpus import Corpus


class ComposedRun(ABC):
    """The part of a `mixgym.lm.run.ModelRun` that follows from its parts, which a subclass sets."""

    corpus: Corpus
    model: PreTrainedModel
    settings: Settings
    held_out: EvaluationWindows
    ledger: Ledger
    n_parameters: int
    #: The processes that the run is divided among.
    ranks: Ranks = Ranks()
    _recorder: SignalRecorder
    _norms: LayerNorms

    @abstractmethod
    def autocast(self) -> torch.autocast:
        """Return a fresh context of the run's precision."""

    def _torch(self) -> AbstractContextManager[None]:
        """The torch state that the run computes in; the caller's by default."""
        return nullcontext()

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        return self._recorder.step

    @property
    def decision(self) -> int:
        """Decisions done."""
        return self._recorder.decision

    @property
    def diverged(self) -> bool:
        """Whether a training loss was beyond the limit of `has_diverged`, or not a number."""
        return self._recorder.diverged

    @property
    def layer_names(self) -> tuple[str, ...]:
        """(L,) names of the weight matrices whose norms are signals."""
        return self._norms.names

    def has_diverged(self, loss: NDArray[np.float64]) -> bool:
        """Whether any of (K,) losses is beyond the limit (see `SignalRecorder.has_diverged`)."""
        return self._recorder.has_diverged(loss)

    def refresh_norms(self) -> None:
        """Measure the weight norms again, after the weights were changed from outside."""
        with self._torch():
            self._recorder.norms = self._norms.weights()

    def evaluate(
        self,
        split: str = "validation",
        *,
        domains: ArrayLike | None = None,
        windows: int = 128,
        account: str = "evaluation",
    ) -> NDArray[np.float64]:
        """Measure the loss on fixed held-out windows without changing the run.

        Processes divide the domains among themselves.

        Args:
            split: `"validation"`, or `"test"` for reports only.
            domains: indices of the domains to measure; all by default.
            windows: windows a domain (fewer where the split holds fewer).
            account: ledger account that pays.

        Returns:
            (K,) float64, nats per byte, NaN where not measured.
        """
        chosen = list(range(self.corpus.K)) if domains is None else np.asarray(domains).tolist()
        rank, world = self.ranks.rank, self.ranks.world
        with self._torch():
            result = charged_losses(
                self.model,
                self.held_out,
                self.autocast(),
                self.ledger,
                split,
                domains=chosen[rank::world],
                windows=windows,
                account=account,
            )
            if world > 1:
                every = self.ranks.gather(torch.from_numpy(result)).numpy()
                for place, k in enumerate(chosen):
                    result[k] = every[place % world, k]
                others = [k for place, k in enumerate(chosen) if place % world != rank]
                number = sum(len(self.held_out.tokens(split, k, windows)) for k in others)
                tokens = number * self.settings.context
                self.ledger.charge(account, tokens=tokens, flops=2.0 * self.n_parameters * tokens)
        return result

"""What an environment needs of a run, and what tools that read its model need besides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixgym.signals import Signals

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from mixgym.corpus import Corpus
    from mixgym.ledger import Ledger
    from mixgym.lm.evaluation import EvaluationWindows
    from mixgym.lm.settings import Settings


class Run(Protocol):
    """A training run over K domains that is steered a mixture at a time.

    Nothing says that a model is trained, or that there is text: what has these members can be put
    under an environment. Losses are nats per byte.

    Attributes:
        ledger: cost accounts of everything the run does; one may be put in its place.
    """

    ledger: Ledger

    @property
    def total_steps(self) -> int:
        """Optimiser steps in the budget."""
        ...

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        ...

    @property
    def decision(self) -> int:
        """Decisions done."""
        ...

    @property
    def diverged(self) -> bool:
        """Whether the training loss stopped being finite; such a run cannot `advance`."""
        ...

    @property
    def n_parameters(self) -> int:
        """Parameters of the model that is, or stands for what is, trained."""
        ...

    @property
    def layer_names(self) -> tuple[str, ...]:
        """(L,) names of the weight matrices whose norms are signals; empty for none."""
        ...

    def advance(self, mixture: ArrayLike, steps: int) -> Signals:
        """Take `steps` optimiser steps on data mixed by (K,) weights; return what came of it.

        Raises:
            ValueError: no mixture, or steps that the budget does not hold.
            MixgymError: the run has diverged.
        """
        ...

    def signals(self) -> Signals:
        """Return the signals between decisions, without changing the run."""
        ...

    def evaluate(
        self,
        split: str = "validation",
        *,
        domains: ArrayLike | None = None,
        windows: int = 128,
        account: str = "evaluation",
    ) -> NDArray[np.float64]:
        """Return (K,) held-out losses, NaN where not measured, without changing the run.

        Args:
            split: `"validation"`, or `"test"` for reports only.
            domains: indices of the domains to measure; all by default.
            windows: windows a domain, at most.
            account: ledger account that pays.
        """
        ...

    def has_diverged(self, loss: NDArray[np.float64]) -> bool:
        """Whether any of (K,) losses is beyond what is worth going on from, or not a number."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all that the run is now: `tensors` by name and JSON-plain `scalars`."""
        ...

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue exactly where `saved` was taken, in a run made with the same arguments."""
        ...

    def fork(self) -> Self:
        """Return an independent copy that continues identically."""
        ...


class ModelRun(Run, Protocol):
    """A `Run` of a torch model on a corpus: what probes, weights and checkpoints need.

    Attributes:
        corpus: the text.
        model: in training mode.
        settings: how it is trained.
        held_out: the windows that `evaluate` measures on.
    """

    corpus: Corpus
    model: PreTrainedModel
    settings: Settings
    held_out: EvaluationWindows

    def autocast(self) -> torch.autocast:
        """Return a fresh context of the run's precision."""
        ...

    def refresh_norms(self) -> None:
        """Measure the weight norms again, after the weights were changed from outside."""
        ...

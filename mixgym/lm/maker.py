"""Runs of one environment: everything about them but their seed and budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mixgym.lm.models import ModelSpec
from mixgym.lm.settings import GradientSettings, Settings

if TYPE_CHECKING:
    from mixgym.corpus import Corpus
    from mixgym.lm.training import TrainingRun


@dataclass(frozen=True)
class RunMaker:
    """Makes `TrainingRun`s of one kind; `dataclasses.replace` gives a kind that differs.

    Attributes:
        corpus, model, settings, evaluation_seed, gradients, text_sequences: see `TrainingRun`.
    """

    corpus: Corpus
    model: ModelSpec
    settings: Settings
    evaluation_seed: int = 0
    gradients: GradientSettings | None = None
    text_sequences: int = 0

    def make(self, seed: int, total_steps: int) -> TrainingRun:
        """Return a new run.

        Args:
            seed: of the run.
            total_steps: optimiser steps in its budget.

        Raises:
            MixgymError, ValueError: as `TrainingRun`.
        """
        from mixgym.lm.training import TrainingRun

        return TrainingRun(
            self.corpus,
            self.model,
            total_steps=total_steps,
            seed=seed,
            settings=self.settings,
            evaluation_seed=self.evaluation_seed,
            gradients=self.gradients,
            text_sequences=self.text_sequences,
        )

    def layer_names(self) -> tuple[str, ...]:
        """Return the (L,) names of the matrices whose norms are signals, without making a run.

        Raises:
            MixgymError, UnknownNameError: a model or `layers` that does not fit.
        """
        from mixgym.lm.models import empty_model, model_config, signal_layers

        settings = self.settings
        config = model_config(self.model, self.corpus.tokenizer.vocab_size, settings.context)
        model = empty_model(config.to_dict(), "meta")
        return tuple(name for name, _ in signal_layers(model, settings.layers))

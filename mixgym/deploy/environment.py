"""The environment of a run that a Trainer takes: what agents are started with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixgym.deploy.journal import Journal
from mixgym.deploy.run import TrainerRun
from mixgym.envs.arguments import EnvironmentArguments
from mixgym.envs.pretrain import PretrainEnv
from mixgym.errors import MixgymError
from mixgym.lm.models import signal_layers
from mixgym.lm.ranks import Ranks
from mixgym.simplex import Mixture

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from mixgym.corpus import Corpus

#: What a run inside a Trainer can measure for reward terms.
MEASURED = frozenset({"objective", "gram", "objective_gradient"})


@dataclass(frozen=True)
class TrainerSetup:
    """What a Trainer brings.

    Attributes:
        model: the model, unwrapped.
        total_steps: optimiser steps.
        accumulation: micro-batches of a step.
        ranks: the processes.
        replay: what an interrupted run was told, to be told again.
    """

    model: PreTrainedModel
    total_steps: int
    accumulation: int = 1
    ranks: Ranks = field(default_factory=Ranks)
    replay: Journal | None = None


class TrainerEnv(PretrainEnv):
    """A `PretrainEnv` whose `step` trains nothing: it reads what the Trainer did by the action.

    Observations, rewards and infos are the environments' own, hence what a policy was trained on.
    The mixture of an action is had from `peek` before the Trainer trains by it; `step` comes after.

    Args:
        text: the corpus; `arguments` name it.
        setup: what the Trainer brings.
        arguments: of `EnvironmentArguments`.

    Raises:
        MixgymError: a reward term needs what a Trainer's run does not measure.
    """

    DEFAULTS = EnvironmentArguments(reward={}, validation="reward")

    def __init__(self, text: Corpus, setup: TrainerSetup, /, **arguments: Any) -> None:
        self._given = text
        self.setup = setup
        super().__init__(**arguments)
        for name, (_, term) in self.episode._terms.items():
            for need in sorted(term.needs - MEASURED):
                raise MixgymError(
                    f"reward term {name!r} needs {need!r}, which is not measured inside a "
                    "Trainer: choose another reward, or act by a saved policy"
                )

    def _open_corpus(self) -> Corpus:
        return self._given

    def _layer_names(self) -> tuple[str, ...]:
        layers = signal_layers(self.setup.model, self.settings.layers)
        return tuple(name for name, _ in layers)

    def _new_run(self, seed: int) -> TrainerRun:
        setup = self.setup
        return TrainerRun(
            self.corpus,
            setup.model,
            total_steps=setup.total_steps,
            seed=seed,
            settings=self.settings,
            evaluation_seed=self.arguments.evaluation_seed,
            gradients=self.gradients,
            accumulation=setup.accumulation,
            ranks=setup.ranks,
            replay=setup.replay,
        )

    def peek(self, action: NDArray[np.float32]) -> Mixture:
        """Return the mixture that `step(action)` will be told was trained by."""
        bits = self.episode._noise.bit_generator
        before = bits.state
        try:
            return self.episode.to_mixture(action)
        finally:
            bits.state = before  # many times cheaper than a copy of the generator

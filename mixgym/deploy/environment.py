"""The environment of a run that a Trainer takes: what agents are started with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from mixgym.deploy.run import TrainerRun
from mixgym.envs.arguments import EnvironmentArguments
from mixgym.envs.pretrain import PretrainEnv
from mixgym.errors import MixgymError
from mixgym.lm.models import signal_layers
from mixgym.lm.ranks import Ranks

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from mixgym.corpus import Corpus


@dataclass(frozen=True)
class TrainerSetup:
    """What a Trainer brings.

    Attributes:
        model: the model, unwrapped.
        total_steps: optimiser steps.
        accumulation: micro-batches of a step.
        ranks: the processes.
    """

    model: PreTrainedModel
    total_steps: int
    accumulation: int = 1
    ranks: Ranks = field(default_factory=Ranks)


class TrainerEnv(PretrainEnv):
    """An environment in which the Trainer takes the steps: `begin` a decision, then `end` it.

    Observations, rewards and infos are the environments' own, hence what a policy was trained on.

    Args:
        text: the corpus; `arguments` name it.
        setup: what the Trainer brings.
        arguments: of `EnvironmentArguments`.

    Raises:
        MixgymError: a reward term needs what a Trainer's run does not measure.
    """

    DEFAULTS = EnvironmentArguments(reward={}, validation="reward")
    #: No text is measured inside a Trainer, nor is a run branched.
    PROVIDES = frozenset({"objective", "gram", "objective_gradient"})

    def __init__(self, text: Corpus, setup: TrainerSetup, /, **arguments: Any) -> None:
        self._given = text
        self.setup = setup
        super().__init__(**arguments)

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
        )

    def resume(self, seed: int, state: Mapping[str, Any]) -> None:
        """Instead of `reset`: go on in the episode of `state`, with a run that is yet to be loaded.

        Args:
            seed: of the run.
            state: of `Episode.state_dict`.

        Raises:
            CheckpointError: the state is of another task or other reward terms.
        """
        gym.Env.reset(self, seed=seed)
        self.run = self._new_run(seed)
        self.episode.title = type(self).__name__
        self.episode.load_state_dict(state)

    def observed(self) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Return observation and info of the latest decision."""
        return self.episode.observation, self._info()

    def begin(self, action: NDArray[np.float32], steps: int) -> None:
        """Let the Trainer take `steps` optimiser steps by the mixture of `action`."""
        self._trainers().begin(self.episode.to_mixture(action), steps)

    def end(self) -> tuple[float, bool]:
        """Look at the steps since `begin`; return the reward, and whether the episode ended."""
        run, episode = self._trainers(), self.episode
        mixture = run.mixture
        signals = run.advance(mixture, self.arguments.steps_per_decision)
        reward = episode.record(mixture, signals, episode.measure(run, signals))
        return reward, episode.ended

    def _trainers(self) -> TrainerRun:
        assert isinstance(self.run, TrainerRun)
        return self.run

    def step(self, action: Any) -> Any:
        """Raise `MixgymError`: the steps are the Trainer's."""
        raise MixgymError(
            "the environment inside a Trainer takes no steps of its own: choose an agent that "
            "learns from what it observes, or act by a saved policy"
        )

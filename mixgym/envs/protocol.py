"""What the rest of mixgym relies on in an environment, whatever runs behind it.

Comparisons, agents, trajectories and probes ask `env.unwrapped` for this and nothing else, so that
a third party's environment, a fitted twin or a batch's member takes part by having it: no class is
to be inherited, and nothing is read out of an id or a class's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mixgym.envs.observation import ObservationLayout
    from mixgym.envs.task import MixingTask
    from mixgym.ledger import Ledger
    from mixgym.lm.run import Run
    from mixgym.signals import Signals
    from mixgym.simplex import ActionMap


@runtime_checkable
class Preparable(Protocol):
    """What a class of environments knows before one is made.

    `isinstance(entry_point, Preparable)` tells it from a plain callable.
    """

    def resolve(self, arguments: Mapping[str, Any]) -> Any:
        """Return what the `gym.make` arguments come to: a dataclass of JSON-plain values.

        Raises:
            MixgymError, ValueError: an argument that is unknown or out of range.
        """
        ...

    def prepare(self, arguments: Mapping[str, Any], progress: bool = True) -> None:
        """Build what an environment of these `gym.make` arguments needs and the cache lacks.

        Args:
            arguments: of `gym.make`; `render_mode` is passed over.
            progress: whether to show it.

        Raises:
            MixgymError: it cannot be had.
        """
        ...


@runtime_checkable
class MixingEnv(Protocol):
    """An environment whose action is a mixture of K domains.

    Attributes:
        task: domains, natural mixture, objective, groups and budget.
        run: what is steered; None before the first reset and after `close`.
        layout: of observations.
        action_map: from actions to mixtures, and back.
        action_space, observation_space: as Gymnasium's.
        reward_names: the n reward terms' names.
        reward_weights: (n,) float64; the reward is the weighted sum.
        corpus_hash: of the text behind it; "" without.
    """

    task: MixingTask
    run: Run | None
    layout: ObservationLayout
    action_map: ActionMap
    action_space: spaces.Box
    observation_space: spaces.Box
    reward_names: tuple[str, ...]
    reward_weights: NDArray[np.float64]

    @property
    def signals(self) -> Signals:
        """The latest signals of the episode, which mixers read."""
        ...

    @property
    def ledger(self) -> Ledger:
        """Cost accounts of the current run."""
        ...

    @property
    def run_seed(self) -> int:
        """Seed of the current run."""
        ...

    @property
    def corpus_hash(self) -> str:
        """Content hash of the text behind it; "" without."""
        ...

    def verify(self) -> None:
        """Check that the text is what its hash says (`CorpusError` if not); without text, pass."""
        ...

    def configuration(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the `gym.make` arguments `given` come to, presets and defaults filled in.

        Args:
            given: those that all arms of a comparison share, without what an agent wanted.

        Returns:
            JSON-plain parts: `arguments`, and where there are such `settings` (of training),
            `model` (behind a preset's name) and `base` (hash of the weights that runs start from).
        """
        ...

    def report(self, split: str = "test", windows: int | None = None) -> dict[str, Any]:
        """Measure every domain; the ledger's `evaluation` account pays.

        Args:
            split: `"test"`, read by nothing else, or `"validation"`.
            windows: windows a domain; the environment's own choice by default.

        Returns:
            JSON-plain: `domain_loss` (K floats, nats per byte), `objective_loss`, `worst_domain`,
            `worst_domain_loss`, and what else the environment reports.
        """
        ...

    def fork(self) -> MixingEnv:
        """Return an independent copy mid-episode; the same actions then give the same results."""
        ...

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """As Gymnasium's; the option `"mixture"` is the current one before the first decision."""
        ...

    def step(self, action: Any) -> tuple[NDArray[np.float32], Any, bool, bool, dict[str, Any]]:
        """As Gymnasium's; the reward is a float, or a (n,) float32 vector of the terms.

        Info has at reset and at every step `mixture`, `counts`, `epochs`, `starved`,
        `objective_loss`, `scalar_reward`, `reward_terms`, `reward_vectors`, `step`, `decision`,
        `diverged`, `ledger`.
        """
        ...

    def close(self) -> None:
        """Free the run; harmless twice."""
        ...

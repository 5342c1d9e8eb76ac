"""One adapter that makes mixgym agents of stable-baselines3's algorithms.

`sac`, `tqc` and `ppo` are each a name and a configuration. The algorithms are the library's;
`models` splits their loop at the decision, `networks` adds policies over domain tokens, `vecenv`
normalises.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from gymnasium import Env
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import TypedDict

from mixgym.errors import MixgymError, missing_extra
from mixgym.files import atomic_path
from mixgym.lm.threads import pinned_threads
from mixgym.trajectories.record import map_to_json
from mixgym_agents.learning.online import OnlineAgent, OnlineRecord
from mixgym_agents.learning.store import SavedPolicy
from mixgym_agents.sb3.actions import box_map, directions, per_domain, scale_of, warm_up_action
from mixgym_agents.sb3.config import Config, SacConfig


class MapRecord(TypedDict):
    """An action map's registered name and arguments."""

    name: str
    arguments: dict[str, Any]


class Sb3Scalars(OnlineRecord):
    """The scalars of a saved policy."""

    begun: bool
    waiting: bool
    action_map: MapRecord
    learner: dict[str, Any]


class Sb3Record(TypedDict):
    """What a saved policy's record holds beyond `PolicyRecord`."""

    scalars: Sb3Scalars


class Sb3Agent(OnlineAgent):
    """A stable-baselines3 algorithm from the state of the training run to its data mixture.

    It learns while it acts (the papers' online mode): every `act` takes in the transition that
    the previous one began, with the reward that `observe` was given, and updates the networks.
    `learn` does so over several episodes; `save` then makes a policy, and
    `NAME(policy=FOLDER)` acts by it, frozen, deterministic and without rewards, in an environment
    with another model, and with network="tokens" other domains. The cost of its training is
    charged to the new run's ledger. docs/agents/sac.md has the details.

    Arguments as `OnlineAgent`, and the fields of `CONFIG`.
    """

    CONFIG: ClassVar[type[Config]]  # type: ignore[misc]
    STRUCTURE = Sb3Record
    STREAM = int.from_bytes(b"sb3a")

    def _check_library(self) -> None:
        try:
            # The legacy gym, which it imports where d3rlpy brought it, prints a banner.
            with contextlib.redirect_stderr(io.StringIO()):
                import stable_baselines3  # noqa: F401
        except ImportError as error:
            raise missing_extra("stable-baselines3", "sb3", f"agent {self.name!r}") from error

    # --- an episode -----------------------------------------------------------------------------

    def _check_actions(self, env: Env[Any, Any]) -> None:
        self.map = box_map(env, self.name)

    def _action_map(self) -> Mapping[str, Any]:
        return map_to_json(self.map)

    def _suits(self, learner: Any) -> bool:
        return super()._suits(learner) and learner.map == self.map

    def _make_learner(self, seed: int) -> Any:
        from mixgym_agents.sb3.learner import Learner

        if self.config.network == "tokens" and not per_domain(self.map):
            raise MixgymError(
                f"network='tokens' gives one number a domain, but actions are {self.map.space}: "
                "make the environment with action_map='softmax', or use network='mlp'"
            )
        return Learner(
            self.config,
            self.layout,
            self.map,
            self._seed(seed, 2),
            scale=scale_of(self.map),
            directions=directions(self.map),
        )

    def _begin(self) -> None:
        self._begun = False

    def act(self, observation: NDArray[Any], info: dict[str, Any]) -> NDArray[np.float32]:
        """Return the next action; learn from the previous one first, unless frozen."""
        learner, state = self._started(), self._state(observation)
        with pinned_threads(1):
            if self.frozen:
                action = learner.predict(state)
            else:
                self._absorb(state)
                if not self._begun:
                    learner.begin(state)
                action = learner.choose(self._warm_up(info))
        self._begun = self._waiting = True
        self.decisions += 1
        return np.array(action, dtype=np.float32)

    def _warm_up(self, info: dict[str, Any]) -> NDArray[np.float32] | None:
        """The warm-up's action, None once it is over."""
        config = self.config
        if not isinstance(config, SacConfig) or self.decisions >= config.warmup:
            return None
        current = np.asarray(info.get("mixture", self.task.natural), dtype=np.float64)
        return warm_up_action(self.task, self.map, current, config.warmup_noise, self._rng)

    def _absorb(self, state: NDArray[np.float32], done: bool = False, cut: bool = False) -> None:
        """Hand in what came of the last action and let the library learn from it."""
        if not self._waiting:
            return
        reward = float(self._take_reward()[0])
        logged = self._started().absorb(state, reward, done, cut)
        self.metrics = logged or self.metrics
        self._keep_account({"decision/reward": reward, **logged})

    # --- saving ---------------------------------------------------------------------------------

    def _episode(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {}, {"begun": self._begun, "waiting": self._waiting}

    def _resume(self, saved: SavedPolicy) -> None:
        self._begun, self._waiting = saved.scalars["begun"], saved.scalars["waiting"]

    def _adopt(self, saved: SavedPolicy) -> None:
        """As every agent; and the temperature it learned, unless an `ent_coef` was given."""
        super()._adopt(saved)
        if "ent_coef" not in self._arguments:
            self._started().adopt_temperature(saved.tensors)

    def export(self, path: str | Path) -> None:
        """Write the algorithm in stable-baselines3's own format, a zip file at `path`.

        For the library's tools, without observation statistics and buffer. It holds pickles, and
        nothing here ever loads it.
        """
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            self._started().driver.model.save(file)

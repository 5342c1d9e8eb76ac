"""One adapter that makes mixgym agents of stable-baselines3's algorithms.

`sac`, `tqc` and `ppo` are each a name and a configuration. The algorithms are the library's;
`sb3_models` splits their loop at the decision, `sb3_networks` adds policies over domain tokens,
`sb3_vecenv` normalises, `sb3_store` saves.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from gymnasium import Env
from numpy.typing import NDArray

from mixgym.envs.observation import ObservationLayout
from mixgym.envs.task import MixingTask
from mixgym.errors import CheckpointError, MixgymError, missing_extra
from mixgym.files import atomic_path
from mixgym.lm.threads import pinned_threads
from mixgym_agents.learning import store as files
from mixgym_agents.learning.cost import Cost, costs_from_json, costs_to_json
from mixgym_agents.learning.episodes import EpisodeLearner
from mixgym_agents.learning.rewards import Rewards
from mixgym_agents.sb3.actions import (
    box_map,
    describe_map,
    directions,
    per_domain,
    scale_of,
    warm_up_action,
)
from mixgym_agents.sb3.config import Config, SacConfig

if TYPE_CHECKING:
    from mixgym_agents.sb3.learner import Learner

_AGENT_STREAM = int.from_bytes(b"sb3a")


class Sb3Agent(EpisodeLearner):
    """A stable-baselines3 algorithm from the state of the training run to its data mixture.

    It learns while it acts (the papers' online mode): every `act` takes in the transition that
    the previous one began, with the reward the environment is configured with, and updates the
    networks. `learn` does so over several episodes; `save` then makes a policy, and
    `NAME(policy=FOLDER)` acts by it, frozen, deterministic and without rewards, in an environment
    with another model, and with network="tokens" other domains. The cost of its training is
    charged to the new run's ledger. docs/agents/sac.md has the details.

    Args:
        policy: folder of a saved policy to start from.
        frozen: act only, learn nothing; true by default with a `policy`, else false.
        digest: refuse a `policy` with another digest than this.
        log: folder for TensorBoard (needs the extra `tensorboard`).
        observation, reward: of the environment it is made with (`env_arguments`), unless the
            environment's own arguments say otherwise. With a `policy` the observation is the one
            it was learned from; a frozen agent asks for no reward.
        arguments: fields of `CONFIG`. What is not given is taken from the saved policy, or from
            the packaged hyperparameters of the environment (`mixgym_agents/hyperparams`).
    """

    CONFIG: ClassVar[type[Config]]

    def __init__(
        self,
        *,
        policy: str | None = None,
        frozen: bool | None = None,
        digest: str | None = None,
        log: str | None = None,
        observation: Any = None,
        reward: Any = None,
        **arguments: Any,
    ) -> None:
        _require_library(self.name)
        self._arguments = arguments
        self.CONFIG().updated(arguments)
        self.frozen = policy is not None if frozen is None else frozen
        self._saved = None if policy is None else self._read(policy, digest)
        wanted: dict[str, Any] = {"observation": observation, "reward": reward}
        if self._saved is not None:
            learned = self._saved.scalars["action_map"]
            self.action_map = learned["name"]
            wanted["action_arguments"] = learned["arguments"]
            if observation is None:
                wanted["observation"] = files.observation_of(self._saved.layout)
        if self.frozen and reward is None:
            wanted["reward"] = {}
        self.env_arguments = {name: x for name, x in wanted.items() if x is not None}
        self._log = log
        self._env: Env[Any, Any] | None = None
        self.learner: Learner | None = None
        self.decisions = self.episodes = 0
        self.seed: int | None = None
        self.cost = self._spent = Cost()
        self._in_learn = False
        self.metrics: dict[str, float] = {}

    def _read(self, path: str | Path, digest: str | None = None) -> files.SavedPolicy:
        return files.read_policy(path, digest, config=self.CONFIG, agent=self.name)

    # --- an episode -----------------------------------------------------------------------------

    def start(self, env: Env[Any, Any], seed: int) -> None:
        """Begin an episode of `env`; see `Agent.start`.

        Raises:
            MixgymError: not a mixing environment, its actions are no points of a box, or it gives
                no reward to learn from.
            CheckpointError: the policy was made for another observation or action map.
        """
        inner: Any = env.unwrapped
        task, layout = getattr(inner, "task", None), getattr(inner, "layout", None)
        if not isinstance(task, MixingTask) or not isinstance(layout, ObservationLayout):
            raise MixgymError(f"agent {self.name!r} needs a mixgym environment, got {inner}")
        self._env, self.task, self.layout = env, task, layout
        self.map = box_map(env, self.name)
        self.seed = seed if self.seed is None else self.seed
        self._rng = np.random.default_rng(_stream(seed, 0))
        with pinned_threads(1):
            self._prepare(inner, seed)
        self._rewards = None if self.frozen else Rewards(env)
        self._begun = self._waiting = False
        self._given: float | None = None
        self.cost, self._spent, self._charged = self.cost + self._spent, Cost(), Cost()
        if self.cost.tokens and not self._in_learn:
            self._charged = self.cost.charge(inner)

    def _prepare(self, inner: Any, seed: int) -> None:
        before = self.learner
        if before is None:
            if self._saved is not None:
                self.config = self._saved.config.updated(self._arguments)
            else:
                spec = getattr(inner, "spec", None)
                packaged = self.CONFIG.packaged(spec.id if spec is not None else None)
                self.config = packaged.updated(self._arguments)
        elif before.layout == self.layout and before.map == self.map:
            return
        elif not self.frozen:
            raise MixgymError(
                f"agent {self.name!r} learned from another observation than this environment "
                "gives, and its buffer with it: save the policy and start from it with "
                "policy=FOLDER"
            )
        if self.config.network == "tokens" and not per_domain(self.map):
            raise MixgymError(
                f"network='tokens' gives one number a domain, but actions are {self.map.space}: "
                "make the environment with action_map='softmax', or use network='mlp'"
            )
        from mixgym_agents.sb3.learner import Learner

        self.learner = Learner(
            self.config,
            self.layout,
            self.map,
            _seed(seed, 2),
            scale=scale_of(self.map),
            directions=directions(self.map),
        )
        if self._saved is not None:
            self._adopt(self._saved)
        elif before is not None:
            self._check(before.layout, describe_map(before.map))
            self.learner.adopt(before.networks(), before.statistics())
        if self._log is not None and not self.frozen:
            self.learner.log_to(self._log)

    def act(self, observation: NDArray[Any], info: dict[str, Any]) -> NDArray[np.float32]:
        """Return the next action; learn from the previous one first, unless frozen."""
        learner, state = self._started(), self._state(observation)
        with pinned_threads(1):
            if self.frozen:
                action = learner.predict(state)
            else:
                self._absorb(state, info, done=False)
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

    def _state(self, observation: NDArray[Any]) -> NDArray[np.float32]:
        state = np.array(observation, dtype=np.float32)
        if state.shape != (self.layout.size,):
            raise MixgymError(
                f"agent {self.name!r} got an observation of shape {state.shape}, the environment's "
                f"layout has {self.layout.size} entries: leave out wrappers that change it"
            )
        return state

    # --- learning -------------------------------------------------------------------------------

    def _absorb(
        self, state: NDArray[np.float32], info: dict[str, Any], done: bool, cut: bool = False
    ) -> None:
        """Hand in what came of the last action and let the library learn from it."""
        if not self._waiting or self._rewards is None:
            return
        reward = float(self._rewards(info, np.ones(1), self._given)[0])
        self._waiting, self._given = False, None
        self.metrics = self._started().absorb(state, reward, done, cut) or self.metrics
        self._spent = Cost.spent(self._env) - self._charged

    def _episode_seed(self, first: int) -> int:
        return _seed(first, 1, self.episodes)

    def _end_episode(
        self, observation: NDArray[Any], info: dict[str, Any], terminated: np.bool | bool
    ) -> None:
        with pinned_threads(1):
            self._absorb(self._state(observation), info, done=True, cut=not terminated)

    # --- saving ---------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the policy and all that learning depends on into the folder `path`."""
        tensors, plain = self._started().state()
        scalars = {
            "seed": self.seed,
            "decisions": self.decisions,
            "episodes": self.episodes,
            "begun": self._begun,
            "waiting": self._waiting,
            "action_map": describe_map(self.map),
            "rng": self._rng.bit_generator.state,
            "learner": plain,
            **costs_to_json(self.cost, self._spent, self._charged),
        }
        saved = files.SavedPolicy(self.config, self.layout, scalars, tensors)
        files.write_policy(path, self.name, saved)

    def load(self, path: str | Path) -> None:
        """Go on from what `save` wrote: exactly there, or frozen, with the policy alone.

        Raises:
            CheckpointError: damaged, or of other hyperparameters, observation or action map.
        """
        learner, saved = self._started(), self._read(path)
        if self.frozen:
            self._saved = saved
            self._adopt(saved)
            self._charged += (self.cost - self._charged).charge(self._env)
            return
        changed = files.differences(saved, self.config, self.layout)
        if changed:
            raise CheckpointError(
                f"the policy in {path} was learned with other settings ({'; '.join(changed)}): "
                "give the same, or start from it with policy=FOLDER"
            )
        scalars = saved.scalars
        self._check(saved.layout, scalars["action_map"])
        learner.restore(saved.tensors, scalars["learner"])
        self.seed, self.decisions = scalars["seed"], scalars["decisions"]
        self.episodes = scalars["episodes"]
        self._begun, self._waiting = scalars["begun"], scalars["waiting"]
        self._rng.bit_generator.state = scalars["rng"]
        self.cost, self._spent, self._charged = costs_from_json(scalars)

    def export(self, path: str | Path) -> None:
        """Write the algorithm in stable-baselines3's own format, a zip file at `path`.

        For the library's tools, without observation statistics and buffer. It holds pickles, and
        nothing here ever loads it.
        """
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            self._started().driver.model.save(file)

    def _adopt(self, saved: files.SavedPolicy) -> None:
        """Take over a saved policy's networks and statistics for the environment at hand.

        And the temperature it learned, unless an `ent_coef` was given.
        """
        self._check(saved.layout, saved.scalars["action_map"])
        try:
            self._started().adopt(
                files.owned("policy", saved.tensors), saved.scalars["learner"]["statistics"]
            )
        except RuntimeError as error:
            raise CheckpointError(
                "the saved policy's networks have other shapes than the arguments ask for: leave "
                f"out network, width, depth, ... with a policy ({error})"
            ) from error
        if "ent_coef" not in self._arguments:
            self._started().adopt_temperature(saved.tensors)
        self.decisions = saved.scalars["decisions"]
        self.cost = Cost(**saved.scalars["cost"])

    def _check(self, learned: ObservationLayout, action_map: dict[str, Any]) -> None:
        """Raise `CheckpointError` unless what was learned can read and steer this environment."""
        ours = self.layout
        names = ["domain_features", "layer_features", "scalar_features", "normalise"]
        if self.config.network == "mlp":
            names.append("domains")
        wrong = [
            f"{name} {getattr(learned, name)}, here {getattr(ours, name)}"
            for name in names
            if getattr(learned, name) != getattr(ours, name)
        ]
        layers = len(learned.layers), len(ours.layers)
        if self.config.network == "mlp" and learned.layer_features and layers[0] != layers[1]:
            wrong.append(f"{layers[0]} layers, here {layers[1]}")
        if action_map != describe_map(self.map):
            wrong.append(f"action map {action_map}, here {describe_map(self.map)}")
        if wrong:
            raise CheckpointError(
                f"the policy was learned from {'; '.join(wrong)}: make the environment with the "
                "same observation, action map and domains, or learn with network='tokens' (any "
                "domains, any layers)"
            )

    def _started(self) -> Learner:
        if self.learner is None:
            raise MixgymError(f"agent {self.name!r} has not started: call start(env, seed) first")
        return self.learner


def _require_library(name: str) -> None:
    try:
        # The legacy gym, which it imports where d3rlpy brought it, prints a banner.
        with contextlib.redirect_stderr(io.StringIO()):
            import stable_baselines3  # noqa: F401
    except ImportError as error:
        raise missing_extra("stable-baselines3", "sb3", f"agent {name!r}") from error


def _stream(seed: int, *key: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(_AGENT_STREAM, *key))


def _seed(seed: int, *key: int) -> int:
    return int(_stream(seed, *key).generate_state(1)[0] >> 1)

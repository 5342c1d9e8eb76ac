"""AC-ODM: an actor-critic (DDPG) that learns the data mixture; in the run itself, or on a proxy.

The algorithm is in `acodm_ddpg`, its networks in `acodm_networks`, every hyperparameter and every
deviation of the released code in `acodm_config`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import Env
from numpy.typing import NDArray

from mixgym.envs.observation import ObservationLayout
from mixgym.envs.task import MixingTask
from mixgym.errors import CheckpointError, MixgymError, missing_extra
from mixgym.lm.threads import pinned_threads
from mixgym.simplex import TINY, Mixture, Simplex, validate_mixture
from mixgym_agents.acodm.config import Config, annealed_learning_rate, hyperparameters
from mixgym_agents.acodm.ddpg import Ddpg, explore
from mixgym_agents.learning import store as store
from mixgym_agents.learning.cost import Cost, costs_from_json, costs_to_json
from mixgym_agents.learning.episodes import EpisodeLearner
from mixgym_agents.learning.hyperparameters import as_factory
from mixgym_agents.learning.networks import change_since
from mixgym_agents.learning.rewards import Rewards
from mixgym_agents.mixers.odm_smoothed import OdmSmoothed

_AGENT_STREAM = int.from_bytes(b"acod")
_RELEASED_FLOOR = 22 / 144  # of 144 micro-batches a step, 22 are forced, one a domain


class Pending(NamedTuple):
    """A decision whose reward is not known yet."""

    observation: NDArray[np.float32]
    mixture: NDArray[np.float32]


class AcOdm(EpisodeLearner):
    """AC-ODM (arXiv 2505.23878): DDPG from the state of the training run to its data mixture.

    It learns while it acts (non-proxy mode): every `act` stores the transition that the previous
    one began, with the reward the environment is configured with, and updates both networks.
    `learn` does so over several episodes; `save` then makes a policy, and
    `acodm(policy=FOLDER)` acts by it, frozen and without rewards, in an environment with another
    model, and with network="tokens" other domains (proxy mode). The cost of its training is
    charged to the new run's ledger. docs/agents/acodm.md has the equations and every deviation.

    Args:
        policy: folder of a saved policy to start from.
        frozen: act only, learn nothing; true by default with a `policy`, else false.
        digest: refuse a `policy` with another digest than this.
        log: folder for TensorBoard (needs the extra `tensorboard`).
        observation, reward: of the environment it is made with (`env_arguments`), unless the
            environment's own arguments say otherwise. With a `policy` the observation is the one
            it was learned from; a frozen agent asks for no reward.
        arguments: fields of `Config`. What is not given is taken from the saved policy, or from
            the packaged hyperparameters of the environment (`mixgym_agents/hyperparams/acodm.yml`).
    """

    name = "acodm"
    action_map = "simplex"

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
        self._arguments = arguments
        Config().updated(arguments)
        self.frozen = policy is not None if frozen is None else frozen
        self._saved = None if policy is None else store.read_policy(policy, digest)
        if self._saved is not None and observation is None:
            observation = store.observation_of(self._saved.layout)
        reward = {} if self.frozen and reward is None else reward
        wanted = {"observation": observation, "reward": reward}
        self.env_arguments = {name: x for name, x in wanted.items() if x is not None}
        self._log = log
        self._writer: Any = None
        self._env: Env[Any, Any] | None = None
        self.ddpg: Ddpg | None = None
        self.decisions = self.episodes = 0
        self.seed: int | None = None
        self.cost = self._spent = Cost()
        self._in_learn = False
        self.metrics: dict[str, float] = {}

    # --- an episode -----------------------------------------------------------------------------

    def start(self, env: Env[Any, Any], seed: int) -> None:
        """Begin an episode of `env`; see `Agent.start`.

        Raises:
            MixgymError: not a mixing environment, its action is not a mixture, or it gives no
                reward to learn from.
            CheckpointError: the policy was made for another observation.
        """
        inner: Any = env.unwrapped
        task, layout = getattr(inner, "task", None), getattr(inner, "layout", None)
        if not isinstance(task, MixingTask) or not isinstance(layout, ObservationLayout):
            raise MixgymError(f"agent {self.name!r} needs a mixgym environment, got {inner}")
        if not isinstance(inner.action_space, Simplex):
            raise MixgymError(
                f"agent {self.name!r} emits mixtures, but the action space is "
                f"{inner.action_space}: make the environment with action_map='simplex'"
            )
        self._env, self.task, self.layout = env, task, layout
        self.seed = seed if self.seed is None else self.seed
        self._rng = np.random.default_rng(_stream(seed, 0))
        with pinned_threads(1):
            self._prepare_networks(inner, seed)
        ddpg = self._started()
        prior = task.mixture(self.config.prior)
        ddpg.log_prior = torch.from_numpy(np.log(np.maximum(prior, 1e-4)).astype(np.float32))
        self._prior = prior.astype(np.float32)
        config = self.config
        zscored = config.released.zscored_rewards
        self._rewards = None if self.frozen else Rewards(env, config.domain_values, zscored)
        self._warmup = math.ceil(self.config.warmup_share * task.decisions)
        self._odm = OdmSmoothed()
        self._odm.start(task, self._rng)
        self._pending: Pending | None = None
        self._decision = 0
        self._first: NDArray[np.float32] | None = None
        self._given: float | None = None
        self.cost, self._spent, self._charged = self.cost + self._spent, Cost(), Cost()
        if self.cost.tokens and not self._in_learn:
            self._charged = self.cost.charge(inner)

    def _prepare_networks(self, inner: Any, seed: int) -> None:
        if self.ddpg is None:
            spec = getattr(inner, "spec", None)
            if self._saved is not None:
                self.config = self._saved.config.updated(self._arguments)
            else:
                packaged = hyperparameters(spec.id if spec is not None else None)
                self.config = Config().updated({**packaged, **self._arguments})
        elif self.ddpg.layout == self.layout:
            return
        elif not self.frozen:
            raise MixgymError(
                f"agent {self.name!r} learned from another observation than this environment "
                "gives, and its replay buffer with it: save the policy and start from it with "
                "policy=FOLDER"
            )
        before, self.ddpg = self.ddpg, Ddpg(self.config, self.layout, _torch_seed(seed))
        if self._saved is not None:
            self._adopt(self._saved)
        elif before is not None:
            self._check_observation(before.layout)
            self.ddpg.load_networks(before.state_dict())
            self.ddpg.normaliser.load_state_dict(before.normaliser.state_dict())

    def act(self, observation: NDArray[Any], info: dict[str, Any]) -> NDArray[np.float32]:
        """Return the next mixture; learn from the previous one first, unless frozen."""
        ddpg = self._started()
        state = self._state(observation)
        with pinned_threads(1):
            if self._adapts:
                ddpg.normaliser.update(state)
            if not self.frozen:
                self._absorb(state, info, done=False)
            mixture = self._choose(state)
        self._pending = Pending(state, mixture.astype(np.float32))
        self.decisions += 1
        self._decision += 1
        if self.config.released.forced_floor:
            mixture = (1.0 - _RELEASED_FLOOR) * mixture + _RELEASED_FLOOR / self.task.K
        return mixture.astype(np.float32)

    @property
    def _adapts(self) -> bool:
        return not self.frozen

    @property
    def warming(self) -> bool:
        """Whether warm-up mixtures are played instead of the policy's."""
        if self.frozen:
            return self.config.released.warmup_when_frozen and self._decision < self._warmup
        return self.decisions < self._warmup

    def _choose(self, state: NDArray[np.float32]) -> Mixture:
        if self.warming:
            return self._warmup_mixture()
        mixture, concentration = self._started().act(state)
        if self.frozen:
            return mixture
        return explore(mixture, concentration, self.config, self._rng, self.decisions)

    def _warmup_mixture(self) -> Mixture:
        env, K = self._env, self.task.K
        if self.config.released.odm_warmup:
            return self._odm.update(env.unwrapped.signals)  # type: ignore[union-attr]
        noise = self._rng.normal(scale=self.config.warmup_noise, size=K)
        return validate_mixture(np.maximum(self.task.natural + noise, TINY), K, normalise=True)

    def _state(self, observation: NDArray[Any]) -> NDArray[np.float32]:
        """The observation as the networks get it, with the release's oddities if asked for."""
        state = np.array(observation, dtype=np.float32)
        if state.shape != (self.layout.size,):
            raise MixgymError(
                f"agent {self.name!r} got an observation of shape {state.shape}, the environment's "
                f"layout has {self.layout.size} entries: leave out wrappers that change it"
            )
        released = self.config.released
        if self.config.anchor == "current" and self._decision == 0:
            features = self.layout.domain_features
            state[features.index("mixture") : self.task.K * len(features) : len(features)] = (
                self._prior
            )
        if self._first is None:
            self._first = state.copy()
        if released.delta_since_start:
            change_since(state, self._first, self.layout)
        if released.percent_iteration and "remaining" in self.layout.scalar_features:
            place = self.layout.names.index("remaining")
            state[place] = 100.0 * (1.0 - state[place])
        return state

    # --- learning -------------------------------------------------------------------------------

    def _absorb(self, state: NDArray[np.float32], info: dict[str, Any], done: bool) -> None:
        """Store the transition that ends in `state` and update the networks."""
        ddpg, pending, released = self._started(), self._pending, self.config.released
        if pending is None or self._rewards is None:
            return
        earned = self._rewards(info, pending.mixture, self._given)
        ddpg.replay.add(pending.observation, pending.mixture, earned, state, done)
        self._pending = self._given = None
        if released.annealed_learning_rate:
            ddpg.set_learning_rate(annealed_learning_rate(self.decisions, self.task.decisions))
        for _ in range(self.config.updates_per_decision):
            self.metrics = ddpg.update(self._rng, warming=self.decisions <= self._warmup)
        if released.warmup_imitation and self.decisions == self._warmup:
            ddpg.soft_update(1.0)
        self._spent = Cost.spent(self._env) - self._charged
        self._write_log(float(earned.mean()))

    def _episode_seed(self, first: int) -> int:
        return int(_stream(first, 1, self.episodes).generate_state(1)[0] >> 1)

    def _end_episode(
        self, observation: NDArray[Any], info: dict[str, Any], terminated: np.bool | bool
    ) -> None:
        with pinned_threads(1):
            self._absorb(self._state(observation), info, bool(terminated))

    def _write_log(self, reward: float) -> None:
        if self._log is None:
            return
        if self._writer is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise missing_extra("tensorboard", "tensorboard", "log=FOLDER") from error
            self._writer = SummaryWriter(self._log)
        for name, value in {"reward": reward, **self.metrics}.items():
            self._writer.add_scalar(f"acodm/{name}", value, self.decisions)
        self._writer.flush()

    # --- saving ---------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the policy and all that learning depends on into the folder `path`."""
        ddpg, tensors = self._started(), {}
        for key, value in self._pending._asdict().items() if self._pending else ():
            tensors[f"pending.{key}"] = torch.from_numpy(value)
        if self._first is not None:
            tensors["first.observation"] = torch.from_numpy(self._first)
        scalars = {
            "seed": self.seed,
            "decisions": self.decisions,
            "episodes": self.episodes,
            "decision": self._decision,
            "added": ddpg.replay.added,
            "normaliser": ddpg.normaliser.state_dict(),
            "odm": self._odm.state_dict(),
            "rng": self._rng.bit_generator.state,
            **costs_to_json(self.cost, self._spent, self._charged),
        }
        saved = store.SavedPolicy(self.config, self.layout, scalars, tensors | ddpg.state_dict())
        store.write_policy(path, self.name, saved)

    def load(self, path: str | Path) -> None:
        """Go on from what `save` wrote: exactly there, or frozen, with the policy alone.

        Raises:
            CheckpointError: damaged, or of other hyperparameters or another observation.
        """
        ddpg, saved = self._started(), store.read_policy(path)
        if self.frozen:
            self._saved = saved
            self._adopt(saved)
            self._charged += (self.cost - self._charged).charge(self._env)
            return
        changed = store.differences(saved, self.config, self.layout)
        if changed:
            raise CheckpointError(
                f"the policy in {path} was learned with other settings ({'; '.join(changed)}): "
                "give the same, or start from it with policy=FOLDER"
            )
        tensors, scalars = saved.tensors, saved.scalars
        ddpg.load_state_dict(tensors, scalars["added"])
        ddpg.normaliser.load_state_dict(scalars["normaliser"])
        self.seed, self.decisions = scalars["seed"], scalars["decisions"]
        self.episodes, self._decision = scalars["episodes"], scalars["decision"]
        self._odm.load_state_dict(scalars["odm"])
        self._rng.bit_generator.state = scalars["rng"]
        self.cost, self._spent, self._charged = costs_from_json(scalars)
        pending = store.owned("pending", tensors)
        self._pending = Pending(**{k: v.numpy() for k, v in pending.items()}) if pending else None
        first = tensors.get("first.observation")
        self._first = None if first is None else first.numpy()

    def _adopt(self, saved: store.SavedPolicy) -> None:
        """Take over a saved policy's networks and statistics for the environment at hand."""
        ddpg = self._started()
        self._check_observation(saved.layout)
        try:
            ddpg.load_networks(saved.tensors)
        except RuntimeError as error:
            raise CheckpointError(
                "the saved policy's networks have other shapes than the arguments ask for: leave "
                f"out network, width, depth, ... with a policy ({error})"
            ) from error
        ddpg.normaliser.load_state_dict(saved.scalars["normaliser"])
        self.decisions = saved.scalars["decisions"]
        self.cost = Cost(**saved.scalars["cost"])

    def _check_observation(self, learned: ObservationLayout) -> None:
        """Raise `CheckpointError` unless networks made for `learned` can read this environment."""
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
        fixed = self.config.network == "mlp" and not self.config.pool_layers
        if fixed and learned.layer_features and layers[0] != layers[1]:
            wrong.append(f"{layers[0]} layers, here {layers[1]}")
        if wrong:
            raise CheckpointError(
                f"the policy was learned from {'; '.join(wrong)}: make the environment with the "
                "same observation and domains, or learn with network='tokens' (any domains, any "
                "layers) or pool_layers=True (any layers)"
            )

    def _started(self) -> Ddpg:
        if self.ddpg is None:
            raise MixgymError(f"agent {self.name!r} has not started: call start(env, seed) first")
        return self.ddpg


def _stream(seed: int, *key: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(_AGENT_STREAM, *key))


def _torch_seed(seed: int) -> int:
    return int(_stream(seed, 2).generate_state(1, np.uint64)[0] >> 1)


agent = as_factory(AcOdm, Config)

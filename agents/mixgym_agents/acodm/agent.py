"""AC-ODM: an actor-critic (DDPG) that learns the data mixture; in the run itself, or on a proxy.

Here is how it acts; `ddpg` has the algorithm and its networks, `config` its hyperparameters,
`released` every deviation of the released code.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import Env
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import TypedDict

from mixgym.errors import MixgymError
from mixgym.lm.threads import pinned_threads
from mixgym.mixer import require_mixtures
from mixgym.simplex import TINY, Mixture, validate_mixture
from mixgym_agents.acodm.ddpg import Ddpg, explore
from mixgym_agents.acodm.released import (
    Released,
    ReleasedConfig,
    ReleasedDdpg,
    ReleasedEpisode,
    zscored,
)
from mixgym_agents.learning.hyperparameters import as_factory
from mixgym_agents.learning.online import OnlineAgent, OnlineRecord
from mixgym_agents.learning.store import SavedPolicy, owned


class Pending(NamedTuple):
    """A decision that was not learned from yet."""

    observation: NDArray[np.float32]
    mixture: NDArray[np.float32]


class AcOdmScalars(OnlineRecord):
    """The scalars of a saved policy."""

    decision: int
    added: int
    normaliser: dict[str, Any]
    odm: dict[str, Any]


class AcOdmRecord(TypedDict):
    """What a saved policy's record holds beyond `PolicyRecord`."""

    scalars: AcOdmScalars


class AcOdm(OnlineAgent):
    """AC-ODM (arXiv 2505.23878): DDPG from the state of the training run to its data mixture.

    It learns while it acts (non-proxy mode): every `act` stores the transition that the previous
    one began, with the reward that `observe` was given, and updates both networks. `learn` does so
    over several episodes; `save` then makes a policy, and
    `acodm(policy=FOLDER)` acts by it, frozen and without rewards, in an environment with another
    model, and with network="tokens" other domains (proxy mode). The cost of its training is
    charged to the new run's ledger. docs/agents/acodm.md has the equations and every deviation.

    Rewards of single domains, which critic="factored" and some of the release's switches need, are
    the environment's own (`info["reward_vectors"]`): a wrapper's reward has none.

    Arguments as `OnlineAgent`, and the fields of `ReleasedConfig`.
    """

    name = "acodm"
    action_map = "simplex"
    CONFIG = ReleasedConfig
    STRUCTURE = AcOdmRecord
    STREAM = int.from_bytes(b"acod")
    ANYWHERE = "network='tokens' (any domains, any layers) or pool_layers=True (any layers)"

    # --- an episode -----------------------------------------------------------------------------

    def _check_actions(self, env: Env[Any, Any]) -> None:
        require_mixtures(env.unwrapped, self.name)

    def _make_learner(self, seed: int) -> Ddpg:
        kind = Ddpg if self.config.released == Released() else ReleasedDdpg
        start = self._stream(seed, 2).generate_state(1, np.uint64)[0] >> 1
        return kind(self.config, self.layout, int(start))

    def _begin(self) -> None:
        prior = self.task.mixture(self.config.prior)
        self._prior = prior.astype(np.float32)
        start = np.log(np.maximum(prior, 1e-4)).astype(np.float32)
        self.learner.log_prior = torch.from_numpy(start)
        self._warmup = math.ceil(self.config.warmup_share * self.task.decisions)
        self._released = ReleasedEpisode(self.config.released, self.task, self.layout, self._rng)
        self._pending: Pending | None = None
        self._decision = 0

    def act(self, observation: NDArray[Any], info: dict[str, Any]) -> NDArray[np.float32]:
        """Return the next mixture; learn from the previous one first, unless frozen."""
        learner, state = self._started(), self._state(observation)
        with pinned_threads(1):
            if self._adapts:
                learner.normaliser.update(state)
            self._absorb(state)
            mixture = self._choose(state)
        self._pending = Pending(state, mixture.astype(np.float32))
        self._waiting = True
        self.decisions += 1
        self._decision += 1
        return self._released.executed(mixture).astype(np.float32)

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
        noisy = self._released.explored(mixture)
        if noisy is None:
            noisy = explore(mixture, concentration, self.config, self._rng, self.decisions)
        return noisy

    def _warmup_mixture(self) -> Mixture:
        released = self._released.warmup_mixture(self._env)
        if released is not None:
            return released
        K = self.task.K
        noise = self._rng.normal(scale=self.config.warmup_noise, size=K)
        return validate_mixture(np.maximum(self.task.natural + noise, TINY), K, normalise=True)

    def _state(self, observation: NDArray[Any]) -> NDArray[np.float32]:
        """The observation as the networks get it."""
        state = super()._state(observation)
        if self.config.anchor == "current" and self._decision == 0:
            features = self.layout.domain_features
            state[features.index("mixture") : self.task.K * len(features) : len(features)] = (
                self._prior
            )
        self._released.distort(state)
        return state

    # --- learning -------------------------------------------------------------------------------

    def _reward(self, reward: float, info: dict[str, Any]) -> NDArray[np.float32]:
        """Return the (1,) reward, or (K,) where the critic has a value for every domain.

        A run that diverged gives every domain the penalty.
        """
        every, released = self.config.domain_values, self.config.released
        if not (every or released.zscored_rewards) or info.get("diverged"):
            return np.full(self.task.K if every else 1, reward, dtype=np.float32)
        rewards = domain_rewards(info, self._reward_weights)
        if released.zscored_rewards:
            rewards = zscored(rewards)
        if not every:
            assert self._pending is not None
            rewards = np.array([np.dot(self._pending.mixture.astype(np.float64), rewards)])
        return rewards.astype(np.float32)

    def _absorb(self, state: NDArray[np.float32], done: bool = False, cut: bool = False) -> None:
        """Store the transition that ends in `state` and update the networks."""
        if self._pending is None or self.frozen:
            return
        learner, pending, earned = self._started(), self._pending, self._take_reward()
        self._pending = None
        learner.replay.add(*pending, earned, state, done and not cut)
        metrics = learner.learn(self._rng, self.decisions, self._warmup, self.task.decisions)
        self.metrics = metrics or self.metrics
        logged = {"reward": float(earned.mean()), **self.metrics}
        self._keep_account({f"acodm/{name}": value for name, value in logged.items()})

    # --- saving ---------------------------------------------------------------------------------

    def _episode(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        held = self._pending._asdict() if self._pending else {}
        tensors = {f"pending.{key}": torch.from_numpy(value) for key, value in held.items()}
        if self._released.first is not None:
            tensors["first.observation"] = torch.from_numpy(self._released.first)
        return tensors, {"decision": self._decision, "odm": self._released.odm.state_dict()}

    def _resume(self, saved: SavedPolicy) -> None:
        self._decision = saved.scalars["decision"]
        self._released.odm.load_state_dict(saved.scalars["odm"])
        pending = owned("pending", saved.tensors)
        self._pending = Pending(**{k: v.numpy() for k, v in pending.items()}) if pending else None
        self._waiting = self._pending is not None
        first = saved.tensors.get("first.observation")
        self._released.first = None if first is None else first.numpy()


def domain_rewards(info: dict[str, Any], weights: dict[str, float]) -> NDArray[np.float64]:
    """Return the (K,) rewards of the domains: the reward's terms, weighted and summed.

    Args:
        info: of the step.
        weights: of the terms, by name; 1 where not given.

    Raises:
        MixgymError: the environment has none.
    """
    vectors = info.get("reward_vectors")
    if not vectors:
        raise MixgymError(
            "critic='factored', released.vector_critic and released.zscored_rewards need a "
            "reward for every domain: make the environment with reward='alignment'"
        )
    total = sum(weights.get(name, 1.0) * vector for name, vector in vectors.items())
    return np.asarray(total, dtype=np.float64)


agent = as_factory(AcOdm)

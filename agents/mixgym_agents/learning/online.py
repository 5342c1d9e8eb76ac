"""Agents that learn while they act: episodes, rewards, resumption."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NotRequired

import numpy as np
from gymnasium import Env
from numpy.typing import NDArray
from torch import Tensor

from mixgym.errors import MixgymError, missing_extra
from mixgym.experiment.rollout import play
from mixgym.lm.threads import pinned_threads
from mixgym.rewards.vector import scalar_reward
from mixgym_agents.learning import store
from mixgym_agents.learning.cost import Tally, TallyRecord
from mixgym_agents.learning.policy import PolicyAgent


class OnlineRecord(TallyRecord):
    """Scalars of the policy of an `OnlineAgent`; each family adds its own."""

    seed: int
    decisions: int
    episodes: int
    rng: dict[str, Any]
    earned: NotRequired[list[float] | None]


class OnlineAgent(PolicyAgent):
    """An agent that learns while it acts; `learn` lets it do so over whole episodes.

    Every `act` learns from the transition that the previous one began, with the reward that
    `observe` was given for it: that of the environment as it is wrapped, in a single run as in
    training. Who steps the environment must call `observe` after each step, unless the agent is
    frozen.

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

    Attributes:
        seed: of the first `start`; None before it.
        decisions, episodes: that it learned from so far, episodes only of `learn`.
        metrics: losses of the latest update.
    """

    STREAM: ClassVar[int]

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
        self.frozen = policy is not None if frozen is None else frozen
        reward = {} if self.frozen and reward is None else reward
        super().__init__(
            policy=policy, digest=digest, observation=observation, reward=reward, **arguments
        )
        self._log = log
        self._writer: Any = None
        self.decisions = self.episodes = 0
        self.seed: int | None = None
        self._in_learn = False
        self.metrics: dict[str, float] = {}

    # --- an episode -----------------------------------------------------------------------------

    def start(self, env: Env[Any, Any], seed: int) -> None:
        """Begin an episode of `env`; see `Agent.start`.

        Raises:
            MixgymError: not a mixing environment, actions that the agent does not give, or no
                reward to learn from.
            CheckpointError: the policy was made for another observation or action map.
        """
        inner = self._enter(env)
        self.seed = seed if self.seed is None else self.seed
        self._rng = np.random.default_rng(self._stream(seed, 0))
        self._reward_weights = {} if self.frozen else reward_weights(inner)
        with pinned_threads(1):
            self._prepare(inner, seed)
        self._waiting = False
        self._earned: NDArray[np.float32] | None = None
        self._begin()
        self.tally.begin(inner, charge=not self._in_learn)

    def _prepare(self, inner: Any, seed: int) -> None:
        before = self.learner
        if before is None:
            if self._saved is None:
                spec = getattr(inner, "spec", None)
                packaged = self.CONFIG.packaged(None if spec is None else spec.id)
                self.config = packaged.updated(self._arguments)
        elif self._suits(before):
            return
        elif not self.frozen:
            raise MixgymError(
                f"agent {self.name!r} learned from another observation than this environment "
                "gives, and its buffer with it: save the policy and start from it with "
                "policy=FOLDER"
            )
        self.learner = self._make_learner(seed)
        if self._saved is not None:
            self._adopt(self._saved)
        elif before is not None:
            tensors, scalars = before.state()
            self._check_learned(before.layout, scalars.get("action_map"))
            self.learner.adopt(tensors, scalars)

    def _suits(self, learner: Any) -> bool:
        """Whether a learner is for just this observation (and these actions)."""
        return learner.layout == self.layout

    @abstractmethod
    def _make_learner(self, seed: int) -> Any:
        """Return a new learner for the environment, by `config`.

        It has a `layout`, `state() -> (tensors, JSON-plain scalars)`, its inverse `restore`, and
        `adopt`, which takes over of both what acting needs, with other domains maybe.
        """

    def _begin(self) -> None:
        """Forget the previous episode."""
        return None

    def observe(self, reward: Any, terminated: bool, truncated: bool, info: dict[str, Any]) -> None:
        """Take the reward of the last action, as the environment, wrapped or not, gave it.

        Of a vector reward the weighted sum is learned from (`scalar_reward`).
        """
        if self._waiting and not self.frozen:
            self._earned = self._reward(scalar_reward(reward, info), info)

    def _reward(self, reward: float, info: dict[str, Any]) -> NDArray[np.float32]:
        """Return the (R,) reward that is learned from."""
        return np.array([reward], dtype=np.float32)

    def _take_reward(self) -> NDArray[np.float32]:
        """Return the reward of the last action, once."""
        earned, self._earned, self._waiting = self._earned, None, False
        if earned is None:
            raise MixgymError(
                f"agent {self.name!r} was not told the reward of its last action: call "
                "agent.observe(reward, terminated, truncated, info) after every env.step"
            )
        return earned

    # --- learning -------------------------------------------------------------------------------

    def learn(self, env: Env[Any, Any], budget: int) -> None:
        """Learn from `budget` decisions in `env`, in as many episodes as they make.

        Episodes are seeded from the seed of the first `start` and their number, so that learning
        goes on where it stopped after `save` and `load`.

        Raises:
            MixgymError: frozen, or not started.
        """
        if self.seed is None:
            raise MixgymError(f"agent {self.name!r} has not started: call start(env, seed) first")
        if self.frozen:
            raise MixgymError(f"agent {self.name!r} is frozen: build it with frozen=False to learn")
        self._in_learn = True
        try:
            while budget > 0:
                seed = self._seed(self.seed, 1, self.episodes)
                last = play(env, self, seed, decisions=budget)
                with pinned_threads(1):
                    self._absorb(self._state(last.observation), True, cut=not last.terminated)
                self.episodes += 1
                budget -= last.decision
        finally:
            self._in_learn = False

    @abstractmethod
    def _absorb(self, state: NDArray[np.float32], done: bool = False, cut: bool = False) -> None:
        """Learn from the transition that ends in `state`, if there is one.

        Args:
            state: (size,) observation.
            done: whether the episode ended with it.
            cut: whether that end is none of the problem's own (a truncation).
        """

    def _keep_account(self, values: Mapping[str, float]) -> None:
        """Measure what learning has cost, and log `values` for TensorBoard."""
        self.tally.measure(self._env)
        if self._log is None:
            return
        if self._writer is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise missing_extra("tensorboard", "tensorboard", "log=FOLDER") from error
            self._writer = SummaryWriter(self._log)
        for name, value in values.items():
            self._writer.add_scalar(name, value, self.decisions)
        self._writer.flush()

    # --- saving ---------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the policy and all that learning depends on into the folder `path`."""
        tensors, scalars = self._started().state()
        further, plain = self._episode()
        scalars = {
            "seed": self.seed,
            "decisions": self.decisions,
            "episodes": self.episodes,
            "rng": self._rng.bit_generator.state,
            "earned": None if self._earned is None else self._earned.tolist(),
            **self.tally.to_json(),
            **scalars,
            **plain,
        }
        saved = store.SavedPolicy(self.config, self.layout, scalars, tensors | further)
        store.write_policy(path, self.name, saved)

    def load(self, path: str | Path) -> None:
        """Go on from what `save` wrote: exactly there, or frozen, with the policy alone.

        Raises:
            CheckpointError: damaged, or of other hyperparameters, observation or action map.
        """
        learner, saved = self._started(), self._read(path)
        if self.frozen:
            self._saved = saved
            self._adopt(saved)
            self.tally.settle(self._env)
            return
        self._check_settings(path, saved)
        self._check_learned(saved.layout, saved.scalars.get("action_map"))
        scalars = saved.scalars
        with store.damage_named(saved):
            learner.restore(saved.tensors, scalars)
            self._resume(saved)
            self.seed, self.decisions = scalars["seed"], scalars["decisions"]
            self.episodes = scalars["episodes"]
            self._rng.bit_generator.state = scalars["rng"]
            earned = scalars.get("earned")
            self._earned = None if earned is None else np.array(earned, dtype=np.float32)
            self.tally = Tally.from_json(scalars)  # type: ignore[arg-type]

    @abstractmethod
    def _episode(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what the episode at hand depends on beside the learner: tensors, plain scalars."""

    @abstractmethod
    def _resume(self, saved: store.SavedPolicy) -> None:
        """Inverse of `_episode`."""

    def _adopt(self, saved: store.SavedPolicy) -> None:
        """Take over a saved policy's networks and statistics for the environment at hand."""
        self._check_learned(saved.layout, saved.scalars.get("action_map"))
        with store.damage_named(saved):
            self._started().adopt(saved.tensors, saved.scalars)
        self.decisions = saved.scalars["decisions"]
        self.tally.earlier = Tally.from_json(saved.scalars).total  # type: ignore[arg-type]

    def _stream(self, seed: int, *key: int) -> np.random.SeedSequence:
        return np.random.SeedSequence(seed, spawn_key=(self.STREAM, *key))

    def _seed(self, seed: int, *key: int) -> int:
        return int(self._stream(seed, *key).generate_state(1)[0] >> 1)


def reward_weights(inner: Any) -> dict[str, float]:
    """Return the weights of an environment's reward terms; {} where it does not name them.

    Raises:
        MixgymError: it has no reward to learn from.
    """
    names = getattr(inner, "reward_names", None)
    if names is None:
        return {}
    weights = dict(zip(names, map(float, inner.reward_weights), strict=True))
    if not any(weights.values()):
        raise MixgymError(
            f"the environment has no reward to learn from (reward terms {weights}): make it with "
            "reward='progress' or 'alignment', or act with a saved policy (policy=FOLDER)"
        )
    return weights

"""Agents that learn from logged trajectories alone; `cql`, `bc`, `iql` and `td3-bc` are made of it.

The algorithms are d3rlpy's (`learner`), the networks ours (`encoders`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, NotRequired

import numpy as np
import torch
from gymnasium import Env
from numpy.typing import NDArray
from typing_extensions import TypedDict

from mixgym.envs.observation import VALIDATION_FEATURES
from mixgym.errors import MixgymError
from mixgym.rewards import REWARD_TERMS
from mixgym.rewards.build import build_terms
from mixgym.simplex import ActionMap, Simplex
from mixgym.trajectories.record import Trajectories, Trajectory, map_from_json, map_to_json
from mixgym.trajectories.scores import require_distinct_episodes, require_same_task
from mixgym.trajectories.transitions import ObservationWindow
from mixgym_agents.learning import store
from mixgym_agents.learning.cost import Cost, CostRecord
from mixgym_agents.learning.policy import PolicyAgent
from mixgym_agents.offline.config import OfflineConfig
from mixgym_agents.offline.learner import Learner

_WINDOW = "window"


class OfflineScalars(TypedDict):
    """The scalars of a saved policy; older ones have no `validation`."""

    steps: int
    gradient_steps: dict[str, int]
    normaliser: dict[str, Any]
    scaling: dict[str, Any] | None
    rng: dict[str, Any]
    action_map: dict[str, Any]
    cost: CostRecord
    provenance: list[dict[str, Any]]
    held_out: list[int]
    validation: NotRequired[str | None]


class OfflineRecord(TypedDict):
    """What a saved policy's record holds beyond `PolicyRecord`."""

    scalars: OfflineScalars


class OfflineAgent(PolicyAgent):
    """Learns from trajectories before it acts, then acts frozen.

    `mixgym train NAME --dataset DIR` calls `prepare`, `learn_offline` and `save`; with
    `policy=FOLDER` the saved policy drives a run. What collecting its data and learning cost is
    charged to the account `agent` of every run that it drives.

    Args:
        policy: folder of a saved policy.
        digest: refuse a `policy` with another digest than this.
        reward: of the environment it is made with; none by default, since it learns nothing there.
        arguments: fields of `OfflineConfig`; with a `policy`, its own are used.
    """

    CONFIG = OfflineConfig
    STRUCTURE = OfflineRecord
    ANYWHERE = "network='tokens' (any domains and layers)"
    name: ClassVar[str]  # type: ignore[misc]

    def __init__(
        self,
        *,
        policy: str | None = None,
        digest: str | None = None,
        reward: Any = None,
        **arguments: Any,
    ) -> None:
        reward = {} if policy is not None and reward is None else reward
        super().__init__(policy=policy, digest=digest, reward=reward, **arguments)
        self.provenance: list[dict[str, Any]] = []
        self.held_out: list[int] = []
        self.validation: str | None = None
        if self._saved is None:
            self.env_arguments = {}
        else:
            self.validation = self._saved.scalars.get("validation")
            if self.validation is not None:
                self.env_arguments = {**self.env_arguments, "validation": self.validation}

    # --- learning -------------------------------------------------------------------------------

    def prepare(self, data: Sequence[Trajectories], seed: int) -> None:
        """Take the datasets that `learn_offline` learns from; all of one task and layout.

        Raises:
            MixgymError: they differ in their environment, configuration (rewards and budget
                included), corpus, observation or action map, or share an episode; or the agent
                has a `policy`, from which it cannot learn on.
        """
        if self._saved is not None:
            raise MixgymError(
                f"agent {self.name!r} was given a policy, which would be forgotten: learn without "
                "policy=..., or go on with that policy's own training by --resume"
            )
        first = data[0]
        for other in data[1:]:
            require_same_task(first, other)
        require_distinct_episodes(data)
        episodes = [episode for dataset in data for episode in dataset.episodes]
        self._map: ActionMap = first.action_map
        self.validation = _validation_seen(first)
        self.learner = Learner(self.name, self.config, first.layout, first.action_map, seed)
        self.held_out = self.learner.held_out(episodes)
        self.learner.take(episodes, first.task.decisions)
        self.provenance = [
            {
                "dataset_id": dataset.dataset_id,
                "digest": dataset.metadata["digest"],
                "env": dataset.env,
                "corpus_hash": dataset.corpus_hash,
                "episodes": len(dataset),
            }
            for dataset in data
        ]

    def learn_offline(self, steps: int) -> dict[str, float]:
        """Take `steps` gradient steps; returns the mean of each loss over them."""
        return self._learned().learn(steps)

    @property
    def steps(self) -> int:
        """Gradient steps taken, the warm start's included."""
        return 0 if self.learner is None else self.learner.steps

    def set_cost(self, tokens: int, flops: float, seconds: float) -> None:
        """Set what its data and its learning cost, which `save` keeps."""
        self.tally.earlier = Cost(int(tokens), flops, seconds)

    def offline_policy(self, data: Sequence[Trajectories]) -> tuple[Learner, list[Trajectory]]:
        """The learner of a saved policy, and those episodes of its data that were held out.

        Args:
            data: the datasets it learned from, in the same order.

        Raises:
            MixgymError: no policy was given, or the datasets are not those.
        """
        saved = self._saved
        if saved is None:
            raise MixgymError(f"agent {self.name!r} has no policy: build it with policy=FOLDER")
        wanted = [source["digest"] for source in saved.scalars["provenance"]]
        if [dataset.metadata["digest"] for dataset in data] != wanted:
            names = [source["dataset_id"] for source in saved.scalars["provenance"]]
            raise MixgymError(
                f"the policy learned from {', '.join(names)}, not from the datasets given: give "
                "those, in that order and unchanged"
            )
        action_map = map_from_json(saved.scalars["action_map"])
        learner = Learner(self.name, self.config, saved.layout, action_map, 0)
        learner.restore(saved.tensors, saved.scalars, resume=False)
        episodes = [episode for dataset in data for episode in dataset.episodes]
        return learner, [episodes[index] for index in saved.scalars["held_out"]]

    def learn(self, env: Env[Any, Any], budget: int) -> None:
        """Not how this agent learns.

        Raises:
            MixgymError: always.
        """
        raise MixgymError(
            f"agent {self.name!r} learns from logged trajectories, not in an environment: "
            f"mixgym train {self.name} --dataset DIR --steps N --out POLICY"
        )

    # --- acting ---------------------------------------------------------------------------------

    def start(self, env: Env[Any, Any], seed: int) -> None:
        """Begin an episode of `env`; see `Agent.start`. Acting draws no random numbers.

        Raises:
            MixgymError: nothing was learned, or not a mixing environment with a box of actions.
            CheckpointError: the policy was learned from another observation or action map.
        """
        if self._saved is None and self.learner is None:
            raise MixgymError(
                f"agent {self.name!r} has learned nothing: mixgym train {self.name} --dataset DIR "
                f"--out POLICY, then {self.name}:{{policy: POLICY}}"
            )
        inner = self._enter(env)
        saved = self._saved
        if saved is not None and (self.learner is None or self.learner.layout != self.layout):
            self._check_learned(saved.layout, saved.scalars["action_map"])
            learner = Learner(self.name, self.config, self.layout, inner.action_map, 0)
            with store.damage_named(saved):
                learner.restore(saved.tensors, saved.scalars, resume=False)
                self._take_scalars(saved)
            self.learner = learner
            self._map = map_from_json(saved.scalars["action_map"])
        self._check_learned(self.learner.layout, map_to_json(self._map))
        self._window = ObservationWindow(self.config.window)
        self.tally.begin(env, charge=True)

    def _check_actions(self, env: Env[Any, Any]) -> None:
        space: Any = env.unwrapped.action_space
        if isinstance(space, Simplex):
            raise MixgymError(
                f"agent {self.name!r} acts in the box it learned from, but the action space is "
                f"{space}: leave action_map to the agent"
            )

    def _action_map(self) -> Mapping[str, Any]:
        return map_to_json(self._env.unwrapped.action_map)  # type: ignore[union-attr]

    def _take_scalars(self, saved: store.SavedPolicy) -> None:
        self.tally.earlier = Cost(**saved.scalars["cost"])
        self.provenance = list(saved.scalars["provenance"])
        self.held_out = list(saved.scalars["held_out"])

    def act(self, observation: NDArray[Any], info: dict[str, Any]) -> NDArray[np.float32]:
        """Return the policy's action, a point of the environment's box."""
        learner = self._learned()
        if self._env is None:
            raise MixgymError(f"agent {self.name!r} has not started: call start(env, seed) first")
        state = self._state(observation)
        return learner.act(self._window.push(learner.encode(state[None])[0]))

    # --- saving ---------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the policy and all that learning and acting depend on into the folder `path`."""
        learner, tensors = self._learned(), {}
        if self._env is not None:
            tensors[_WINDOW] = torch.from_numpy(self._window.state())
        scalars = {
            **learner.scalars(),
            "action_map": map_to_json(self._map),
            "cost": asdict(self.tally.total),
            "provenance": self.provenance,
            "held_out": self.held_out,
            "validation": self.validation,
        }
        saved = store.SavedPolicy(self.config, learner.layout, scalars, tensors | learner.tensors())
        store.write_policy(path, self.name, saved)

    def load(self, path: str | Path) -> None:
        """Go on from what `save` wrote: with learning after `prepare`, with acting after `start`.

        Raises:
            CheckpointError: damaged, of another agent, or of other hyperparameters.
        """
        learner, saved = self._learned(), self._read(path)
        if self._env is None:
            self._check_settings(path, saved)
        with store.damage_named(saved):
            learner.restore(saved.tensors, saved.scalars, resume=self._env is None)
            self._take_scalars(saved)
            if self._env is not None and _WINDOW in saved.tensors:
                self._window.restore(saved.tensors[_WINDOW].numpy())

    def _learned(self) -> Learner:
        if self.learner is None:
            raise MixgymError(
                f"agent {self.name!r} has not started: call prepare(data, seed) to learn, or "
                "start(env, seed) to act"
            )
        return self.learner


def _validation_seen(data: Trajectories) -> str | None:
    """The argument `validation` that gives the losses which the data's observations hold.

    None if they hold none, or for an environment that has no such argument.
    """
    arguments = data.metadata["resolved"].get("arguments", {})
    features = {*data.layout.domain_features, *data.layout.scalar_features}
    if "validation" not in arguments or not features & VALIDATION_FEATURES:
        return None
    if arguments["validation"] != "reward":
        return arguments["validation"]
    # What the reward needed was measured besides, and the policy asks for another reward.
    terms = build_terms(REWARD_TERMS, arguments["reward"])
    needed = any("objective" in term.needs for _, term in terms.values())
    return "objective" if needed else "reward"

"""Agents that learn from logged trajectories alone; `cql`, `bc`, `iql` and `td3-bc` are made of it.

The algorithms are d3rlpy's (`offline_learner`), the networks those of `acodm` (`offline_encoders`),
the hyperparameters in `offline_config`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import Env
from numpy.typing import NDArray

from mixgym.agents import Agent
from mixgym.envs.observation import VALIDATION_FEATURES, ObservationLayout
from mixgym.envs.task import MixingTask
from mixgym.errors import CheckpointError, MixgymError
from mixgym.files import read_json
from mixgym.rewards import REWARD_TERMS
from mixgym.rewards.build import build_terms
from mixgym.simplex import ActionMap, Simplex
from mixgym.trajectories.record import Trajectories, Trajectory, map_from_json, map_to_json
from mixgym.trajectories.scores import require_distinct_episodes, require_same_task
from mixgym.trajectories.transitions import ObservationWindow
from mixgym_agents.learning import store as store
from mixgym_agents.learning.cost import Cost
from mixgym_agents.offline.config import OfflineConfig
from mixgym_agents.offline.learner import Learner

_WINDOW = "window"


class OfflineAgent(Agent):
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

    name: ClassVar[str]  # type: ignore[misc]

    def __init__(
        self,
        *,
        policy: str | None = None,
        digest: str | None = None,
        reward: Any = None,
        **arguments: Any,
    ) -> None:
        self.config = OfflineConfig().updated(arguments)
        self._arguments = arguments
        self._saved: store.SavedPolicy | None = None
        self.learner: Learner | None = None
        self.cost = Cost()
        self.provenance: list[dict[str, Any]] = []
        self.held_out: list[int] = []
        self.validation: str | None = None
        self._env: Env[Any, Any] | None = None
        if policy is not None:
            self._saved = saved = self._read(policy, digest)
            self.config = saved.config.updated(arguments)
            learned = saved.scalars["action_map"]
            self.action_map = learned["name"]
            self.env_arguments = {
                "observation": store.observation_of(saved.layout),
                "action_arguments": learned["arguments"],
                "reward": {} if reward is None else reward,
            }
            self.validation = saved.scalars.get("validation")
            if self.validation is not None:
                self.env_arguments["validation"] = self.validation

    def _read(self, path: str | Path, digest: str | None = None) -> store.SavedPolicy:
        self._check_name(Path(path))
        return store.read_policy(path, digest, config=OfflineConfig)

    def _check_name(self, folder: Path) -> None:
        try:
            if (folder / store.TRAINING).exists():
                folder = folder / read_json(folder / store.TRAINING)["policy"]
            name = read_json(folder / store.RECORD)["agent"]
        except (OSError, ValueError, KeyError, TypeError):
            return  # read_policy says what is wrong
        if name != self.name:
            raise CheckpointError(
                f"the policy in {folder} is one of agent {name!r}: act by it with "
                f"{name}:{{policy: ...}}"
            )

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
        self.cost = Cost(int(tokens), flops, seconds)

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
        inner: Any = env.unwrapped
        task, layout = getattr(inner, "task", None), getattr(inner, "layout", None)
        if not isinstance(task, MixingTask) or not isinstance(layout, ObservationLayout):
            raise MixgymError(f"agent {self.name!r} needs a mixgym environment, got {inner}")
        if self._saved is None and self.learner is None:
            raise MixgymError(
                f"agent {self.name!r} has learned nothing: mixgym train {self.name} --dataset DIR "
                f"--out POLICY, then {self.name}:{{policy: POLICY}}"
            )
        if isinstance(inner.action_space, Simplex):
            raise MixgymError(
                f"agent {self.name!r} acts in the box it learned from, but the action space is "
                f"{inner.action_space}: leave action_map to the agent"
            )
        if self._saved is not None and (self.learner is None or self.learner.layout != layout):
            self._adopt(self._saved, inner)
        self._check_environment(inner)
        self._env = env
        self._window = ObservationWindow(self.config.window)
        if self.cost.tokens or self.cost.seconds:
            self.cost.charge(env)

    def _adopt(self, saved: store.SavedPolicy, inner: Any) -> None:
        self._check_observation(saved.layout, inner.layout)
        learner = Learner(self.name, self.config, inner.layout, inner.action_map, 0)
        learner.restore(saved.tensors, saved.scalars, resume=False)
        self.learner = learner
        self._map = map_from_json(saved.scalars["action_map"])
        self._take_scalars(saved)

    def _take_scalars(self, saved: store.SavedPolicy) -> None:
        self.cost = Cost(**saved.scalars["cost"])
        self.provenance = list(saved.scalars["provenance"])
        self.held_out = list(saved.scalars["held_out"])

    def _check_environment(self, inner: Any) -> None:
        ours, theirs = map_to_json(self._map), map_to_json(inner.action_map)
        if (ours["name"], ours["arguments"]) != (theirs["name"], theirs["arguments"]):
            raise CheckpointError(
                f"the policy's actions are of the map {ours['name']} {ours['arguments']}, the "
                f"environment's of {theirs['name']} {theirs['arguments']}: leave action_map and "
                "action_arguments to the agent"
            )
        self._check_observation(self._learned().layout, inner.layout)

    def _check_observation(self, learned: ObservationLayout, ours: ObservationLayout) -> None:
        """Raise `CheckpointError` unless networks made for `learned` can read this environment."""
        names = ["domain_features", "layer_features", "scalar_features", "normalise"]
        fixed = self.config.network == "mlp"
        if fixed:
            names.append("domains")
        wrong = [
            f"{name} {getattr(learned, name)}, here {getattr(ours, name)}"
            for name in names
            if getattr(learned, name) != getattr(ours, name)
        ]
        layers = len(learned.layers), len(ours.layers)
        if fixed and learned.layer_features and layers[0] != layers[1]:
            wrong.append(f"{layers[0]} layers, here {layers[1]}")
        if wrong:
            raise CheckpointError(
                f"the policy was learned from {'; '.join(wrong)}: make the environment with the "
                "same observation and domains, or learn with network='tokens' (any domains and "
                "layers)"
            )

    def act(self, observation: NDArray[Any], info: dict[str, Any]) -> NDArray[np.float32]:
        """Return the policy's action, a point of the environment's box."""
        learner = self._learned()
        if self._env is None:
            raise MixgymError(f"agent {self.name!r} has not started: call start(env, seed) first")
        given = np.asarray(observation, dtype=np.float32)
        if given.shape != (learner.layout.size,):
            raise MixgymError(
                f"agent {self.name!r} got an observation of shape {given.shape}, the environment's "
                f"layout has {learner.layout.size} entries: leave out wrappers that change it"
            )
        return learner.act(self._window.push(learner.encode(given[None])[0]))

    # --- saving ---------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the policy and all that learning and acting depend on into the folder `path`."""
        learner, tensors = self._learned(), {}
        if self._env is not None:
            tensors[_WINDOW] = torch.from_numpy(self._window.state())
        scalars = {
            **learner.scalars(),
            "action_map": map_to_json(self._map),
            "cost": asdict(self.cost),
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
        changed = store.differences(saved, self.config, learner.layout)
        if changed and self._env is None:
            raise CheckpointError(
                f"the policy in {path} was learned with other settings ({'; '.join(changed)}): "
                "give the same"
            )
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

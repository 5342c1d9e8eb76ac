"""What is collected: an environment, a behaviour, a seed, and the data and code they mean."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mixgym.errors import MixgymError, UnknownNameError, unknown_name
from mixgym.experiment.request import AgentSpec, check_plain
from mixgym.trajectories.behaviours import BEHAVIOURS, Mixed, make_behaviour

_SEEDS = int.from_bytes(b"traj")
_DATASET_ID = re.compile(r"(?:[-_\w]+/)*[-_\w]+?-v\d+")
MIXED = "mixed"


@dataclass(frozen=True)
class CollectionRequest:
    """Everything that decides an episode's numbers but its own number in the collection.

    Attributes:
        env: registered id.
        env_arguments: of `gym.make`; the action map must be one whose actions are points of a box.
        behaviour: a behaviour's or an agent's name and arguments.
        seed: of the collection; every episode's own seed follows from it and its number.
        corpus_hash, version: filled in once the environment has been built.
        resolved: what `env_arguments` come to with presets and defaults.
    """

    env: str
    behaviour: AgentSpec
    env_arguments: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    corpus_hash: str = ""
    version: str = ""
    resolved: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_plain(self.env_arguments, f"arguments of {self.env}")
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or self.seed < 0:
            raise MixgymError(f"seed {self.seed!r} is not a whole number of 0 or more")
        if self.env_arguments.get("action_map") == "simplex":
            raise MixgymError(
                "action_map='simplex' cannot be collected: offline learners need a box of actions; "
                "leave it out (mixtures are logged too)"
            )
        for member in members_of(self.behaviour):
            check_member(member)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "env": self.env,
            "env_arguments": self.env_arguments,
            "behaviour": {"name": self.behaviour.agent, "arguments": self.behaviour.arguments},
            "seed": self.seed,
            "corpus_hash": self.corpus_hash,
            "version": self.version,
            "resolved": self.resolved,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CollectionRequest:
        """Inverse of `to_json`; further keys are ignored."""
        name = value["behaviour"]["name"]
        behaviour = AgentSpec(name, name, dict(value["behaviour"]["arguments"]))
        return cls(
            value["env"],
            behaviour,
            dict(value["env_arguments"]),
            int(value["seed"]),
            value["corpus_hash"],
            value["version"],
            dict(value.get("resolved") or {}),
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, which every episode file carries."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def episode_seed(self, index: int) -> int:
        """Seed of episode `index`'s run: of initial weights, data order and the behaviour."""
        stream = np.random.SeedSequence(self.seed, spawn_key=(_SEEDS, index))
        return int(stream.generate_state(1)[0] >> 1)

    def member(self, index: int) -> AgentSpec:
        """The behaviour of episode `index`."""
        members = members_of(self.behaviour)
        return members[index % len(members)]


def members_of(behaviour: AgentSpec) -> list[AgentSpec]:
    """Behaviours that `behaviour` alternates between: itself, but for `mixed`."""
    if behaviour.agent != MIXED:
        return [behaviour]
    for argument in behaviour.arguments:
        if argument != "members":
            raise unknown_name("argument of behaviour 'mixed'", argument, ["members"])
    members = [AgentSpec.from_json(x) for x in Mixed(**behaviour.arguments).members]
    for member in members:
        if member.agent == MIXED:
            raise MixgymError("mixed cannot be a member of mixed: list its members instead")
    return members


def check_member(member: AgentSpec) -> None:
    """Raise unless `member` names a behaviour or an installed agent, with arguments it takes."""
    if member.agent in BEHAVIOURS:
        make_behaviour(member.agent, member.arguments)
        return
    from mixgym.agents import list_agents, make_agent

    agents = list_agents()
    if member.agent not in agents:
        raise unknown_name("behaviour", member.agent, [MIXED, *BEHAVIOURS, *agents])
    make_agent(member.agent, **member.arguments)


def default_dataset_id(env: str, behaviour: str) -> str:
    """Minari id of a collection, `mixgym/<Environment>/<behaviour>-v0`.

    >>> default_dataset_id("mixgym/NanoPretrain-v0", "random-walk")
    'mixgym/NanoPretrain/random-walk-v0'
    """
    name = re.sub(r"-v\d+$", "", env.rpartition(":")[2].rpartition("/")[2])
    return f"mixgym/{re.sub(r'[^-_0-9A-Za-z]', '-', name)}/{behaviour}-v0"


def check_dataset_id(dataset_id: str) -> str:
    """Return a dataset's id if Minari can name a folder by it.

    Raises:
        UnknownNameError: it cannot.
    """
    if not _DATASET_ID.fullmatch(dataset_id):
        raise UnknownNameError(
            f"dataset id {dataset_id!r} is not NAMESPACE/NAME-vN: write for example "
            "mixgym/NanoPretrain/random-v0"
        )
    return dataset_id

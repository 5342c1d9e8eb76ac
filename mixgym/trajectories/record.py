"""A logged episode, many of them, and the file an episode is kept in until they are assembled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from mixgym.envs.observation import ObservationLayout
from mixgym.envs.task import MixingTask
from mixgym.errors import DamagedFileError, MixgymError
from mixgym.files import Finite, atomic_path, parse_json, reading
from mixgym.simplex import ActionMap, make_action_map

#: Separates the keys of nested infos in names of arrays.
SEPARATOR = "/"
_STEPS = ("observations", "actions", "rewards", "terminations", "truncations")


class Played(TypedDict):
    """A behaviour or an agent that logged an episode."""

    name: str
    arguments: dict[str, Any]


class Facts(TypedDict):
    """What an episode's file says once an episode. `return` may be NaN."""

    index: NotRequired[int]
    seed: int
    behaviour: Played
    diverged: bool
    ledger: dict[str, dict[str, Finite]]
    seconds: Finite
    request: NotRequired[str]
    corpus_hash: NotRequired[str]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One episode of T decisions on K domains.

    Attributes:
        index: number in its dataset.
        observations: (T + 1, size) float32.
        actions: (T, dim) float32 points of the environment's box (logit space by default).
        rewards: (T,) float64.
        terminations, truncations: (T,) bool.
        infos: name -> (T + 1, ...) array; row 0 is of the reset. Names of nested infos are joined
            by "/": `mixture`, `reward_terms/progress`, `ledger/train/tokens`, ...
        facts: seed, behaviour, ledger, ...: what is said once an episode, JSON-plain.
    """

    index: int
    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float64]
    terminations: NDArray[np.bool_]
    truncations: NDArray[np.bool_]
    infos: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """T, the number of decisions."""
        return len(self.rewards)

    @property
    def mixtures(self) -> NDArray[np.float64]:
        """(T, K) the mixtures that the actions came to."""
        return self.infos["mixture"][1:]

    @property
    def total(self) -> float:
        """Undiscounted return."""
        return float(self.rewards.sum())

    @property
    def diverged(self) -> bool:
        """Whether its run diverged at the last decision."""
        return bool(self.facts.get("diverged"))

    @property
    def earned(self) -> NDArray[np.bool_]:
        """(T,) whether a reward is the mixture's own, and not the penalty for diverging."""
        return ~(self.diverged & (np.arange(len(self)) == len(self) - 1))

    @property
    def seed(self) -> int:
        """Of the episode's run."""
        return int(self.facts["seed"])

    @property
    def behaviour(self) -> str:
        """Name of the behaviour or agent that logged it."""
        return str(self.facts["behaviour"]["name"])


@dataclass(frozen=True, eq=False)
class Trajectories(Sequence[Trajectory]):
    """The episodes of a dataset and what all of them share.

    Attributes:
        episodes: in the order of their index.
        dataset_id: Minari's name for them.
        env: id of the environment.
        env_arguments: that it was made with.
        corpus_hash: of its corpus.
        task: domains, objective, budget.
        layout: of the observations.
        action_map: from an action to a mixture.
        metadata: everything else that was recorded, JSON-plain.
    """

    episodes: tuple[Trajectory, ...]
    dataset_id: str
    env: str
    env_arguments: Mapping[str, Any]
    corpus_hash: str
    task: MixingTask
    layout: ObservationLayout
    action_map: ActionMap
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, index: Any) -> Any:
        return self.episodes[index]

    @property
    def returns(self) -> NDArray[np.float64]:
        """(episodes,) undiscounted returns."""
        return np.array([episode.total for episode in self.episodes])

    @property
    def cost(self) -> dict[str, float]:
        """`tokens`, `flops` and `seconds` of the collection, all ledger accounts together."""
        return dict(self.metadata["cost"])

    def __repr__(self) -> str:
        return f"Trajectories({self.dataset_id!r}, {len(self)} episodes on {self.env})"


def task_to_json(task: MixingTask) -> dict[str, Any]:
    """A task as plain JSON."""
    return {
        "names": list(task.names),
        "natural": task.natural.tolist(),
        "objective": task.objective.tolist(),
        "groups": {name: list(members) for name, members in task.groups.items()},
        "decisions": task.decisions,
        "steps_per_decision": task.steps_per_decision,
    }


def task_from_json(plain: Mapping[str, Any]) -> MixingTask:
    """Inverse of `task_to_json`."""
    return MixingTask(
        names=tuple(plain["names"]),
        natural=np.array(plain["natural"], dtype=np.float64),
        objective=np.array(plain["objective"], dtype=np.float64),
        groups={name: tuple(members) for name, members in plain["groups"].items()},
        decisions=int(plain["decisions"]),
        steps_per_decision=int(plain["steps_per_decision"]),
    )


def map_to_json(action_map: ActionMap) -> dict[str, Any]:
    """An action map's registered name and arguments.

    Raises:
        MixgymError: it is not registered.
    """
    from dataclasses import asdict

    from mixgym.simplex import ACTION_MAPS

    for name in ACTION_MAPS:
        if ACTION_MAPS[name] is type(action_map):
            arguments = asdict(action_map)
            return {"name": name, "K": arguments.pop("K"), "arguments": arguments}
    raise MixgymError(
        f"action map {type(action_map).__name__} has no name: add it to mixgym.simplex.ACTION_MAPS"
    )


def map_from_json(plain: Mapping[str, Any]) -> ActionMap:
    """Inverse of `map_to_json`."""
    return make_action_map(plain["name"], int(plain["K"]), **plain["arguments"])


def layout_from_json(plain: Mapping[str, Any]) -> ObservationLayout:
    """A layout from `dataclasses.asdict`'s form, read back from JSON."""
    listed = {key: tuple(x) if isinstance(x, list) else x for key, x in plain.items()}
    return ObservationLayout(**listed)  # type: ignore[arg-type]


def write_episode(path: Path, episode: Trajectory) -> None:
    """Write an episode as one safetensors file, whole or not at all, with a digest of itself."""
    from safetensors.numpy import save

    arrays = {name: getattr(episode, name) for name in _STEPS}
    arrays |= {f"infos{SEPARATOR}{name}": value for name, value in episode.infos.items()}
    arrays = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    facts = json.dumps({**episode.facts, "index": episode.index})
    content = save(arrays, {"facts": facts, "digest": _digest(facts, arrays)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def read_episode(path: Path) -> Trajectory:
    """Read an episode's file.

    Raises:
        DamagedFileError: it is missing, damaged, or was changed after it was written.
    """
    from safetensors import SafetensorError, safe_open

    remedy = "delete it and collect again with --resume"
    try:
        with reading(path, remedy), safe_open(path, framework="numpy") as file:
            header = file.metadata()
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DamagedFileError):
            raise
        raise DamagedFileError(f"{path} is not a whole episode ({error}): {remedy}") from error
    text = (header or {}).get("facts", "")
    # Episodes of older versions have no digest.
    if "digest" in (header or {}) and header["digest"] != _digest(text, arrays):
        raise DamagedFileError(f"{path} was changed after it was written: {remedy}")
    for name in sorted(set(_STEPS) - arrays.keys()):
        raise DamagedFileError(f"{path} is not a whole episode (it lacks {name}): {remedy}")
    facts: Any = parse_json(text, f"the header of {path}", Facts, remedy=remedy)
    infos = {
        name.removeprefix(f"infos{SEPARATOR}"): value
        for name, value in arrays.items()
        if name.startswith(f"infos{SEPARATOR}")
    }
    return Trajectory(
        index=int(facts.pop("index")),
        **{name: arrays[name] for name in _STEPS},
        infos=infos,
        facts=facts,
    )


def _digest(facts: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over all that an episode's file says."""
    digest = hashlib.sha256(facts.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()

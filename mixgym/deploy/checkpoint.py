"""The controller's part of a Trainer's checkpoint: JSON, safetensors and the agent's own files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any, NotRequired

import torch
from safetensors.torch import save
from typing_extensions import TypedDict

from mixgym.errors import CheckpointError, DamagedFileError
from mixgym.files import atomic_path, read_json, write_json
from mixgym.lm.recorder import RecorderState
from mixgym.tensors import read_tensors

#: 1 held the journal of an episode (`deploy.format1`); 2 holds its state, and digests.
FORMAT = 2
FOLDER = "mixgym"
STATE = "state.json"
_TENSORS = "tensors.safetensors"
_AGENT = "agent"
_EPISODE = "episode."
_REMEDY = "resume from an earlier checkpoint"


class _Run(RecorderState):
    seconds: float
    learning_rate: float | None
    loss_before: list[float | None]
    drawn_before: list[int]
    stream: dict[str, Any]
    ledger: dict[str, dict[str, float]]
    weights: dict[str, list[float]]
    ends: NotRequired[int]
    journal: NotRequired[dict[str, Any]]


class ControlRecord(TypedDict):
    """`state.json`."""

    format: int
    identity: dict[str, Any]
    mark: dict[str, Any]
    run: _Run
    episode: NotRequired[dict[str, Any]]
    tensors: dict[str, Any] | list[str]


@dataclass(frozen=True)
class SavedControl:
    """What a checkpoint holds of a controller.

    Attributes:
        folder: where it is.
        identity: what must be the same to go on.
        mark: of the moment; the Trainer's own state holds its `digest` too.
        run: the run's scalars.
        tensors: the run's tensors.
        episode: of `Episode.state_dict`; empty where there is a journal.
        journal: of a checkpoint of format 1, else None.
    """

    folder: Path
    identity: dict[str, Any]
    mark: dict[str, Any]
    run: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    episode: dict[str, Any] = field(default_factory=dict)
    journal: dict[str, Any] | None = None

    @property
    def agent(self) -> Path:
        """What the agent saved."""
        return self.folder / _AGENT


def digest(mark: dict[str, Any]) -> str:
    """Return a name for a moment of a run."""
    return hashlib.sha256(json.dumps(mark, sort_keys=True).encode()).hexdigest()


def write_control(saved: SavedControl, save_agent: Callable[[Path], None]) -> None:
    """Write into `saved.folder`, the state last: without it, the rest counts for nothing."""
    saved.folder.mkdir(parents=True, exist_ok=True)
    (saved.folder / STATE).unlink(missing_ok=True)
    save_agent(saved.agent)
    arrays = saved.episode["arrays"]
    content = save(
        saved.tensors | {_EPISODE + name: torch.from_numpy(x) for name, x in arrays.items()}
    )
    with atomic_path(saved.folder / _TENSORS) as temporary:
        temporary.write_bytes(content)
    plain = {
        "format": FORMAT,
        "identity": saved.identity,
        "mark": saved.mark,
        "run": saved.run,
        "episode": saved.episode["scalars"],
        "tensors": {"sha256": hashlib.sha256(content).hexdigest()},
    }
    write_json(saved.folder / STATE, plain, digest=True)


def read_control(folder: Path) -> SavedControl:
    """Read what `write_control` wrote, in this format or the one before.

    Raises:
        CheckpointError: not there, damaged, or of another format.
    """
    for name in (STATE, _TENSORS):
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder.parent} holds no state of a MixtureController ({folder / name} is "
                "missing): resume from a checkpoint that was saved with MixtureCallback"
            )
    try:
        version = read_json(folder / STATE, dict[str, Any], remedy=_REMEDY).get("format")
        if version not in (1, FORMAT):
            raise CheckpointError(
                f"{folder / STATE} has format {version!r}, this version reads 1 and {FORMAT}"
            )
        plain: ControlRecord = read_json(folder / STATE, ControlRecord, remedy=_REMEDY)
        expected = plain["tensors"]
        sha256 = expected.get("sha256") if isinstance(expected, dict) else None
        tensors = read_tensors(folder / _TENSORS, sha256=sha256, remedy=_REMEDY)
        if isinstance(expected, list) and set(tensors) != set(expected):
            raise DamagedFileError(f"{folder / _TENSORS} belongs to another {STATE}: {_REMEDY}")
    except (OSError, DamagedFileError) as error:
        raise CheckpointError(f"the state in {folder} is damaged: {error}") from error
    run: dict[str, Any] = dict(plain["run"])
    journal = None
    if version == 1:
        journal = run.pop("journal", {})
        run["ends"] = _end_of_decision(run, plain["identity"])
    arrays = {
        name.removeprefix(_EPISODE): tensors.pop(name).numpy()
        for name in list(tensors)
        if name.startswith(_EPISODE)
    }
    episode = {"scalars": plain.get("episode", {}), "arrays": arrays}
    return SavedControl(folder, plain["identity"], plain["mark"], run, tensors, episode, journal)


def _end_of_decision(run: dict[str, Any], identity: dict[str, Any]) -> int:
    """Return where a decision under way ends, which format 1 does not say."""
    steps, total = identity["steps_per_decision"], identity["max_steps"]
    decisions = ceil(run["step"] / steps)
    if run["step"] == steps * decisions and run["step"] < total:
        decisions += 1  # the next one was made before the checkpoint was written
    return min(decisions * steps, total)


def find_control(candidates: Iterable[Path], expected: str) -> SavedControl:
    """Read the state whose mark has the digest `expected`.

    The Trainer does not tell its callbacks which folder it resumes from.

    Args:
        candidates: checkpoint folders to look into, the likeliest first.
        expected: digest in the state that the Trainer has read.

    Raises:
        CheckpointError: none of them holds it.
    """
    looked: list[str] = []
    for candidate in candidates:
        folder = candidate / FOLDER
        looked.append(str(candidate))
        if not (folder / STATE).is_file():
            continue
        saved = read_control(folder)
        if digest(saved.mark) == expected:
            return saved
    raise CheckpointError(
        f"the state of the MixtureController that belongs to this checkpoint ({FOLDER}/{STATE}) is "
        f"not in {' or '.join(looked)}: name the folder that the Trainer resumes from, "
        "MixtureCallback(controller, resume_from=FOLDER)"
    )


def check_identity(saved: SavedControl, ours: dict[str, Any]) -> None:
    """Raise `CheckpointError` naming what is not as it was."""
    plain = json.loads(json.dumps(ours))
    changed = [
        f"{key} (saved {saved.identity.get(key)!r}, now {value!r})"
        for key, value in plain.items()
        if saved.identity.get(key) != value
    ]
    if changed:
        raise CheckpointError(
            f"{saved.folder.parent} was saved by another controller: {'; '.join(changed)}. Resume "
            "with the same, or start a new run"
        )

"""The controller's part of a Trainer's checkpoint: JSON, safetensors and the agent's own files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from mixgym.errors import CheckpointError
from mixgym.files import atomic_path, read_json, write_json

FORMAT = 1
FOLDER = "mixgym"
STATE = "state.json"
_TENSORS = "tensors.safetensors"
_AGENT = "agent"


@dataclass(frozen=True)
class SavedControl:
    """What a checkpoint holds of a controller.

    Attributes:
        folder: where it is.
        identity: what must be the same to go on.
        mark: of the moment; the Trainer's own state holds its `digest` too.
        run: the run's scalars, the journal among them.
        tensors: the run's tensors.
    """

    folder: Path
    identity: dict[str, Any]
    mark: dict[str, Any]
    run: dict[str, Any]
    tensors: dict[str, torch.Tensor]

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
    with atomic_path(saved.folder / _TENSORS) as temporary:
        save_file(saved.tensors, temporary)
    plain = {
        "format": FORMAT,
        "identity": saved.identity,
        "mark": saved.mark,
        "run": saved.run,
        "tensors": list(saved.tensors),
    }
    write_json(saved.folder / STATE, plain)


def read_control(folder: Path) -> SavedControl:
    """Read what `write_control` wrote.

    Raises:
        CheckpointError: not there, damaged, or of another format.
    """
    try:
        plain = read_json(folder / STATE)
        if plain["format"] != FORMAT:
            raise CheckpointError(
                f"{folder / STATE} has format {plain['format']!r}, this version reads {FORMAT}"
            )
        tensors = load_file(folder / _TENSORS)
        if set(tensors) != set(plain["tensors"]):
            raise ValueError(f"{_TENSORS} belongs to another state")
        return SavedControl(folder, plain["identity"], plain["mark"], plain["run"], tensors)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder.parent} holds no state of a MixtureController ({error.filename} is missing): "
            "resume from a checkpoint that was saved with MixtureCallback"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"the state in {folder} is damaged ({error}): resume from an earlier checkpoint"
        ) from error


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
        f"the state of the MixtureController that belongs to this checkpoint is not in "
        f"{' or '.join(looked)}: name the folder that the Trainer resumes from, "
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

"""Saved policies: one folder with JSON and safetensors, whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from typing_extensions import TypedDict

from mixgym.envs.observation import ObservationLayout
from mixgym.errors import CheckpointError, DamagedFileError
from mixgym.files import atomic_path, read_json, write_json
from mixgym.tensors import read_tensors
from mixgym_agents.learning.hyperparameters import Hyperparameters

FORMAT = 1
RECORD = "policy.json"
TRAINING = "cost.json"  # of `mixgym train`; names the folder of the policy beside it
_REMEDY = "restore it from a copy"


class LayoutRecord(TypedDict):
    """An `ObservationLayout`."""

    domains: list[str]
    layers: list[str]
    domain_features: list[str]
    layer_features: list[str]
    scalar_features: list[str]
    normalise: str


class TensorsRecord(TypedDict):
    """The file of the tensors, in the same folder, and the SHA-256 of its bytes."""

    file: str
    sha256: str


class PolicyRecord(TypedDict):
    """What `policy.json` holds; `digest` is over all the rest."""

    format: int
    agent: str
    config: dict[str, Any]
    layout: LayoutRecord
    tensors: TensorsRecord
    scalars: dict[str, Any]
    digest: str


class TrainingRecord(TypedDict):
    """What is read here of `mixgym train`'s `cost.json`."""

    policy: str


@dataclass(frozen=True)
class SavedPolicy:
    """What a folder holds.

    Attributes:
        config: the agent's hyperparameters.
        layout: of the observations it learned from.
        scalars: counters, statistics, generator state, cost; JSON-plain.
        tensors: networks, targets, optimisers, replay buffer.
        digest: SHA-256 of everything in the folder, which names this very policy; "" before
            it is written.
        folder: it was read from.
    """

    config: Any
    layout: ObservationLayout
    scalars: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    digest: str = ""
    folder: Path = Path()


def write_policy(path: str | Path, name: str, saved: SavedPolicy) -> None:
    """Write a policy into the folder `path`; one that stands there is replaced only once complete.

    The record names its tensor file and is renamed into place last.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    content = save({k: v.contiguous() for k, v in saved.tensors.items()})
    digest = hashlib.sha256(content).hexdigest()
    # Named by content, so that the file of the record that still stands is not overwritten.
    final = folder / f"tensors-{digest[:16]}.safetensors"
    with atomic_path(final) as temporary:
        temporary.write_bytes(content)
    record = {
        "format": FORMAT,
        "agent": name,
        "config": asdict(saved.config),
        "layout": asdict(saved.layout),
        "tensors": {"file": final.name, "sha256": digest},
        "scalars": saved.scalars,
    }
    write_json(folder / RECORD, {**record, "digest": _record_digest(record)})
    for old in folder.glob("tensors-*.safetensors"):
        if old.name != final.name:
            old.unlink()


def read_policy(
    path: str | Path,
    digest: str | None = None,
    *,
    config: type[Hyperparameters],
    agent: str,
    structure: Any = None,
) -> SavedPolicy:
    """Read the policy in the folder `path`, or that `mixgym train` wrote into `path`.

    Args:
        path: as given to `write_policy`, or the `--out` of `mixgym train`.
        digest: that the policy must have.
        config: its hyperparameters' class.
        agent: that must have saved it.
        structure: of the record beyond `PolicyRecord`, a `TypedDict` with that agent's `scalars`.

    Raises:
        CheckpointError: nothing there, damaged, or not the policy of that digest or agent.
    """
    folder = Path(path)
    try:
        if (folder / TRAINING).exists():
            pointer = read_json(folder / TRAINING, TrainingRecord, remedy=_REMEDY)
            folder = folder / pointer["policy"]
        record = read_json(folder / RECORD, PolicyRecord, remedy=_REMEDY)
        if record["format"] != FORMAT:
            raise CheckpointError(
                f"{folder / RECORD} has format {record['format']!r}, this version reads {FORMAT}: "
                "use the mixgym that wrote it, or restore it"
            )
        if record["agent"] != agent:
            own = record["agent"]
            raise CheckpointError(
                f"the policy in {folder} is one of agent {own!r}, not {agent!r}: act by it with "
                f"{own}:{{policy: ...}}"
            )
        if _record_digest(record) != record["digest"]:
            raise DamagedFileError(f"{folder / RECORD} does not match its SHA-256: {_REMEDY}")
        read_json(folder / RECORD, structure, remedy=_REMEDY)
        saved = SavedPolicy(
            config(**record["config"]),
            _layout(record["layout"]),
            record["scalars"],
            read_tensors(
                folder / record["tensors"]["file"],
                sha256=record["tensors"]["sha256"],
                finite=True,
                remedy=_REMEDY,
            ),
            record["digest"],
            folder,
        )
    except FileNotFoundError as error:
        raise CheckpointError(
            f"no saved policy at {path}: {error.filename} is missing; give the folder that "
            "mixgym train or agent.save wrote"
        ) from None
    except (DamagedFileError, OSError) as error:
        raise CheckpointError(f"the policy in {folder} is damaged: {error}") from error
    except (ValueError, TypeError) as error:  # hyperparameters that this version does not have
        raise CheckpointError(
            f"{folder / RECORD} has hyperparameters that agent {agent!r} refuses ({error}): use "
            "the version of mixgym that wrote it"
        ) from error
    if digest is not None and digest != saved.digest:
        raise CheckpointError(
            f"the policy in {folder} is {saved.digest[:16]}, but {digest[:16]} was asked for: it "
            "was trained on since; give its digest, or the folder of the one you mean"
        )
    return saved


@contextmanager
def damage_named(saved: SavedPolicy) -> Iterator[None]:
    """Name the folder of a policy whose content turns out to be damaged in the block."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"the policy in {saved.folder}: {error}") from error
    except (KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
        raise CheckpointError(
            f"the policy in {saved.folder} is damaged ({error!r}): {_REMEDY}"
        ) from error


def _record_digest(record: dict[str, Any]) -> str:
    plain = {key: value for key, value in record.items() if key != "digest"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _layout(record: LayoutRecord) -> ObservationLayout:
    plain: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in record.items()
    }
    return ObservationLayout(**plain)


def observation_of(layout: ObservationLayout) -> dict[str, Any]:
    """Return the environments' argument `observation` that gives this layout's features."""
    return {
        "domain": list(layout.domain_features),
        "layer": list(layout.layer_features),
        "scalar": list(layout.scalar_features),
        "normalise": layout.normalise,
    }


def differences(saved: SavedPolicy, config: Any, layout: ObservationLayout) -> list[str]:
    """One line for each hyperparameter or part of the layout that is not the saved one."""
    pairs = [
        *((f.name, getattr(saved.config, f.name), getattr(config, f.name)) for f in fields(config)),
        *((f.name, getattr(saved.layout, f.name), getattr(layout, f.name)) for f in fields(layout)),
    ]
    return [f"{name}: saved {old!r}, here {new!r}" for name, old, new in pairs if old != new]


def owned(owner: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors named `owner.*`, without that prefix."""
    prefix = f"{owner}."
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def load_weights(
    module: torch.nn.Module, saved: dict[str, torch.Tensor], spare: tuple[str, ...] = ()
) -> None:
    """Load a module's tensors, of just its names, shapes and dtypes.

    Args:
        module: to load into.
        saved: its tensors.
        spare: beginnings of the names that stay as they are where the saved ones are others.

    Raises:
        CheckpointError: other names, shapes or dtypes.
    """
    own = module.state_dict()
    other = {n for n, x in own.items() if n not in saved or not _alike(saved[n], x)}
    wrong = sorted((other | saved.keys() - own.keys()) - {n for n in own if n.startswith(spare)})
    if wrong:
        raise CheckpointError(
            f"the saved networks have other shapes than the arguments ask for ({wrong[0]}): leave "
            "out network, width, depth, ... with a policy"
        )
    module.load_state_dict({name: own[name] if name in other else saved[name] for name in own})


def _alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype


def flat_optimiser(name: str, optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return an optimiser's moments as tensors named `name.<parameter>.<key>`."""
    state = optimiser.state_dict()["state"]
    return {
        f"{name}.{index}.{key}": value.detach().clone()
        for index, entry in state.items()
        for key, value in entry.items()
    }


def restore_optimiser(
    name: str, optimiser: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]
) -> None:
    """Inverse of `flat_optimiser`; other names in `tensors` are left alone.

    Raises:
        CheckpointError: moments of no parameter, or of another shape than their parameter.
    """
    state: dict[int, dict[str, torch.Tensor]] = {}
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for full, value in owned(name, tensors).items():
        index, _, key = full.partition(".")
        known = index.isdecimal() and int(index) < len(parameters)
        if not known or (value.dim() and value.shape != parameters[int(index)].shape):
            raise CheckpointError(
                f"the saved policy's optimiser has a {name}.{full} that belongs to no parameter: "
                f"{_REMEDY}"
            )
        state.setdefault(int(index), {})[key] = value.clone()
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})

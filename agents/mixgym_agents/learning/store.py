"""Saved `acodm` policies: one folder with JSON and safetensors, whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from mixgym.envs.observation import ObservationLayout
from mixgym.errors import CheckpointError
from mixgym.files import atomic_path, read_json, write_json
from mixgym_agents.acodm.config import Config

FORMAT = 1
RECORD = "policy.json"
TRAINING = "cost.json"  # of `mixgym train`; names the folder of the policy beside it


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
    """

    config: Any
    layout: ObservationLayout
    scalars: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    digest: str = ""


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
    config: Callable[..., Any] = Config,
    agent: str | None = None,
) -> SavedPolicy:
    """Read the policy in the folder `path`, or that `mixgym train` wrote into `path`.

    Args:
        path: as given to `write_policy`, or the `--out` of `mixgym train`.
        digest: that the policy must have.
        config: makes the hyperparameters of the keywords that are stored.
        agent: that must have saved it; None for any.

    Raises:
        CheckpointError: nothing there, damaged, or not the policy of that digest or agent.
    """
    folder = Path(path)
    try:
        if (folder / TRAINING).exists():
            folder = folder / read_json(folder / TRAINING)["policy"]
        record = read_json(folder / RECORD)
        if record["format"] != FORMAT:
            raise CheckpointError(
                f"{folder / RECORD} has format {record['format']!r}, this version reads {FORMAT}"
            )
        if agent not in (None, record["agent"]):
            raise CheckpointError(
                f"the policy in {folder} is of agent {record['agent']!r}, not {agent!r}: give it "
                "to that one"
            )
        content = (folder / record["tensors"]["file"]).read_bytes()
        whole = (
            hashlib.sha256(content).hexdigest() == record["tensors"]["sha256"]
            and _record_digest(record) == record["digest"]
        )
        if not whole:
            raise ValueError("it does not match its SHA-256")
        saved = SavedPolicy(
            config(**record["config"]),
            _layout(record["layout"]),
            record["scalars"],
            load(content),
            record["digest"],
        )
    except FileNotFoundError as error:
        raise CheckpointError(
            f"no saved policy at {path}: {error.filename} is missing; give the folder that "
            "mixgym train or agent.save wrote"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"the policy in {folder} is damaged ({error}): restore it from a copy"
        ) from error
    if digest is not None and digest != saved.digest:
        raise CheckpointError(
            f"the policy in {folder} is {saved.digest[:16]}, but {digest[:16]} was asked for: it "
            "was trained on since; give its digest, or the folder of the one you mean"
        )
    return saved


def observation_of(layout: ObservationLayout) -> dict[str, Any]:
    """Return the environments' argument `observation` that gives this layout's features."""
    return {
        "domain": list(layout.domain_features),
        "layer": list(layout.layer_features),
        "scalar": list(layout.scalar_features),
        "normalise": layout.normalise,
    }


def _layout(plain: dict[str, Any]) -> ObservationLayout:
    listed = {key: tuple(x) if isinstance(x, list) else x for key, x in plain.items()}
    return ObservationLayout(**listed)  # type: ignore[arg-type]


def _record_digest(record: dict[str, Any]) -> str:
    plain = {key: value for key, value in record.items() if key != "digest"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


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
    """Inverse of `flat_optimiser`; other names in `tensors` are left alone."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for full, value in tensors.items():
        owner, _, rest = full.partition(".")
        if owner == name:
            index, _, key = rest.partition(".")
            state.setdefault(int(index), {})[key] = value.clone()
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})


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

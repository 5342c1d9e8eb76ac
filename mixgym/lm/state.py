"""A model's and its optimiser's state as tensors by name."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from mixgym.errors import CheckpointError

_OPTIMISER_KEYS = ("step", "exp_avg", "exp_avg_sq")


def persistent(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return every parameter and buffer by name; tied weights appear once.

    Buffers that `transformers` does not save (rotary frequencies) are kept too, since a restored
    model is built without running its initialisers.
    """
    return dict(model.named_parameters()) | dict(model.named_buffers())


def capture(model: torch.nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return copies of the state of a model and of the optimiser of its parameters."""
    tensors = {f"model.{name}": x.detach().clone() for name, x in persistent(model).items()}
    for name, parameter in model.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser.{key}.{name}"] = value.detach().clone()
    return tensors


def restore(
    model: torch.nn.Module, optimiser: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Put model and optimiser where `tensors` were captured; tensors of others are let be.

    Raises:
        CheckpointError: a tensor is missing, or is of another shape or type.
    """
    copy_weights(persistent(model), tensors)
    optimiser.state.clear()
    for name, parameter in model.named_parameters():
        names = {key: f"optimiser.{key}.{name}" for key in _OPTIMISER_KEYS}
        if not any(full in tensors for full in names.values()):
            continue  # a parameter without a gradient so far
        scalar = torch.zeros((), dtype=torch.float32)
        optimiser.state[parameter] = {
            key: _checked(tensors, full, scalar if key == "step" else parameter).to(
                parameter.device, copy=True
            )
            for key, full in names.items()
        }


@torch.no_grad()
def copy_weights(own: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor]) -> None:
    """Overwrite tensors by what `tensors` holds for them under `model.NAME`.

    Raises:
        CheckpointError: as `restore`; nothing was overwritten then.
    """
    found = {name: _checked(tensors, f"model.{name}", value) for name, value in own.items()}
    for name, value in own.items():
        value.copy_(found[name])


def _checked(tensors: Mapping[str, torch.Tensor], name: str, like: torch.Tensor) -> torch.Tensor:
    if name not in tensors:
        raise CheckpointError(f"the saved state lacks the tensor {name!r}")
    found = tensors[name]
    if found.shape != like.shape or found.dtype != like.dtype:
        raise CheckpointError(
            f"the saved tensor {name!r} is {found.dtype} {tuple(found.shape)}, not {like.dtype} "
            f"{tuple(like.shape)}"
        )
    return found


def checked_rng(
    tensors: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return the saved generator states of the devices in `own`.

    Raises:
        CheckpointError: as `restore`.
    """
    return {name: _checked(tensors, f"rng.{name}", x).clone().cpu() for name, x in own.items()}

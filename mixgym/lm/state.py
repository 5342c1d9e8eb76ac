"""A training run's whole state as tensors and JSON-plain scalars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from mixgym.ledger import Ledger

if TYPE_CHECKING:
    from mixgym.lm.training import TrainingRun


def capture(run: TrainingRun) -> dict[str, Any]:
    """Return `tensors` (name -> copied tensor) and `scalars` (JSON-plain) of `run`."""
    tensors = {
        f"model.{name}": value.detach().clone() for name, value in persistent(run.model).items()
    }
    for name, parameter in run.model.named_parameters():
        for key, value in run.optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser.{key}.{name}"] = value.detach().clone()
    tensors |= {f"rng.{name}": state.clone() for name, state in run._rng.items()}
    return {
        "tensors": tensors,
        "scalars": {
            "step": run.step,
            "decision": run.decision,
            "diverged": run.diverged,
            "train_loss": nan_to_none(run._train_loss),
            "last_seen": run._last_seen.tolist(),
            "mixture": run._mixture.tolist(),
            "norms": run._norms.tolist(),
            "stream": run.stream.state_dict(),
            "ledger": run.ledger.to_json(),
        },
    }


def restore(run: TrainingRun, state: dict[str, Any]) -> None:
    """Put `run` exactly where `state` was captured (same corpus, model and settings)."""
    tensors, scalars = state["tensors"], state["scalars"]
    run.stream.load_state_dict(scalars["stream"])
    own = persistent(run.model)
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(tensors[f"model.{name}"])
    run.optimiser.state.clear()
    for name, parameter in run.model.named_parameters():
        entries = {
            key: tensors[f"optimiser.{key}.{name}"].to(parameter.device, copy=True)
            for key in ("step", "exp_avg", "exp_avg_sq")
            if f"optimiser.{key}.{name}" in tensors
        }
        if entries:
            run.optimiser.state[parameter] = entries
    run._rng = {
        name.removeprefix("rng."): state.clone().cpu()
        for name, state in tensors.items()
        if name.startswith("rng.")
    }
    run.step = scalars["step"]
    run.decision = scalars["decision"]
    run.diverged = scalars["diverged"]
    run._train_loss = np.array(
        [np.nan if x is None else x for x in scalars["train_loss"]], dtype=np.float64
    )
    run._last_seen = np.array(scalars["last_seen"], dtype=np.int64)
    run._mixture = np.array(scalars["mixture"], dtype=np.float64)
    run._norms = np.array(scalars["norms"], dtype=np.float64)
    run.ledger = Ledger.from_json(scalars["ledger"])


def persistent(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return every parameter and buffer by name; tied weights appear once.

    Buffers that `transformers` does not save (rotary frequencies) are kept too, since a restored
    model is built without running its initialisers.
    """
    return dict(model.named_parameters()) | dict(model.named_buffers())


def nan_to_none(values: NDArray[np.float64]) -> list[float | None]:
    """Return `values` as JSON-plain numbers."""
    return [None if np.isnan(x) else float(x) for x in values]

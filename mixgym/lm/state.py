"""The whole state of a training run, for forks, pickles and checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from mixgym.ledger import Ledger

if TYPE_CHECKING:
    from mixgym.lm.training import TrainingRun


def state_of(run: TrainingRun) -> dict[str, Any]:
    """Return the run's state: `tensors` (name -> copied tensor) and `scalars` (JSON-plain)."""
    tensors = {
        f"model.{name}": value.detach().clone() for name, value in _persistent(run.model).items()
    }
    for name, parameter in run.model.named_parameters():
        for key, value in run.optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser.{key}.{name}"] = value.detach().clone()
    tensors["rng"] = run._rng.clone()
    return {
        "tensors": tensors,
        "scalars": {
            "step": run.step,
            "decision": run.decision,
            "diverged": run.diverged,
            "train_loss": _nan_to_none(run._train_loss),
            "last_seen": run._last_seen.tolist(),
            "mixture": run._mixture.tolist(),
            "norms": run._norms.tolist(),
            "stream": run.stream.state_dict(),
            "ledger": run.ledger.to_json(),
        },
    }


def restore(run: TrainingRun, state: dict[str, Any]) -> None:
    """Make `run` continue exactly where `state` was taken (same corpus, model and settings)."""
    tensors, scalars = state["tensors"], state["scalars"]
    run.stream.load_state_dict(scalars["stream"])
    own = _persistent(run.model)
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(tensors[f"model.{name}"])
    run.optimiser.state.clear()
    for name, parameter in run.model.named_parameters():
        entries = {
            key: tensors[f"optimiser.{key}.{name}"].clone()
            for key in ("step", "exp_avg", "exp_avg_sq")
            if f"optimiser.{key}.{name}" in tensors
        }
        if entries:
            run.optimiser.state[parameter] = entries
    run._rng = tensors["rng"].clone()
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


def _persistent(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    # Tied weights appear once; non-persistent buffers (rotary frequencies) are kept too, since a
    # restored model is built without running its initialisers.
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _nan_to_none(values: NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(x) else float(x) for x in values]

"""A few weights of a model, by which it is seen whether a Trainer restored it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from mixgym.errors import CheckpointError

_SAMPLES = 8


def samples(model: torch.nn.Module) -> dict[str, list[float]]:
    """Return a few entries of every parameter, spread evenly."""
    return {
        name: parameter.detach().flatten()[:: max(1, parameter.numel() // _SAMPLES)].tolist()
        for name, parameter in model.named_parameters()
    }


def check_samples(model: torch.nn.Module, saved: Mapping[str, Sequence[float]]) -> None:
    """Raise `CheckpointError` unless `model` has the weights that `saved` was taken of."""
    # transformers 5 writes some architectures' weights under older names (GPT-NeoX's lm_head as
    # embed_out), which the Trainer then does not find again: it warns and trains on.
    ours = samples(model)
    wrong = [
        name
        for name in {**saved, **ours}
        if not np.array_equal(saved.get(name, []), ours.get(name, []), equal_nan=True)
    ]
    if wrong:
        raise CheckpointError(
            f"the Trainer did not restore the weights of {', '.join(wrong[:3])}"
            f"{' and others' if len(wrong) > 3 else ''}: build the model by from_pretrained("
            "CHECKPOINT) before you resume, which knows their names in the file"
        )

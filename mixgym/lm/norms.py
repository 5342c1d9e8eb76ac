"""Norms of the weight matrices that are signals, and of their changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mixgym.lm.models import signal_layers


class LayerNorms:
    """The L weight matrices of a model whose norms are signals.

    Args:
        model: the model.
        pattern: regular expression of their names; empty for the MLP output matrices.

    Attributes:
        names: (L,) of the matrices.
        parameters: (L,) the matrices.

    Raises:
        MixgymError: nothing matches.
    """

    def __init__(self, model: torch.nn.Module, pattern: str) -> None:
        found = signal_layers(model, pattern)
        self.names = tuple(name for name, _ in found)
        self.parameters = tuple(parameter for _, parameter in found)

    def copies(self) -> list[torch.Tensor]:
        """Return the matrices as they are now."""
        return [parameter.detach().clone() for parameter in self.parameters]

    def weights(self) -> NDArray[np.float64]:
        """Return the (L,) L2 norms of the matrices."""
        return np.array([float(torch.linalg.vector_norm(p.detach())) for p in self.parameters])

    def updates(self, before: Sequence[torch.Tensor]) -> NDArray[np.float64]:
        """Return the (L,) L2 norms of what they have changed by since `copies` gave `before`."""
        pairs = zip(self.parameters, before, strict=True)
        return np.array([float(torch.linalg.vector_norm(p.detach() - old)) for p, old in pairs])

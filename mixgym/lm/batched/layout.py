"""A model's parameters as one row of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch


class ParameterLayout:
    """Where each parameter of a model lies in a row; N rows are N models.

    Matrices, which decay, come before vectors, which do not: what counts is a parameter's own
    number of dimensions, without the models' axis. Tied parameters have one place.

    Attributes:
        names: of the parameters, in the row's order.
        shapes: of each.
        size: P, entries of a row.
        decayed: entries at its beginning that weight decay applies to.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        named = [(name, tuple(p.shape)) for name, p in model.named_parameters()]
        named.sort(key=lambda item: len(item[1]) < 2)
        self.names = tuple(name for name, _ in named)
        self.shapes = tuple(shape for _, shape in named)
        self._sizes = [prod(shape) for shape in self.shapes]
        self.size = sum(self._sizes)
        self.decayed = sum(prod(shape) for shape in self.shapes if len(shape) >= 2)

    def views(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return (R, ...) views by name of (R, P) `rows`."""
        parts = rows.split(self._sizes, dim=1)
        return {
            name: part.view(len(rows), *shape)
            for name, shape, part in zip(self.names, self.shapes, parts, strict=True)
        }

    def rows(self, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the new (R, P) rows of (R, ...) `tensors`; inverse of `views`."""
        return torch.cat([tensors[name].flatten(1) for name in self.names], dim=1)

    def row(self, model: torch.nn.Module) -> torch.Tensor:
        """Return the new (P,) row of a model."""
        own = dict(model.named_parameters())
        return torch.cat([own[name].detach().flatten() for name in self.names])

"""Initial weights of many seeds without building a model for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mixgym.lm.batched.layout import ParameterLayout
from mixgym.lm.threads import private_rng

#: Builds a model whose random numbers are those of a seed.
Build = Callable[[int], torch.nn.Module]


class _Noted(TorchDispatchMode):
    """Notes what is done in place to whole tensors by numbers alone: draws, fills, scalings.

    Attributes:
        found: operation, tensor, and the other arguments. The tensors are kept, so that no two of
            them share an address.
        complete: whether no random number was drawn otherwise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[Any, torch.Tensor, tuple[Any, ...], dict[str, Any]]] = []
        self.complete = True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        tensors = [isinstance(x, torch.Tensor) for x in args]
        alone = tensors[:1] == [True] and not any(tensors[1:])
        if func._schema.name.endswith("_") and alone and args[0].is_contiguous():
            self.found.append((func, args[0], tuple(args[1:]), given))
        elif torch.Tag.nondeterministic_seeded in func.tags:
            self.complete = False
        return func(*args, **given)


class Initialiser:
    """Rows of initial parameters, bit for bit those of a model that is built under the seed.

    Building a small model takes far longer than drawing its weights. So what one model's making
    draws and fills in is noted, and repeated for other seeds: all in its order, and what leaves no
    trace in the parameters too, because the generator moves on by it. Whether that gives a second
    model's weights is checked first; where it does not, a model is built for every seed.

    Called on the CPU, inside `context.batched_torch_state`.

    Args:
        build: from a seed to a model; it leaves the global random state as it was.
        layout: of the models' parameters.

    Attributes:
        replays: whether that works.
    """

    def __init__(self, build: Build, layout: ParameterLayout) -> None:
        self._build, self._layout = build, layout
        noted = _Noted()
        with noted:
            model = build(0)
        self._template = layout.row(model)
        self._steps = self._placed(noted, dict(model.named_parameters()))
        self.replays = noted.complete and torch.equal(self._replayed(1), self._built(1))

    def _placed(
        self, noted: _Noted, parameters: dict[str, torch.nn.Parameter]
    ) -> list[tuple[Any, int, torch.Size, torch.dtype, Any, Any]]:
        """Return what was noted with the entry of a row that it begins at, -1 for nowhere."""
        own, begin = {}, 0
        for name in self._layout.names:
            own[parameters[name].data_ptr(), parameters[name].shape] = begin
            begin += parameters[name].numel()
        return [
            (f, own.get((into.data_ptr(), into.shape), -1), into.shape, into.dtype, args, kwargs)
            for f, into, args, kwargs in noted.found
        ]

    def row(self, seed: int) -> torch.Tensor:
        """Return the new (P,) parameters of a model of `seed`."""
        return self._replayed(seed) if self.replays else self._built(seed)

    def _built(self, seed: int) -> torch.Tensor:
        return self._layout.row(self._build(seed))

    def _replayed(self, seed: int) -> torch.Tensor:
        row = self._template.clone()
        with private_rng(seed), torch.no_grad():
            for func, begin, shape, dtype, args, kwargs in self._steps:
                if begin >= 0:
                    into = row[begin : begin + shape.numel()].view(shape)
                else:
                    into = torch.empty(shape, dtype=dtype)
                func(into, *args, **kwargs)
        return row

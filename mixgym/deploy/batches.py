"""Batches that are drawn when they are used, however early a data loader asks for them.

`accelerate` fetches a batch ahead of the one it hands out, so that a batch made in the data loader
would be drawn by the mixture of the decision before its own. Here the dataset yields tickets, the
collator turns them into a `LazyBatch`, and its tokens are drawn when something first reads them,
which the Trainer does at the beginning of the batch's own optimiser step. A batch that is never
read, as those that the Trainer skips when it resumes, is never drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import torch
from torch.utils.data import IterableDataset


class Ticket:
    """Stands for one training sequence in a data loader."""

    __slots__ = ()


_TICKET = Ticket()


class TicketStream(IterableDataset[Ticket]):
    """An endless stream of tickets: as many sequences as the Trainer asks for."""

    def __iter__(self) -> Iterator[Ticket]:
        while True:
            yield _TICKET


#: From the device (None: the CPU) to `input_ids` and `labels`, (B, context + 1) int64 each.
Draw = Callable[[torch.device | None], dict[str, torch.Tensor]]


class LazyBatch(MutableMapping[str, Any]):
    """`input_ids` and `labels` of a batch, drawn when one of them is first read.

    Its keys, its length, `to` and `pin_memory` draw nothing.

    Args:
        source: what draws the tensors; or a mapping of values at hand.
    """

    KEYS = ("input_ids", "labels")

    def __init__(self, source: Draw | Mapping[str, Any]) -> None:
        self._draw = None if isinstance(source, Mapping) else source
        self._values: dict[str, Any] = dict(source) if isinstance(source, Mapping) else {}
        self._device: torch.device | None = None

    @property
    def drawn(self) -> bool:
        """Whether the batch has its tensors."""
        return self._draw is None

    def _tensors(self) -> dict[str, Any]:
        if self._draw is not None:
            draw, self._draw = self._draw, None
            self._values = draw(self._device)
        return self._values

    def to(self, device: torch.device | str, non_blocking: bool = False) -> LazyBatch:
        """Put the batch on `device`: when it is drawn, or now if it is."""
        self._device = torch.device(device)
        for key, value in self._values.items():
            if isinstance(value, torch.Tensor):
                self._values[key] = value.to(self._device, non_blocking=non_blocking)
        return self

    def pin_memory(self) -> LazyBatch:
        """Do nothing: there is no memory yet."""
        return self

    def __getitem__(self, key: str) -> Any:
        return self._tensors()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._tensors()[key] = value

    def __delitem__(self, key: str) -> None:
        del self._tensors()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values if self.drawn else self.KEYS)

    def __len__(self) -> int:
        return len(self._values if self.drawn else self.KEYS)

    def __contains__(self, key: object) -> bool:
        return key in (self._values if self.drawn else self.KEYS)

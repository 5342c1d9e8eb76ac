"""What the processes of one training run tell each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True)
class Ranks:
    """The processes of a data-parallel run; each calls every method at the same point.

    Attributes:
        rank: of this process.
        world: number of processes.
        device: where tensors have to be for the processes' backend.
    """

    rank: int = 0
    world: int = 1
    device: torch.device | str = "cpu"

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return (world, ...) tensors of one shape, on the CPU; the same on all processes."""
        if self.world == 1:
            return tensor.detach().cpu()[None]
        own = tensor.detach().to(self.device).contiguous()
        gathered = [torch.empty_like(own) for _ in range(self.world)]
        torch.distributed.all_gather(gathered, own)
        return torch.stack(gathered).cpu()

    def add(self, tensor: torch.Tensor) -> None:
        """Add up a tensor over the processes, in place."""
        if self.world > 1:
            total = tensor.to(self.device)
            torch.distributed.all_reduce(total)
            tensor.copy_(total)

    def first(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return process 0's `values`, whose shape all have."""
        if self.world == 1:
            return values
        tensor = torch.from_numpy(values.copy()).to(self.device)
        torch.distributed.broadcast(tensor, 0)
        return tensor.cpu().numpy()

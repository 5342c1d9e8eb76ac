"""Losses of C models on the same held-out windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mixgym.lm.batched.losses import BatchedModel, Tensors
from mixgym.lm.evaluation import EvaluationWindows

#: Windows that every model of a chunk takes at a time.
_BATCH = 32


class HeldOut:
    """The held-out windows of chosen domains in one pile, and how to take the pile apart again.

    Args:
        windows: the windows every run of the corpus is measured on.
        split: `"validation"` or `"test"`.
        domains: the domains.
        number: windows a domain.

    Attributes:
        tokens: (n, context + 1) int64.
        count: tokens that one run is evaluated on.
    """

    def __init__(
        self, windows: EvaluationWindows, split: str, domains: Sequence[int], number: int
    ) -> None:
        self.domains = list(domains)
        parts = [windows.tokens(split, k, number) for k in self.domains]
        self._lengths = [len(part) for part in parts]
        self.tokens = np.concatenate(parts or [np.zeros((0, windows.context + 1), np.int64)])
        self.count = len(self.tokens) * windows.context
        self._K = windows.corpus.K
        self._bytes_per_token = [
            windows.corpus.domains[k].bytes_per_token(split) for k in self.domains
        ]

    def losses(self, model: BatchedModel, parameters: Tensors) -> torch.Tensor:
        """Return the (C, n) losses of C models on every window, nats per token, on the device."""
        first = next(iter(parameters.values()))
        windows = torch.from_numpy(self.tokens).to(first.device)
        with torch.no_grad():
            parts = [model.losses(parameters, part) for part in windows.split(_BATCH)]
        return torch.cat(parts, dim=1) if parts else first.new_zeros(len(first), 0)

    def by_domain(self, losses: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (R, K) mean losses, nats per byte, of (R, n) losses; NaN where not measured."""
        result = np.full((len(losses), self._K), np.nan)
        ends = np.cumsum(self._lengths)
        for k, length, end, bytes_per_token in zip(
            self.domains, self._lengths, ends, self._bytes_per_token, strict=True
        ):
            result[:, k] = losses[:, end - length : end].mean(axis=1) / bytes_per_token
        return result

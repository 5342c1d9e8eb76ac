"""Random numbers of library code that only knows the global generators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from mixgym.lm.threads import private_rng, rng_state


class PrivateRandomness:
    """States of torch's and numpy's global generators that belong to one agent.

    Within `active()` the global generators are in these states, and what is drawn there moves
    them on; afterwards the global ones are as they were.

    Args:
        seed: 0 to 2^32 - 1.
    """

    def __init__(self, seed: int) -> None:
        self._torch = {"cpu": torch.Generator().manual_seed(seed).get_state()}
        self._numpy: Any = np.random.RandomState(seed).get_state()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Run a block on these states."""
        with private_rng(self._torch):
            before = np.random.get_state()
            np.random.set_state(self._numpy)
            try:
                yield
            finally:
                self._numpy = np.random.get_state()
                np.random.set_state(before)
                self._torch = {"cpu": rng_state("cpu")["cpu"]}

    def tensors(self) -> dict[str, torch.Tensor]:
        """The states' arrays."""
        return {
            "torch": self._torch["cpu"].clone(),
            "numpy": torch.from_numpy(self._numpy[1].astype(np.int64)),
        }

    def scalars(self) -> list[Any]:
        """What else a state consists of, JSON-plain."""
        name, _, position, has_gauss, gauss = self._numpy
        return [name, int(position), int(has_gauss), float(gauss)]

    def restore(self, tensors: dict[str, torch.Tensor], scalars: list[Any]) -> None:
        """Inverse of `tensors` and `scalars`."""
        self._torch = {"cpu": tensors["torch"].clone()}
        keys = tensors["numpy"].numpy().astype(np.uint32)
        self._numpy = (scalars[0], keys, *scalars[1:])

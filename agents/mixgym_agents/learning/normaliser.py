"""Observations as network inputs, by running statistics that know features and no domains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mixgym.envs.observation import ObservationLayout
from mixgym_agents.learning.networks import Inputs

_CLIP = 5.0

#: Rows of domains' features, rows of layers' features, scalars.
Blocks = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


@dataclass
class Normaliser:
    """Turns observations into network inputs; keeps running statistics of every feature.

    A domain feature has one mean and one deviation for all domains, a layer feature one for all
    layers, so that nothing depends on their number or order.

    Args:
        layout: of the observations.
        pooled: whether layer features are averaged over layers.
        running: whether inputs are normalised at all.
    """

    layout: ObservationLayout
    pooled: bool
    running: bool = True

    def __post_init__(self) -> None:
        self.count = 0
        size = sum(self.sizes)
        self.mean, self.squares = np.zeros(size), np.zeros(size)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Number of domain, layer and scalar features."""
        layout = self.layout
        return (
            len(layout.domain_features),
            len(layout.layer_features),
            len(layout.scalar_features),
        )

    @property
    def context_size(self) -> int:
        """C, the length of the context."""
        _, G, S = self.sizes
        return G * (1 if self.pooled else len(self.layout.layers)) + S

    def update(self, observation: NDArray[Any]) -> None:
        """Take one (size,) observation into the running statistics."""
        domain, layer, scalar = self.layout.split(observation.astype(np.float64))
        blocks = (domain, layer, scalar[None])
        # Mean over domains of x and of x^2: the statistics of a feature, not of a domain.
        first = np.concatenate([_mean(block) for block in blocks])
        second = np.concatenate([_mean(block**2) for block in blocks])
        self.count += 1
        self.mean += (first - self.mean) / self.count
        self.squares += (second - self.squares) / self.count

    def __call__(self, observations: NDArray[Any]) -> Inputs:
        """Turn (B, size) observations into inputs."""
        domain, layer, scalar = self.scaled(*self.layout.split(observations.astype(np.float64)))
        if self.pooled:
            layer = layer.mean(axis=-2) if layer.shape[-2] else layer.sum(axis=-2)
        context = np.concatenate([layer.reshape(len(observations), -1), scalar], axis=1)
        return Inputs(
            torch.from_numpy(domain.astype(np.float32)),
            torch.from_numpy(context.astype(np.float32)),
        )

    def scaled(
        self, domain: NDArray[np.float64], layer: NDArray[np.float64], scalar: NDArray[np.float64]
    ) -> Blocks:
        """Return (B, K, F) domain, (B, L, G) layer and (B, S) scalar features, normalised."""
        if not (self.running and self.count):
            return domain, layer, scalar
        deviation = np.sqrt(np.maximum(self.squares - self.mean**2, 0.0)) + 1e-3
        F, G, _ = self.sizes
        own = (slice(0, F), slice(F, F + G), slice(F + G, None))
        domain, layer, scalar = (
            np.clip((block - self.mean[place]) / deviation[place], -_CLIP, _CLIP)
            for block, place in zip((domain, layer, scalar), own, strict=True)
        )
        return domain, layer, scalar

    def state_dict(self) -> dict[str, Any]:
        """Return the statistics, JSON-plain."""
        return {
            "count": self.count,
            "mean": self.mean.tolist(),
            "squares": self.squares.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`'s value.

        Raises:
            ValueError: statistics of other numbers of features.
        """
        mean, squares = (np.array(state[key], dtype=np.float64) for key in ("mean", "squares"))
        if mean.shape != self.mean.shape or squares.shape != mean.shape:
            raise ValueError(f"statistics of {mean.shape} features, not of {self.mean.shape}")
        self.count, self.mean, self.squares = int(state["count"]), mean, squares


def _mean(block: NDArray[np.float64]) -> NDArray[np.float64]:
    return block.mean(axis=0) if len(block) else np.zeros(block.shape[1])

"""What an observation holds and where: named features over domains, layers and the whole run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixgym.envs.task import MixingTask
from mixgym.errors import unknown_name
from mixgym.signals import Signals

#: Every entry is clipped to this magnitude, the finite bound of the observation space.
BOUND = 10.0

Feature = Callable[[Signals, MixingTask], Any]


def _share(tokens: NDArray[np.float32]) -> NDArray[Any]:
    return tokens / max(float(tokens.sum()), 1.0)


#: (K,) features. Losses are in nats per byte (0 to about 6), shares in [0, 1].
DOMAIN_FEATURES: dict[str, Feature] = {
    "mixture": lambda s, t: s.mixture,
    "natural": lambda s, t: t.natural,
    "objective": lambda s, t: t.objective,
    "token_share": lambda s, t: _share(s.tokens),
    "epochs": lambda s, t: np.log1p(s.epochs),
    "train_loss": lambda s, t: s.train_loss,
    "train_loss_change": lambda s, t: s.train_loss_change,
    "train_loss_age": lambda s, t: s.train_loss_age / max(s.total_steps, 1),
    "validation_loss": lambda s, t: s.validation_loss,
    "validation_change": lambda s, t: s.validation_change,
}

#: (L,) features: natural logarithms of L2 norms.
LAYER_FEATURES: dict[str, Feature] = {
    "weight_norm": lambda s, t: np.log(s.weight_norms + 1e-6),
    "update_norm": lambda s, t: np.log(s.update_norms + 1e-6),
}

#: Scalar features.
SCALAR_FEATURES: dict[str, Feature] = {
    "remaining": lambda s, t: s.remaining,
    "objective_loss": lambda s, t: s.objective_loss,
}

#: Named observation sets; a new set is one line.
OBSERVATIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "default": {
        "domain": tuple(DOMAIN_FEATURES),
        "layer": tuple(LAYER_FEATURES),
        "scalar": tuple(SCALAR_FEATURES),
    },
    "minimal": {
        "domain": ("mixture", "train_loss", "train_loss_change"),
        "layer": (),
        "scalar": ("remaining",),
    },
}

ObservationSpec = str | Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class ObservationLayout:
    """Names every entry of an observation and packs signals into it.

    An observation is float32 of length K*F + L*G + S: a K x F block of domain features (domain
    by domain), an L x G block of layer features (layer by layer), then S scalars. Values that
    were not measured are 0, and everything is clipped to [-10, 10].

    Attributes:
        domains: the K domains' names.
        layers: the L layers' names.
        domain_features, layer_features, scalar_features: names, in order.
    """

    domains: tuple[str, ...]
    layers: tuple[str, ...]
    domain_features: tuple[str, ...]
    layer_features: tuple[str, ...]
    scalar_features: tuple[str, ...]

    @classmethod
    def build(
        cls, spec: ObservationSpec, domains: Sequence[str], layers: Sequence[str]
    ) -> ObservationLayout:
        """Build from a set's name or `{"domain": [...], "layer": [...], "scalar": [...]}`.

        Raises:
            UnknownNameError: an unknown set, block or feature.
        """
        if isinstance(spec, str):
            if spec not in OBSERVATIONS:
                raise unknown_name("observation set", spec, OBSERVATIONS)
            spec = OBSERVATIONS[spec]
        tables = {"domain": DOMAIN_FEATURES, "layer": LAYER_FEATURES, "scalar": SCALAR_FEATURES}
        for block, features in spec.items():
            if block not in tables:
                raise unknown_name("observation block", block, tables)
            for feature in features:
                if feature not in tables[block]:
                    raise unknown_name(f"{block} feature", feature, tables[block])
        return cls(
            tuple(domains),
            tuple(layers),
            tuple(spec.get("domain", ())),
            tuple(spec.get("layer", ())),
            tuple(spec.get("scalar", ())),
        )

    @property
    def size(self) -> int:
        """Entries in an observation."""
        return len(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of every entry: `feature.domain`, `feature.layer` or `feature`."""
        return (
            *(f"{f}.{d}" for d in self.domains for f in self.domain_features),
            *(f"{f}.{layer}" for layer in self.layers for f in self.layer_features),
            *self.scalar_features,
        )

    def split(self, observation: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Cut (..., size) observations into (..., K, F), (..., L, G) and (..., S) blocks."""
        k, f = len(self.domains), len(self.domain_features)
        n, g = len(self.layers), len(self.layer_features)
        lead = observation.shape[:-1]
        return (
            observation[..., : k * f].reshape(*lead, k, f),
            observation[..., k * f : k * f + n * g].reshape(*lead, n, g),
            observation[..., k * f + n * g :],
        )

    def pack(self, signals: Signals, task: MixingTask) -> NDArray[np.float32]:
        """Return the observation of `signals`."""
        blocks = [
            np.array([DOMAIN_FEATURES[f](signals, task) for f in self.domain_features]).T,
            np.array([LAYER_FEATURES[f](signals, task) for f in self.layer_features]).T,
            np.array([SCALAR_FEATURES[f](signals, task) for f in self.scalar_features]),
        ]
        flat = np.concatenate([np.asarray(b, dtype=np.float64).ravel() for b in blocks])
        flat = np.nan_to_num(flat, nan=0.0, posinf=BOUND, neginf=-BOUND)
        return np.clip(flat, -BOUND, BOUND).astype(np.float32)

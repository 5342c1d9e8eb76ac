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

NORMALISATIONS: tuple[str, ...] = ("none", "zscore")
_CLAMP = 3.0

Feature = Callable[[Signals, MixingTask], Any]


def _share(tokens: NDArray[np.float32]) -> NDArray[Any]:
    return tokens / max(float(tokens.sum()), 1.0)


def _where_measured(values: NDArray[np.float32], K: int) -> NDArray[np.float32]:
    return values if values.size else np.full(K, np.nan, dtype=np.float32)


#: Decisions that the features of the past reach back, the latest included.
WINDOW = 8


def _of_field(values: NDArray[np.float32], t: MixingTask) -> NDArray[Any]:
    """(K,) the (source, target) value of the field that each domain belongs to."""
    if not values.size:
        return np.full(t.K, np.nan)
    result = np.full(t.K, np.nan)
    for value, name in zip(values, ("source", "target"), strict=True):
        result[np.isin(t.names, t.groups.get(name, ()))] = value
    return result


def _past(values: NDArray[np.float32], i: int) -> NDArray[np.float32]:
    return values[i] if i < len(values) else np.zeros(0, dtype=np.float32)


#: (K,) features. Losses are in nats per byte (0 to about 6), shares in [0, 1]. `samples` is the
#: share of the whole budget spent on the domain so far, `count_share` its share of the last
#: decision's sequences; `gradient_norm` the natural logarithm of ||g_i||, `alignment` the cosine of
#: g_i and the sum of the other domains' gradients, `objective_alignment` that of g_i and the
#: objective's gradient (scale-free forms of the signals of these names). Of continual pretraining:
#: `target` is 1 for domains of the target field, `feedback` the feedback of the domain's own field
#: (nats a token, at most 0); `mixture_i` the mixture i decisions before the latest (i = 0), and
#: `feedback_i` the field's feedback after it, minus that of the base.
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
    "samples": lambda s, t: _share(s.tokens) * (1.0 - s.remaining),
    "count_share": lambda s, t: _share(s.counts),
    "gradient_norm": lambda s, t: np.log(_where_measured(s.gradient_norms, t.K) + 1e-6),
    "alignment": lambda s, t: s.alignment_cosines,
    "objective_alignment": lambda s, t: s.objective_cosines,
    "target": lambda s, t: np.isin(t.names, t.groups.get("target", ())),
    "feedback": lambda s, t: _of_field(s.feedback, t),
    **{
        f"mixture_{i}": lambda s, t, i=i: _where_measured(_past(s.past_mixtures, i), t.K)
        for i in range(WINDOW)
    },
    **{
        f"feedback_{i}": lambda s, t, i=i: _of_field(_past(s.past_feedback, i), t)
        for i in range(WINDOW)
    },
}

#: What a domain's or a scalar feature needs measured, as a reward term's `needs`; nothing for the
#: others.
FEATURE_NEEDS: dict[str, str] = {
    "validation_loss": "objective",
    "validation_change": "objective",
    "objective_loss": "objective",
    "gradient_norm": "gram",
    "alignment": "gram",
    "objective_alignment": "objective_gradient",
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

#: Features that read validation losses, whichever domains these are measured on.
VALIDATION_FEATURES: frozenset[str] = frozenset(
    feature for feature, need in FEATURE_NEEDS.items() if need == "objective"
)

#: Named observation sets; a new set is one line.
OBSERVATIONS: dict[str, dict[str, Any]] = {
    "default": {
        "domain": (
            *("mixture", "natural", "objective", "token_share", "epochs", "train_loss"),
            *("train_loss_change", "train_loss_age", "validation_loss", "validation_change"),
        ),
        "layer": tuple(LAYER_FEATURES),
        "scalar": tuple(SCALAR_FEATURES),
    },
    # The default without validation losses, for runs that do not pay for them.
    "training": {
        "domain": (
            *("mixture", "natural", "objective", "token_share", "epochs", "train_loss"),
            *("train_loss_change", "train_loss_age"),
        ),
        "layer": tuple(LAYER_FEATURES),
        "scalar": ("remaining",),
    },
    "minimal": {
        "domain": ("mixture", "train_loss", "train_loss_change"),
        "layer": (),
        "scalar": ("remaining",),
    },
    # AC-ODM's state (n, t, l, dl, ||w||, ||dw||), t as the remaining budget. Which layers: the
    # argument `layers` (the paper takes the first and every even one).
    "acodm": {
        "domain": ("samples", "train_loss", "train_loss_change"),
        "layer": ("weight_norm", "update_norm"),
        "scalar": ("remaining",),
    },
    # As released: samples of the last decision only, each vector z-scored over its own entries.
    "acodm-released": {
        "domain": ("train_loss", "train_loss_change", "count_share"),
        "layer": ("weight_norm", "update_norm"),
        "scalar": ("remaining",),
        "normalise": "zscore",
    },
    # The Data Mixing Agent's state: past mixtures and feedback, and what is left of the budget.
    "continual": {
        "domain": (
            *("target", "natural", "feedback", "mixture"),
            *(f"mixture_{i}" for i in range(1, WINDOW)),
            *(f"feedback_{i}" for i in range(WINDOW)),
        ),
        "layer": (),
        "scalar": ("remaining",),
    },
}

ObservationSpec = str | Mapping[str, Any]


@dataclass(frozen=True)
class ObservationLayout:
    """Names every entry of an observation and packs signals into it.

    An observation is float32 of length K*F + L*G + S: a K x F block of domain features (domain
    by domain), an L x G block of layer features (layer by layer), then S scalars. Values that
    were not measured are 0, and everything is clipped to [-10, 10]. With `normalise="zscore"`
    every domain feature is z-scored over the K domains and every layer feature over the L layers
    at that decision (of what was measured; 0 where all are equal) and clipped to [-3, 3]: levels
    that all entries share are lost. Scalars are never z-scored.

    Attributes:
        domains: the K domains' names.
        layers: the L layers' names.
        domain_features, layer_features, scalar_features: names, in order.
        normalise: `"none"` or `"zscore"`.
    """

    domains: tuple[str, ...]
    layers: tuple[str, ...]
    domain_features: tuple[str, ...]
    layer_features: tuple[str, ...]
    scalar_features: tuple[str, ...]
    normalise: str = "none"

    @classmethod
    def build(
        cls, spec: ObservationSpec, domains: Sequence[str], layers: Sequence[str]
    ) -> ObservationLayout:
        """Build from a set's name or `{"domain": [...], "layer": [...], "scalar": [...]}`.

        A mapping may also hold `"set"`, the name of the set it starts from, and `"normalise"`.

        Raises:
            UnknownNameError: an unknown set, block, feature or normalisation.
        """
        spec = {"set": spec} if isinstance(spec, str) else dict(spec)
        if "set" in spec:
            name = spec.pop("set")
            if name not in OBSERVATIONS:
                raise unknown_name("observation set", name, OBSERVATIONS)
            spec = {**OBSERVATIONS[name], **spec}
        normalise = spec.pop("normalise", "none")
        if normalise not in NORMALISATIONS:
            raise unknown_name("normalisation", normalise, NORMALISATIONS)
        tables = {"domain": DOMAIN_FEATURES, "layer": LAYER_FEATURES, "scalar": SCALAR_FEATURES}
        for block, features in spec.items():
            if block not in tables:
                raise unknown_name("observation block", block, [*tables, "set", "normalise"])
            for feature in features:
                if feature not in tables[block]:
                    raise unknown_name(f"{block} feature", feature, tables[block])
        return cls(
            tuple(domains),
            tuple(layers),
            tuple(spec.get("domain", ())),
            tuple(spec.get("layer", ())),
            tuple(spec.get("scalar", ())),
            normalise,
        )

    @property
    def needs(self) -> frozenset[str]:
        """What the features need measured, as a reward term's `needs`."""
        features = (*self.domain_features, *self.scalar_features)
        return frozenset(FEATURE_NEEDS[f] for f in features if f in FEATURE_NEEDS)

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
        if self.normalise == "zscore":
            blocks[:2] = [_zscored(block) for block in blocks[:2]]
        flat = np.concatenate([np.asarray(b, dtype=np.float64).ravel() for b in blocks])
        flat = np.nan_to_num(flat, nan=0.0, posinf=BOUND, neginf=-BOUND)
        return np.clip(flat, -BOUND, BOUND).astype(np.float32)


def _zscored(block: NDArray[Any]) -> NDArray[np.float64]:
    """Z-score the columns of (n, features), ignoring what was not measured (0 there)."""
    values = np.where(np.isfinite(block), block, np.nan).astype(np.float64)
    known = np.isfinite(values)
    number = np.maximum(known.sum(axis=0), 1)
    centred = np.where(known, values - np.nansum(values, axis=0) / number, 0.0)
    deviation = np.sqrt((centred**2).sum(axis=0) / number)
    return np.clip(centred / (deviation + 1e-6), -_CLAMP, _CLAMP)

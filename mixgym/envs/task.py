"""What an agent is told about the mixing problem before it starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixgym.errors import unknown_name

MixtureSpec = str | Mapping[str, float] | Sequence[float]


@dataclass(frozen=True)
class MixingTask:
    """The domains, the objective and the budget of one mixing problem.

    Attributes:
        names: domain names, in the order of every (K,) array.
        natural: (K,) float64 natural mixture, proportional to the domains' sizes.
        objective: (K,) float64 weights of the objective's loss; sums to one.
        groups: named sets of domains (`"related"`, `"noise"`, ...).
        decisions: decisions in an episode.
        steps_per_decision: optimiser steps between two decisions.
    """

    names: tuple[str, ...]
    natural: NDArray[np.float64]
    objective: NDArray[np.float64]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    decisions: int = 0
    steps_per_decision: int = 0

    @property
    def K(self) -> int:
        """Number of domains."""
        return len(self.names)

    def mixture(self, spec: MixtureSpec) -> NDArray[np.float64]:
        """Resolve a named mixture to (K,) weights that sum to one.

        `spec` is `"uniform"`, `"natural"`, `"objective"`; a group's name (its domains in
        proportion to the natural mixture); a domain's name (all weight on it); a sequence of K
        weights; or a mapping from such names to weights, which is their weighted mean.

        Raises:
            UnknownNameError: a name that is none of these.
            ValueError: weights that are negative, not finite, all zero or of the wrong number.
        """
        if isinstance(spec, str):
            return self._named(spec)
        if isinstance(spec, Mapping):
            weights = _checked(list(spec.values()), list(spec))
            parts = [self._named(name) for name in spec]
            return _normalised(weights @ np.array(parts))
        if not isinstance(spec, Sized):
            raise ValueError(
                f"a mixture must be a name, {self.K} weights or a mapping of names to weights, got "
                f"{spec!r}"
            )
        if len(spec) != self.K:
            raise ValueError(
                f"a mixture needs {self.K} weights, one for each of {', '.join(self.names)}; "
                f"got {len(spec)}"
            )
        return _normalised(_checked(list(spec), self.names))

    def _named(self, name: str) -> NDArray[np.float64]:
        if name == "uniform":
            return np.full(self.K, 1.0 / self.K)
        if name == "natural":
            return self.natural.copy()
        if name == "objective":
            return self.objective.copy()
        if name in self.groups:
            member = np.isin(self.names, self.groups[name])
            return _normalised(np.where(member, self.natural, 0.0))
        if name in self.names:
            return np.eye(self.K)[self.names.index(name)]
        raise unknown_name(
            "mixture", name, ["uniform", "natural", "objective", *self.groups, *self.names]
        )


def domain_weights(
    spec: Any, names: Sequence[str], groups: Mapping[str, Sequence[str]], what: str
) -> NDArray[np.float64]:
    """Return (K,) weights from `"mean"`, a group, a domain, a list of domains or `{name: weight}`.

    Raises:
        UnknownNameError: a domain or group that is not there.
        ValueError: negative, non-finite or all-zero weights.
    """
    if spec == "mean":
        return np.full(len(names), 1.0 / len(names))
    if isinstance(spec, str):
        spec = [spec]
    if isinstance(spec, Mapping):
        given = {str(name): weight for name, weight in spec.items()}
    elif isinstance(spec, Iterable):
        members = [m for name in spec for m in groups.get(name, (name,))]
        given = dict.fromkeys(members, 1.0)
    else:
        raise ValueError(
            f"{what} must be 'mean', a domain or group, a list of them or a mapping of domains to "
            f"weights, got {spec!r}"
        )
    for name in given:
        if name not in names:
            raise unknown_name(f"{what} domain", name, [*names, *groups])
    weights = np.zeros(len(names))
    for name, weight in zip(given, _checked(list(given.values()), list(given)), strict=True):
        weights[list(names).index(name)] = weight
    return _normalised(weights)


def _checked(weights: Sequence[Any], names: Sequence[str]) -> NDArray[np.float64]:
    values = np.asarray(weights, dtype=np.float64)
    for name, value in zip(names, values, strict=True):
        if not np.isfinite(value) or value < 0:
            raise ValueError(
                f"the weight of {name!r} is {value}: weights must be finite and not negative"
            )
    if values.size == 0 or values.sum() <= 0:
        raise ValueError("all weights are zero: give at least one domain a positive weight")
    return values


def _normalised(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return weights / weights.sum()

"""The probability simplex: a Gymnasium space of it, and maps from actions onto it.

A mixture is a (K,) float64 array of non-negative weights that sum to one. Learning algorithms
want a box, so an environment's action is a point of a box and an *action map* turns it into a
mixture. Only `delta` looks at the current mixture; only `dirichlet` uses the generator.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from mixgym.errors import unknown_name
from mixgym.registry import Registry

Mixture = NDArray[np.float64]
Action = NDArray[np.float32]

#: How far the weights of a mixture may be from summing to one (float32 rounding, K up to ~100).
SUM_TOLERANCE = 1e-5
#: How far below zero rounding may take a weight of an action that is a mixture.
BOX_TOLERANCE = 1e-6
#: Stands for a zero weight where a logarithm is taken.
TINY = 1e-12


def validate_mixture(
    weights: ArrayLike, K: int, names: Sequence[str] | None = None, *, normalise: bool = False
) -> Mixture:
    """Return `weights` as a new (K,) float64 mixture whose sum is one to within 1e-12.

    Args:
        weights: K finite, non-negative numbers that sum to one within `SUM_TOLERANCE`.
        K: number of domains.
        names: the domains' names, for the error message.
        normalise: accept any positive sum and divide by it.

    Raises:
        ValueError: wrong shape, a NaN, infinite or negative weight, all weights zero, or
            (without `normalise`) a sum that is not one.

    >>> validate_mixture([3, 1], 2, normalise=True).tolist()
    [0.75, 0.25]
    """
    values = _floats(weights, (K,), "a mixture").copy()
    for index in np.flatnonzero(~np.isfinite(values) | (values < 0)):
        where = f"domain {names[int(index)]!r}" if names is not None else f"domain {index}"
        raise ValueError(
            f"the weight of {where} is {values[index]}: weights must be finite and not negative"
        )
    largest = values.max()
    if largest <= 0:
        raise ValueError("all weights are zero: give at least one domain a positive weight")
    total = values.sum()
    if not normalise and abs(total - 1.0) > SUM_TOLERANCE:
        raise ValueError(f"the weights sum to {total}, not 1: divide them by their sum")
    values /= largest  # so that neither huge nor denormal weights spoil the division by the sum
    return values / values.sum()


def validate_mixtures(
    weights: ArrayLike, K: int, names: Sequence[str] | None = None, *, normalise: bool = False
) -> NDArray[np.float64]:
    """Return (N, K) `weights` as new mixtures, bit for bit those of `validate_mixture`.

    Args:
        weights: N rows of K weights.
        K, names, normalise: as `validate_mixture` has them.

    Raises:
        ValueError: another shape, or as `validate_mixture`, with the number of the row.
    """
    values = np.array(weights, dtype=np.float64, order="C")
    if values.ndim != 2 or values.shape[1] != K:
        raise ValueError(f"mixtures must have shape (N, {K}), got {values.shape}")
    largest = values.max(axis=1, keepdims=True, initial=-np.inf)
    good = (np.isfinite(values) & (values >= 0)).all(axis=1) & (largest[:, 0] > 0)
    if not normalise:
        with np.errstate(invalid="ignore"):
            good &= np.abs(values.sum(axis=1) - 1.0) <= SUM_TOLERANCE
    for row in np.flatnonzero(~good).tolist():
        try:
            validate_mixture(values[row], K, names, normalise=normalise)
        except ValueError as error:
            raise ValueError(f"mixture {row}: {error}") from error
    values /= largest
    return values / values.sum(axis=1, keepdims=True)


class Simplex(spaces.Box):
    """All mixtures of `K` domains, as a Gymnasium space of (K,) float32 arrays.

    Samples are uniform over the simplex (a flat Dirichlet). `contains` also accepts float64,
    and means it: weights of at least zero that sum to one within `SUM_TOLERANCE`.

    Gymnasium's vector environments and Minari know only the parent class: their batched or stored
    space is the box [0, 1]^K, whose own samples are off the simplex. Sample from
    `single_action_space` there, or use a box action map.

    >>> Simplex(3).contains(np.array([0.2, 0.3, 0.5]))
    True
    >>> Simplex(3).contains(np.array([0.2, 0.3, 0.6]))
    False
    """

    def __init__(self, K: int, seed: int | np.random.Generator | None = None) -> None:
        self.K = _count(K, at_least=1)
        super().__init__(0.0, 1.0, (self.K,), np.float32, seed)

    def sample(self, mask: None = None, probability: None = None) -> NDArray[np.float32]:
        """Draw from the flat Dirichlet with the space's own generator; masks are not supported."""
        if mask is not None or probability is not None:
            raise ValueError("Simplex.sample takes no mask and no probability; call sample()")
        draws = self.np_random.exponential(size=self.K)
        return (draws / draws.sum()).astype(np.float32)

    def contains(self, x: Any) -> bool:
        """Return whether `x` has shape (K,), no negative entry, and a sum of one."""
        try:
            values = np.asarray(x)
        except ValueError:
            return False
        if values.dtype.kind != "f" or values.shape != (self.K,):
            return False
        total = values.sum(dtype=np.float64)
        return bool(np.all(values >= 0) and abs(total - 1.0) <= SUM_TOLERANCE)

    def __repr__(self) -> str:
        return f"Simplex({self.K})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Simplex) and self.K == other.K

    __hash__ = None  # type: ignore[assignment]  # spaces are mutable (their generator), as Box is


def softmax(logits: NDArray[np.float64]) -> Mixture:
    """Return exp(logits) / sum(exp(logits)) of a (K,) array without overflow."""
    powers = np.exp(logits - np.max(logits))
    return powers / powers.sum()


def ilr_basis(K: int) -> NDArray[np.float64]:
    """Return the (K, K-1) orthonormal Helmert basis of the vectors that sum to zero.

    Column j is (1, ..., 1, -j, 0, ..., 0) / sqrt(j (j + 1)) with j leading ones, j = 1 .. K-1.
    """
    basis = np.zeros((K, K - 1))
    for j in range(1, K):
        basis[:j, j - 1] = 1.0
        basis[j, j - 1] = -j
        basis[:, j - 1] /= np.sqrt(j * (j + 1))
    return basis


def ilr(mixture: Mixture) -> NDArray[np.float64]:
    """Return the (K-1,) isometric log-ratio V^T log(mixture), V = `ilr_basis(K)`.

    Zero weights, which have no log-ratio, count as `TINY`.
    """
    return ilr_basis(len(mixture)).T @ np.log(np.maximum(mixture, TINY))


def inverse_ilr(coordinates: NDArray[np.float64]) -> Mixture:
    """Return the (K,) mixture softmax(V z) of (K-1,) log-ratio coordinates z."""
    return softmax(ilr_basis(len(coordinates) + 1) @ coordinates)


@dataclass(frozen=True)
class ActionMap(ABC):
    """A map from an action space onto the mixtures of `K` domains."""

    K: int

    def __post_init__(self) -> None:
        _count(self.K, at_least=1)
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name != "K" and not (0 < value < np.inf):
                raise ValueError(f"{item.name}={value!r} must be a positive finite number")

    @property
    def space(self) -> spaces.Box:
        """A new action space: Box(-1, 1, (K,), float32) unless the map says otherwise."""
        return spaces.Box(-1.0, 1.0, (self.K,), np.float32)

    @abstractmethod
    def to_mixture(self, action: ArrayLike, current: Mixture, rng: np.random.Generator) -> Mixture:
        """Map `action` to a (K,) float64 mixture that sums to one within 1e-12.

        Args:
            action: a point of `space`; entries outside a box are clipped into it, as Gymnasium's
                own environments do. (A mixture is no box: `SimplexMap` refuses what is none.)
            current: the (K,) mixture applied before.
            rng: the environment's noise stream.

        Raises:
            ValueError: wrong shape, or an entry that is not finite.
        """

    @abstractmethod
    def to_action(self, mixture: Mixture, current: Mixture) -> Action:
        """Return the action whose mixture is `mixture`, or the nearest one within reach.

        Nearest means the least KL(mixture || reached). Actions are float32, so that the round trip
        is exact to about 1e-6 of each weight.

        Raises:
            ValueError: `mixture` is not a mixture of K domains.
        """


@dataclass(frozen=True)
class SoftmaxMap(ActionMap):
    """mixture = softmax(scale * a), a in [-1, 1]^K.

    Reach: the largest weight is at most e^(2 scale) times the smallest (e^10, about 22,000, at
    the default scale of 5; a scale of 1 cannot leave the near-uniform region). No weight is ever
    zero. Adding a constant to `a` changes nothing; `to_action` centres its answer.
    """

    scale: float = 5.0

    def to_mixture(self, action: ArrayLike, current: Mixture, rng: np.random.Generator) -> Mixture:
        return softmax(self.scale * _boxed(action, self.K))

    def to_action(self, mixture: Mixture, current: Mixture) -> Action:
        logits = np.log(np.maximum(validate_mixture(mixture, self.K), TINY))
        return _logit_action(logits, mixture, self.scale, np.zeros(self.K))


@dataclass(frozen=True)
class IlrMap(ActionMap):
    """mixture = inverse ILR of scale * a, a in [-1, 1]^(K-1): softmax without its null direction.

    Each coordinate is a log-ratio between one domain and the geometric mean of those before it
    (`ilr_basis`), so reach depends on the domains' order. Needs K of at least 2.
    """

    scale: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _count(self.K, at_least=2)

    @property
    def space(self) -> spaces.Box:
        """Box(-1, 1, (K-1,), float32)."""
        return spaces.Box(-1.0, 1.0, (self.K - 1,), np.float32)

    def to_mixture(self, action: ArrayLike, current: Mixture, rng: np.random.Generator) -> Mixture:
        return inverse_ilr(self.scale * _boxed(action, self.K - 1))

    def to_action(self, mixture: Mixture, current: Mixture) -> Action:
        target = validate_mixture(mixture, self.K)
        action = ilr(target) / self.scale
        if np.abs(action).max() > 1:
            action = _nearest(target, self.scale * ilr_basis(self.K), np.zeros(self.K), action)
        return _as_action(action)


@dataclass(frozen=True)
class DeltaMap(ActionMap):
    """mixture = softmax(log(max(current, floor)) + scale * a), a in [-1, 1]^K.

    The action is a move in logit space from the current mixture: 0 stays, and one decision changes
    the ratio of two weights by at most e^(2 scale). `floor` keeps domains of (almost) no weight
    within reach of a return.
    """

    scale: float = 1.0
    floor: float = 1e-4

    def to_mixture(self, action: ArrayLike, current: Mixture, rng: np.random.Generator) -> Mixture:
        move = self.scale * _boxed(action, self.K)
        return softmax(self._start(current) + move)

    def to_action(self, mixture: Mixture, current: Mixture) -> Action:
        start = self._start(current)
        logits = np.log(np.maximum(validate_mixture(mixture, self.K), TINY)) - start
        return _logit_action(logits, mixture, self.scale, start)

    def _start(self, current: Mixture) -> NDArray[np.float64]:
        return np.log(np.maximum(validate_mixture(current, self.K), self.floor))


@dataclass(frozen=True)
class DirichletMap(ActionMap):
    """mixture ~ Dirichlet(c), c = floor + concentration * softplus(scale a) / softplus(scale).

    The action sets how much of each domain and, by its level, how surely: at a = 1 everywhere the
    mixture is near-uniform with a standard deviation of about 1 / sqrt(K^2 concentration), at
    a = -1 it is nearly one domain drawn at random. The draw comes from the environment's noise
    stream. `to_action` returns the most certain action whose *mean* mixture c / sum(c) is the
    wanted one; weights below the least concentration's share are raised to it.
    """

    scale: float = 5.0
    concentration: float = 100.0
    floor: float = 0.1

    def concentrations(self, action: ArrayLike) -> NDArray[np.float64]:
        """Return the (K,) Dirichlet parameters of an action."""
        unit = np.logaddexp(0.0, self.scale * _boxed(action, self.K))
        return self.floor + self.concentration * unit / np.logaddexp(0.0, self.scale)

    def to_mixture(self, action: ArrayLike, current: Mixture, rng: np.random.Generator) -> Mixture:
        return validate_mixture(rng.dirichlet(self.concentrations(action)), self.K, normalise=True)

    def to_action(self, mixture: Mixture, current: Mixture) -> Action:
        target = validate_mixture(mixture, self.K)
        wanted = target / target.max() * (self.floor + self.concentration)
        least = self.concentrations(np.full(self.K, -1.0))[0]
        share = (np.maximum(wanted, least) - self.floor) / self.concentration
        return _as_action(np.log(np.expm1(share * np.logaddexp(0.0, self.scale))) / self.scale)


@dataclass(frozen=True)
class SimplexMap(ActionMap):
    """The action is the mixture: `space` is `Simplex(K)`, for agents that emit mixtures."""

    @property
    def space(self) -> spaces.Box:
        """Simplex(K)."""
        return Simplex(self.K)

    def to_mixture(self, action: ArrayLike, current: Mixture, rng: np.random.Generator) -> Mixture:
        values = _floats(action, (self.K,), "an action of the simplex")
        rounding = (values < 0) & (values >= -BOX_TOLERANCE)
        return validate_mixture(np.where(rounding, 0.0, values), self.K)

    def to_action(self, mixture: Mixture, current: Mixture) -> Action:
        return validate_mixture(mixture, self.K).astype(np.float32)


#: name -> action map. A new map is one class and one line here.
ACTION_MAPS: Registry[type[ActionMap]] = Registry(
    "action map",
    {
        "softmax": SoftmaxMap,
        "ilr": IlrMap,
        "delta": DeltaMap,
        "dirichlet": DirichletMap,
        "simplex": SimplexMap,
    },
)


def make_action_map(name: str, K: int, **arguments: float) -> ActionMap:
    """Build a registered action map, e.g. `make_action_map("softmax", 8, scale=3.0)`.

    Raises:
        UnknownNameError: an unknown map or argument, with the closest match.
        ValueError: an argument out of its range.
    """
    kind = ACTION_MAPS[name]
    known = [item.name for item in fields(kind) if item.name != "K"]
    for argument in arguments:
        if argument not in known:
            raise unknown_name(f"argument of action map {name!r}", argument, known)
    return kind(K, **arguments)


def _count(K: Any, at_least: int) -> int:
    if isinstance(K, bool) or not isinstance(K, int | np.integer) or at_least > K:
        raise ValueError(f"K={K!r}: the number of domains must be an integer of {at_least} or more")
    return int(K)


def _floats(values: ArrayLike, shape: tuple[int, ...], what: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must be {shape[0]} numbers, got {values!r}") from error
    if array.shape != shape:
        raise ValueError(f"{what} must have shape {shape}, got {array.shape}")
    return array


def _boxed(action: ArrayLike, size: int) -> NDArray[np.float64]:
    """Return an action as float64, clipped into Box(-1, 1, (size,))."""
    values = _floats(action, (size,), "the action")
    for index in np.flatnonzero(~np.isfinite(values)):
        raise ValueError(
            f"action[{index}] is {values[index]}: entries must be finite numbers, meant for "
            "[-1, 1]; a policy whose output is not finite has diverged"
        )
    return np.clip(values, -1.0, 1.0)


def _as_action(values: NDArray[np.float64]) -> Action:
    return np.clip(values, -1.0, 1.0).astype(np.float32)


def _logit_action(
    logits: NDArray[np.float64], mixture: Mixture, scale: float, offset: NDArray[np.float64]
) -> Action:
    """Centre (K,) logits into [-scale, scale] and divide by `scale`; nearest action if too wide."""
    action = (logits - (logits.max() + logits.min()) / 2) / scale
    if np.abs(action).max() > 1:
        target = validate_mixture(mixture, len(logits))
        return _as_action(_nearest(target, scale * np.eye(len(logits)), offset, action))
    return _as_action(action)


def _nearest(
    target: Mixture,
    basis: NDArray[np.float64],
    offset: NDArray[np.float64],
    guess: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Minimise KL(target || softmax(offset + basis a)) over a in [-1, 1]^d: convex, smooth."""
    from scipy.optimize import minimize  # only mixtures out of reach pay for the import

    def divergence(a: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = offset + basis @ a
        value = np.logaddexp.reduce(logits) - target @ logits
        return float(value), basis.T @ (softmax(logits) - target)

    start, bounds = np.clip(guess, -1.0, 1.0), [(-1.0, 1.0)] * len(guess)
    return minimize(divergence, start, jac=True, bounds=bounds, tol=1e-14).x

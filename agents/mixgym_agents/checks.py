"""Checks of agents' arguments: written beside each field, made when an agent is built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from mixgym.envs.task import MixtureSpec
from mixgym.errors import unknown_name
from mixgym.simplex import validate_mixture


class Range(NamedTuple):
    """Least and most of a number, a whole one in a field of type `int`.

    Attributes:
        low, high: the ends; an infinite one leaves all finite numbers on its side.
        brackets: `"("` and `")"` leave an end out, `"["` and `"]"` do not.
    """

    low: float
    high: float = math.inf
    brackets: str = "[]"

    def holds(self, value: Any, kind: type) -> bool:
        """Whether a value is a number of the `kind`, `int` or `float`, in the range."""
        if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
            return False
        above = value > self.low if self.brackets[0] == "(" else value >= self.low
        below = value < self.high if self.brackets[1] == ")" else value <= self.high
        return above and below and math.isfinite(value)

    def described(self, kind: type) -> str:
        """Return what a number in the range is, in words."""
        if kind is int and self.high == math.inf:
            return "a positive whole number" if self.low == 1 else f"a whole number >= {self.low}"
        if self.high == math.inf:
            positive = self.brackets[0] == "("
            return "a positive finite number" if positive else "a finite number, not negative"
        what = "a whole number" if kind is int else "a number"
        return f"{what} in {self.brackets[0]}{self.low}, {self.high}{self.brackets[1]}"


def checked_spec(mixture: MixtureSpec) -> MixtureSpec:
    """Return a mixture's specification as plain str, dict or list.

    Weights that can never be a mixture raise `ValueError` here, before there is a task.
    """
    if isinstance(mixture, str):
        return mixture
    if isinstance(mixture, Mapping):
        validate_mixture(list(mixture.values()), len(mixture), list(mixture), normalise=True)
        return {str(name): float(weight) for name, weight in mixture.items()}
    validate_mixture(mixture, len(mixture), normalise=True)
    return [float(weight) for weight in mixture]


Spec = Annotated[MixtureSpec, checked_spec]
Positive = Annotated[float, Range(0, math.inf, "()")]
NotNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
PartialShare = Annotated[float, Range(0, 1, "[)")]
Number = Annotated[int, Range(1)]
Count = Annotated[int, Range(1, 100_000_000)]
Width = Annotated[int, Range(1, 65536)]
Depth = Annotated[int, Range(1, 64)]


class Checked:
    """Base of dataclasses whose fields are checked by their annotations.

    A `Literal`'s words, an `Annotated` tuple of words and an `Annotated` `Range` are what a field
    may have; an `Annotated` function turns what was given into what is kept. Any of them may stand
    beside `None`.

    Raises:
        UnknownNameError: a value that is none of the choices.
        ValueError: a number out of its range, or what a function refuses.
    """

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self), include_extras=True)
        for name in (item.name for item in fields(self)):  # type: ignore[arg-type]
            value = _checked(name, getattr(self, name), hints[name])
            object.__setattr__(self, name, value)  # the dataclass may be frozen


def _checked(name: str, value: Any, hint: Any) -> Any:
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if value is None and NoneType in members:
        return value
    for member in members:
        parts = get_args(member)
        if get_origin(member) is Literal:
            parts = (str, parts)
        elif get_origin(member) is not Annotated:
            continue
        kind, rule = parts
        if isinstance(rule, Range):
            if not rule.holds(value, kind):
                what = rule.described(kind) + (" or None" if NoneType in members else "")
                raise ValueError(f"{name}={value!r} must be {what}")
        elif isinstance(rule, tuple):
            if value not in rule:
                raise unknown_name(name, value, rule)
        else:
            value = rule(value)
    return value

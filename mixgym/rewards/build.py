"""From an environment's `reward` argument to its terms."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from mixgym.errors import unknown_name
from mixgym.registry import Registry
from mixgym.rewards.base import RewardTerm
from mixgym.rewards.combinations import COMBINATIONS


def build_terms(
    registry: Registry[type[RewardTerm]], spec: str | Mapping[str, Any]
) -> dict[str, tuple[float, RewardTerm]]:
    """Return name -> (weight, term) for a term's name, `{name: weight}` or
    `{name: {"weight": weight, argument: value, ...}}` (weight 1 where not given).

    A name of `COMBINATIONS` stands for its terms, their weights multiplied by its own; its
    arguments are those terms: `{"holistic": {"weight": 0.5, "influence": {"ridge": 0.1}}}`.

    Raises:
        UnknownNameError: no such term, or it has no such argument.
        ValueError: a weight that is not finite, a value the term refuses, or a term named twice.
    """
    given = {spec: 1.0} if isinstance(spec, str) else dict(spec)
    terms: dict[str, tuple[float, RewardTerm]] = {}
    for name, value in given.items():
        for member, weight, arguments in _members(registry, name, value):
            if member in terms:
                raise ValueError(
                    f"reward term {member!r} is named twice: change it within its combination, "
                    f"as in {name!r}: {{{member!r}: 2.0}}, or name the terms one by one"
                )
            terms[member] = (weight, _term(registry, member, arguments))
    return terms


def _members(
    registry: Registry[type[RewardTerm]], name: str, value: Any
) -> list[tuple[str, float, dict[str, Any]]]:
    """Return the terms that an entry stands for, each with its weight and arguments."""
    weight, arguments = _weight_and_arguments(name, value)
    if name not in COMBINATIONS:
        if name not in registry:
            raise unknown_name("reward term", name, [*registry, *COMBINATIONS])
        return [(name, weight, arguments)]
    members = []
    for argument in arguments:
        if argument not in COMBINATIONS[name]:
            kind = f"term of the reward combination {name!r}"
            raise unknown_name(kind, argument, ["weight", *COMBINATIONS[name]])
    for member, default in COMBINATIONS[name].items():
        base, own = _weight_and_arguments(member, default)
        base, changed = _weight_and_arguments(member, arguments.get(member, {}), base)
        members.append((member, weight * base, {**own, **changed}))
    return members


def _weight_and_arguments(
    name: str, value: Any, default: float = 1.0
) -> tuple[float, dict[str, Any]]:
    arguments = dict(value) if isinstance(value, Mapping) else {"weight": value}
    weight = arguments.pop("weight", default)
    number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
    if not number or not math.isfinite(weight):
        raise ValueError(f"the weight of reward term {name!r} must be finite, got {weight!r}")
    return float(weight), arguments


def _term(
    registry: Registry[type[RewardTerm]], name: str, arguments: Mapping[str, Any]
) -> RewardTerm:
    term = registry[name]
    known = list(inspect.signature(term).parameters)
    for argument in arguments:
        if argument not in known:
            kind = f"argument of reward term {name!r}"
            raise unknown_name(kind, argument, ["weight", *known])
    return term(**arguments)

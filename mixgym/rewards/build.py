"""From an environment's `reward` argument to its terms."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from mixgym.errors import unknown_name
from mixgym.registry import Registry
from mixgym.rewards.base import RewardTerm


def build_terms(
    registry: Registry[type[RewardTerm]], spec: str | Mapping[str, Any]
) -> dict[str, tuple[float, RewardTerm]]:
    """Return name -> (weight, term) for a term's name, `{name: weight}` or
    `{name: {"weight": weight, argument: value, ...}}` (weight 1 where not given).

    Raises:
        UnknownNameError: no such term, or it has no such argument.
        ValueError: a weight that is not finite, or a value the term refuses.
    """
    given = {spec: 1.0} if isinstance(spec, str) else dict(spec)
    terms: dict[str, tuple[float, RewardTerm]] = {}
    for name, value in given.items():
        arguments = dict(value) if isinstance(value, Mapping) else {"weight": value}
        weight = arguments.pop("weight", 1.0)
        if isinstance(weight, (str, bool)) or not math.isfinite(weight):
            raise ValueError(f"the weight of reward term {name!r} must be finite, got {weight!r}")
        term = registry[name]
        known = list(inspect.signature(term).parameters)
        for argument in arguments:
            if argument not in known:
                kind = f"argument of reward term {name!r}"
                raise unknown_name(kind, argument, ["weight", *known])
        terms[name] = (float(weight), term(**arguments))
    return terms

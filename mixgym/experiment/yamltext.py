"""YAML as people write it: `1e-3` is a number."""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Any

import yaml

#: Aliases of aliases make a short text stand for more than any memory holds.
MAX_VALUES = 100_000
#: Most brackets within each other.
MAX_DEPTH = 100
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}
_EXPONENT = re.compile(r"^[+-]?\d+(\.\d*)?[eE][+-]?\d+$")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 wants a dot and a sign in `1.0e-3`; JSON and everybody else do not."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("+-0123456789"))


def load_yaml(text: str) -> Any:
    """Parse YAML; unquoted `1e-3` and `2.5E6` are floats.

    Raises:
        yaml.YAMLError: no YAML, nested too deeply, or with aliases that stand for too much.

    >>> load_yaml("{learning_rate: 1e-3, name: '1e-3'}")
    {'learning_rate': 0.001, 'name': '1e-3'}
    """
    # The scanner takes quadratic time of what follows, and recursion would end it anyway.
    if max(accumulate(_STEPS.get(character, 0) for character in text), default=0) > MAX_DEPTH:
        raise yaml.YAMLError("it is nested too deeply")
    try:
        value = yaml.load(text, Loader=_Loader)
        size = _size(value, {})
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply, or contains itself") from None
    if size > MAX_VALUES:
        raise yaml.YAMLError(
            f"with its aliases written out it has {size:,} values; at most {MAX_VALUES:,} are read"
        )
    return value


def _size(value: Any, known: dict[int, int]) -> int:
    """Number of values in `value` with aliases written out; each is looked at once."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        parts = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(value)]

"""Checks of agents' arguments, made when an agent is built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mixgym.envs.task import MixtureSpec
from mixgym.simplex import validate_mixture


def positive(name: str, value: float) -> None:
    """Raise `ValueError` unless an argument is a positive finite number."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name}={value!r} must be a positive finite number")


def share(name: str, value: float) -> None:
    """Raise `ValueError` unless an argument is a number in [0, 1)."""
    if not 0 <= value < 1:
        raise ValueError(f"{name}={value!r} must be a number in [0, 1)")


def whole(name: str, value: Any, least: int = 1) -> None:
    """Raise `ValueError` unless an argument is a whole number, `least` or more."""
    if not isinstance(value, int) or value < least:
        kind = "a positive whole number" if least == 1 else f"a whole number >= {least}"
        raise ValueError(f"{name}={value!r} must be {kind}")


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

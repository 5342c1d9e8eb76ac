"""YAML as people write it: `1e-3` is a number."""

from __future__ import annotations

import re
from typing import Any

import yaml

_EXPONENT = re.compile(r"^[+-]?\d+(\.\d*)?[eE][+-]?\d+$")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 wants a dot and a sign in `1.0e-3`; JSON and everybody else do not."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("+-0123456789"))


def load_yaml(text: str) -> Any:
    """Parse YAML; unquoted `1e-3` and `2.5E6` are floats. Raises `yaml.YAMLError`.

    >>> load_yaml("{learning_rate: 1e-3, name: '1e-3'}")
    {'learning_rate': 0.001, 'name': '1e-3'}
    """
    return yaml.load(text, Loader=_Loader)

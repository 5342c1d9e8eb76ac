"""Named combinations of reward terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: name -> weights (or arguments) of the terms it stands for; a new combination is one line.
#: `holistic`: the weights of HDS's released code (arXiv 2606.24133).
COMBINATIONS: dict[str, Mapping[str, Any]] = {
    "holistic": {"influence": 1.0, "diversity": 10.0, "stability": 10.0},
}

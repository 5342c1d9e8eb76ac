"""The same weight for every domain."""

from __future__ import annotations

from dataclasses import dataclass

from mixgym.mixer import FixedMixer, as_agent


@dataclass(kw_only=True)
class Uniform(FixedMixer):
    """w_i = 1 / K (also called stratified sampling)."""

    name = "uniform"


agent = as_agent(Uniform)

"""Domains in proportion to their size."""

from __future__ import annotations

from dataclasses import dataclass

from mixgym.mixer import FixedMixer, as_agent


@dataclass(kw_only=True)
class Natural(FixedMixer):
    """w_i = n_i / sum_j n_j, n_i the bytes of text available in domain i."""

    name = "natural"


agent = as_agent(Natural)

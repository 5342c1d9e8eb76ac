"""A mixgym agent in somebody's own training run: the `transformers` Trainer."""

from __future__ import annotations

from mixgym.deploy.callback import MixtureCallback
from mixgym.deploy.controller import MixtureController

__all__ = ["MixtureCallback", "MixtureController"]

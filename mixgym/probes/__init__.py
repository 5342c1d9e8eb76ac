"""Downstream evaluation: how well a model predicts the answers of real benchmark items."""

from mixgym.probes.catalogue import PROBES
from mixgym.probes.items import PURPOSES, Item, Probe

__all__ = ["PROBES", "PURPOSES", "Item", "Probe"]

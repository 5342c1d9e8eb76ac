"""Logged mixing episodes as Minari datasets: collecting, checking, scoring and evaluating on them.

Importing this package is light; Minari, d3rlpy and Ray load when they are used.
"""

from __future__ import annotations

from mixgym.trajectories.collect import collect
from mixgym.trajectories.dataset import load_trajectories
from mixgym.trajectories.record import Trajectories, Trajectory
from mixgym.trajectories.request import CollectionRequest
from mixgym.trajectories.scores import normalised_scores, set_reference_scores

__all__ = [
    "CollectionRequest",
    "Trajectories",
    "Trajectory",
    "collect",
    "load_trajectories",
    "normalised_scores",
    "set_reference_scores",
]

"""Training agents that learn over episodes.

`mixgym.compare.evaluate_policy` runs the policies that they saved.
"""

from __future__ import annotations

from mixgym.experiment.policy import policy_agent
from mixgym.train.trainer import TrainingRequest, train_agent

__all__ = ["TrainingRequest", "policy_agent", "train_agent"]

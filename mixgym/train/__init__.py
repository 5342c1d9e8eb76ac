"""Training agents that learn over episodes, and evaluating the policies they saved."""

from __future__ import annotations

from mixgym.train.evaluate import evaluate_policy, policy_agent
from mixgym.train.trainer import TrainingRequest, train_agent

__all__ = ["TrainingRequest", "evaluate_policy", "policy_agent", "train_agent"]

"""Reward terms: named functions of the signals before and after a decision."""

from __future__ import annotations

from mixgym.registry import Registry
from mixgym.rewards.base import RewardTerm

#: name -> reward term class; a new term is one file and one line here.
REWARD_TERMS: Registry[type[RewardTerm]] = Registry(
    "reward term",
    {
        "progress": "mixgym.rewards.progress:Progress",
        "domain-progress": "mixgym.rewards.progress:DomainProgress",
        "alignment": "mixgym.rewards.alignment:Alignment",
        "objective-alignment": "mixgym.rewards.alignment:ObjectiveAlignment",
        "diversity": "mixgym.rewards.diversity:Diversity",
        "influence": "mixgym.rewards.influence:Influence",
        "stability": "mixgym.rewards.stability:Stability",
        "feedback": "mixgym.rewards.feedback:Feedback",
    },
)

__all__ = ["REWARD_TERMS", "RewardTerm"]

"""The agents that come with mixgym, one file each; `agents.base` holds the interface.

mixgym finds them by entry points (group `mixgym.agents`) and never imports this package.
"""

from agents.base import Agent, FixedMixer, Mixer, MixerAgent, as_agent

__all__ = ["Agent", "FixedMixer", "Mixer", "MixerAgent", "as_agent"]

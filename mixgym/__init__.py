"""Gymnasium environments in which a language-model training run is steered by its data mixture.

Importing this package registers the environments (as string entry points) and imports nothing
heavy: the names below load what they need when they are first asked for, and torch, transformers
and matplotlib when an environment is made.

`mixgym.compare` is a package and, called, the function `mixgym.compare.study.compare`; so
`mixgym.compare("mixgym/NanoPretrain-v0", ["natural"], out="runs/first")` and
`from mixgym.compare.study import run_study` work in either order.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from mixgym.envs.registration import register_environments

if TYPE_CHECKING:
    from mixgym.agents import Agent, list_agents, make_agent
    from mixgym.compare.study import compare
    from mixgym.corpus.load import load_corpus
    from mixgym.deploy.controller import MixtureController
    from mixgym.mixer import FixedMixer, Mixer, MixerAgent, as_agent
    from mixgym.rewards.base import RewardTerm
    from mixgym.trajectories.collect import collect

try:
    __version__ = version("mixgym")
except PackageNotFoundError:
    __version__ = "0+unknown"

register_environments()

__all__ = [
    "Agent",
    "FixedMixer",
    "Mixer",
    "MixerAgent",
    "MixtureController",
    "RewardTerm",
    "__version__",
    "as_agent",
    "collect",
    "compare",
    "list_agents",
    "load_corpus",
    "make_agent",
    "register_environments",
]

_HOMES = {
    "Agent": "mixgym.agents",
    "list_agents": "mixgym.agents",
    "make_agent": "mixgym.agents",
    "load_corpus": "mixgym.corpus.load",
    "MixtureController": "mixgym.deploy.controller",
    "FixedMixer": "mixgym.mixer",
    "Mixer": "mixgym.mixer",
    "MixerAgent": "mixgym.mixer",
    "as_agent": "mixgym.mixer",
    "RewardTerm": "mixgym.rewards.base",
    "collect": "mixgym.trajectories.collect",
}


def __getattr__(name: str) -> Any:
    if name == "compare":
        return import_module("mixgym.compare")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

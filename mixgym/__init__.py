"""Gymnasium environments in which a language-model training run is steered by its data mixture.

Importing this package registers the environments (as string entry points) and imports nothing
heavy: torch, transformers and matplotlib load when an environment is made.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("mixgym")
except PackageNotFoundError:
    __version__ = "0+unknown"

from mixgym.envs.registration import register_environments

register_environments()

__all__ = ["__version__", "register_environments"]

"""`mixgym list`; nothing heavy is imported before it runs."""

from __future__ import annotations

from collections.abc import Iterable

from rich.markup import escape

from mixgym.commands.base import stdout


def list_everything() -> None:
    """List environments, agents, corpora, models and reward terms.

    Their names are what compare's ENV, --agent and --env-arg corpus=, model= and reward= take.
    """
    import gymnasium as gym

    import mixgym  # noqa: F401  (registers the environments)
    from mixgym.agents import list_agents
    from mixgym.corpus import CORPORA
    from mixgym.lm.settings import PRESETS
    from mixgym.rewards import REWARD_TERMS
    from mixgym.rewards.combinations import COMBINATIONS

    _names("environments", [name for name in gym.registry if name.startswith("mixgym/")])
    _names("agents", list_agents())
    _names("corpora", [f"{name}: {recipe.description}" for name, recipe in CORPORA.items()])
    _names("models", [f"{name}: {preset.description}" for name, preset in PRESETS.items()])
    _names("reward terms", REWARD_TERMS)
    _names("reward combinations", [f"{k}: {', '.join(v)}" for k, v in COMBINATIONS.items()])


def _names(heading: str, names: Iterable[str]) -> None:
    console = stdout()
    console.print(f"[bold]{heading}[/bold]")
    for name in names:
        head, colon, tail = name.partition(": ")
        console.print(f"  [cyan]{escape(head)}[/cyan]{colon}{escape(tail)}", highlight=False)

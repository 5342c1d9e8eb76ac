"""`mixgym info`; nothing heavy is imported before it runs."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

from mixgym.commands.base import Env, EnvArguments, assignments, stdout


def info(
    env: Env,
    env_arg: EnvArguments = None,
) -> None:
    """Describe an environment: its page, arguments, spaces, domains and cost.

    \b
    mixgym info NanoPretrain-v0
    mixgym info MicroTarget-v0 --env-arg decisions=10
    """
    import inspect

    import gymnasium as gym

    from mixgym.experiment.environment import (
        build_corpus,
        environment_class,
        environment_id,
        mixing_environment,
    )

    arguments = assignments(env_arg)
    env_id = environment_id(env)
    page = inspect.getdoc(environment_class(env_id)) or ""
    build_corpus(env_id, arguments)
    made = gym.make(env_id, **arguments)
    try:
        mixing_environment(made)
        console = stdout()
        console.print(f"[bold]{env_id}[/bold]\n")
        console.print(Markdown(page))
        _describe(made, arguments, console)
    finally:
        made.close()


def _describe(env: Any, given: dict[str, Any], console: Console) -> None:
    """Print what a `MixingEnv` made with the arguments `given` is, whatever runs behind it."""
    inner: Any = env.unwrapped
    task, configuration = inner.task, inner.configuration(given)
    arguments, settings = configuration.get("arguments", {}), configuration.get("settings", {})
    corpus = getattr(inner, "corpus", None)
    title = f"corpus {corpus.name}, hash {corpus.hash[:12]}" if corpus else "domains"
    table = Table(title=title)
    for heading in ("domain", "natural", "objective", "groups"):
        table.add_column(heading, justify="left" if heading in ("domain", "groups") else "right")
    for name, natural, objective in zip(task.names, task.natural, task.objective, strict=True):
        member = [group for group, names in task.groups.items() if name in names]
        table.add_row(name, f"{natural:.2%}", f"{objective:.2%}", ", ".join(member))
    console.print(table)
    steps = task.decisions * task.steps_per_decision
    rows = {
        "action space": str(env.action_space),
        "observation space": str(env.observation_space),
        "episode": f"{task.decisions} decisions of {task.steps_per_decision} LM steps",
    }
    if settings:
        context = settings["context"]
        tokens = settings["batch_size"] * context
        rows["cost"] = f"{steps} LM steps of {tokens:,} tokens: {steps * tokens:,} tokens"
        if windows := arguments.get("evaluation_windows"):
            rows["per decision"] = (
                f"{windows} validation windows of {context} tokens for each domain measured"
            )
    for heading, values in (("arguments", arguments), ("training", settings)):
        shown = (f"{key}={value!r}" for key, value in values.items() if key != "training")
        rows[heading] = ", ".join(shown)
    facts = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        facts.add_row(f"[bold]{name}[/bold]", escape(value))
    console.print(facts)

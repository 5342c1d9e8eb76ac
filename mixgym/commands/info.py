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
        _describe(made, console)
    finally:
        made.close()


def _describe(env: Any, console: Console) -> None:
    inner: Any = env.unwrapped
    task, settings = inner.task, inner.settings
    table = Table(title=f"corpus {inner.corpus.name}, hash {inner.corpus.hash[:12]}")
    for heading in ("domain", "natural", "objective", "groups"):
        table.add_column(heading, justify="left" if heading in ("domain", "groups") else "right")
    for name, natural, objective in zip(task.names, task.natural, task.objective, strict=True):
        member = [group for group, names in task.groups.items() if name in names]
        table.add_row(name, f"{natural:.2%}", f"{objective:.2%}", ", ".join(member))
    console.print(table)
    steps = task.decisions * task.steps_per_decision
    per_step = settings.batch_size * settings.context
    a = inner.arguments
    rows = {
        "action space": str(env.action_space),
        "observation space": str(env.observation_space),
        "episode": f"{task.decisions} decisions of {task.steps_per_decision} LM steps",
        "cost": f"{steps} LM steps of {per_step:,} tokens: {steps * per_step:,} tokens",
        "per decision": f"{a.evaluation_windows} validation windows of {settings.context} tokens "
        "for each domain measured",
        "arguments": ", ".join(f"{k}={v!r}" for k, v in _plain_fields(a) if k != "training"),
        "training": ", ".join(f"{k}={v!r}" for k, v in _plain_fields(settings)),
    }
    facts = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        facts.add_row(f"[bold]{name}[/bold]", escape(value))
    console.print(facts)


def _plain_fields(value: Any) -> list[tuple[str, Any]]:
    from dataclasses import fields

    return [(field.name, getattr(value, field.name)) for field in fields(value)]

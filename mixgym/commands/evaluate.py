"""`mixgym evaluate`; nothing heavy is imported before it runs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from mixgym.commands.base import (
    EnvArguments,
    EnvOption,
    FirstSeed,
    Policy,
    Workers,
    assignments,
    say,
    stderr,
    stdout,
)
from mixgym.errors import MixgymError


def evaluate(
    policy: Policy,
    env: EnvOption,
    seeds: Annotated[int, typer.Option("--seeds", help="Number of seeds.")] = 3,
    first_seed: FirstSeed = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to keep the runs and the report in.")
    ] = None,
    env_arg: EnvArguments = None,
    workers: Workers = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on in OUT.")] = False,
) -> None:
    """Run a saved policy, frozen and without learning, and report test losses.

    To set it against other agents on the same seeds, give it to compare:

    \b
    mixgym evaluate policy --env MicroTarget-v0 --seeds 5 --out evaluation
    mixgym compare MicroTarget-v0 --agent natural \\
        --agent 'proxy=acodm:{policy: policy}' --seeds 5 --out comparison
    """
    from mixgym.compare.evaluate import evaluate_policy
    from mixgym.compare.study import print_tables

    if out is None and resume:
        raise MixgymError("--resume needs --out DIR: the folder to go on in")
    with tempfile.TemporaryDirectory(prefix="mixgym-evaluate-") as temporary:
        result = evaluate_policy(
            policy,
            env,
            out or temporary,
            seeds=seeds,
            first_seed=first_seed,
            env_arguments=assignments(env_arg),
            workers=workers,
            resume=resume,
            console=stderr(),
        )
        print_tables(result, stdout())
        for row in result.summary:
            say(
                f"seed {row.seed}: objective test loss {row.objective_test_loss:.4f} nats/byte, "
                f"learning {row.agent_tokens:,} LM tokens"
            )
        if out is not None:
            say(f"report: {result.report}")

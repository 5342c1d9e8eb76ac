"""`mixgym train`; nothing heavy is imported before it runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from mixgym.commands.base import EnvArguments, Out, assignments, resumable, say, stderr
from mixgym.errors import MixgymError


def train(
    agent: Annotated[
        str, typer.Argument(help="NAME or NAME:{...}, as compare's --agent.", metavar="AGENT")
    ],
    out: Out,
    env: Annotated[
        str | None, typer.Option("--env", help="Environment; mixgym/ may be left out.")
    ] = None,
    episodes: Annotated[
        int, typer.Option("--episodes", help="Episodes to learn from, in total.")
    ] = 1,
    dataset: Annotated[
        list[Path] | None,
        typer.Option(
            "--dataset", help="Learn offline from what mixgym collect wrote, not in ENV. Repeat."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", help="With --dataset: gradient steps, in total.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the agent and its episodes.")] = 0,
    env_arg: EnvArguments = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on in OUT; episodes may be raised.")
    ] = False,
) -> None:
    """Let an agent learn over episodes and save its policy.

    The policy is saved after every episode: after Ctrl-C, or worse, give the same command with
    --resume, and the result is the same as without the interruption. OUT/cost.json says what
    learning cost; runs driven by the policy have it on their ledger.

    \b
    mixgym train acodm --env NanoPretrain-v0 --episodes 4 --out policy
    mixgym train 'acodm:{network: tokens, width: 64}' --env MicroTarget-v0 \\
        --env-arg model=nano --episodes 10 --out policy
    mixgym train acodm --env NanoPretrain-v0 --episodes 8 --resume --out policy
    mixgym train cql --dataset random --dataset heuristic --steps 5000 --out policy
    """
    from mixgym.experiment.progress import LearningProgress
    from mixgym.experiment.request import parse_agent
    from mixgym.train.trainer import TrainingRequest, train_agent

    console = stderr()
    if dataset:
        if env is not None or env_arg:
            raise MixgymError("--dataset says where the data came from: leave out --env, --env-arg")
        _train_offline(parse_agent(agent), dataset, steps, out, seed, resume, console)
        return
    if steps is not None:
        raise MixgymError("--steps counts offline gradient steps: give --dataset DIR too")
    if env is None:
        raise MixgymError("give --env ENV to learn in, or --dataset DIR to learn from")
    request = TrainingRequest(parse_agent(agent), env, assignments(env_arg), seed)
    with resumable(out), LearningProgress(console, "learning", episodes) as progress:

        def show(done: int, share: float, info: dict[str, Any]) -> None:
            loss = float(info["objective_loss"])
            shown = f", objective {loss:.3f}" if math.isfinite(loss) else ""
            progress.update(done + share, f"episode {done + 1} of {episodes}{shown}")

        cost = train_agent(request, out, episodes, resume=resume, on_progress=show)
    for number, run in enumerate(cost["runs"]):
        console.print(
            f"run {number}: return {run['episode_return']:.4f}, objective loss "
            f"{run['objective_loss']:.4f} nats/byte{', diverged' if run['diverged'] else ''}",
            highlight=False,
        )
    say(f"policy: {out} ({cost['episodes']} episodes, {cost['tokens']:,} LM tokens)")


def _train_offline(
    agent: Any,
    datasets: list[Path],
    steps: int | None,
    out: Path,
    seed: int,
    resume: bool,
    console: Console,
) -> None:
    from mixgym.train.offline import OfflineRequest, train_offline

    def report(done: int, total: int, losses: dict[str, float]) -> None:
        shown = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
        console.print(f"step {done:,} of {total:,}: {shown}", highlight=False)

    request = OfflineRequest(agent, tuple(str(path) for path in datasets), seed)
    if steps is None:
        raise MixgymError("give --steps N: how many gradient steps to learn")
    with resumable(out, "what was saved is"):
        cost = train_offline(request, out, steps, resume=resume, on_progress=report)
    say(
        f"policy: {out} ({cost['steps']:,} steps on {cost['episodes']} episodes, "
        f"{cost['tokens']:,.0f} LM tokens to collect)"
    )

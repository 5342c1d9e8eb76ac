"""`mixgym train` and `mixgym evaluate`; nothing heavy is imported before they run."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from mixgym.errors import MixgymError

_EnvArguments = Annotated[
    list[str] | None,
    typer.Option(
        "--env-arg",
        metavar="KEY=YAML",
        help="Argument of the environment, e.g. decisions=10 or 'limit={recipes: 40000}'. Repeat.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add both commands to the `mixgym` command."""
    app.command()(train)
    app.command()(evaluate)


def train(
    agent: Annotated[
        str, typer.Argument(help="NAME or NAME:{...}, as compare's --agent.", metavar="AGENT")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for everything; new or empty.")],
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
    env_arg: _EnvArguments = None,
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

    console = Console(stderr=True)
    if dataset:
        if env is not None or env_arg:
            raise MixgymError("--dataset says where the data came from: leave out --env, --env-arg")
        _train_offline(parse_agent(agent), dataset, steps, out, seed, resume, console)
        return
    if steps is not None:
        raise MixgymError("--steps counts offline gradient steps: give --dataset DIR too")
    if env is None:
        raise MixgymError("give --env ENV to learn in, or --dataset DIR to learn from")
    request = TrainingRequest(parse_agent(agent), env, _assignments(env_arg), seed)
    try:
        with LearningProgress(console, "learning", episodes) as progress:

            def show(done: int, share: float, info: dict[str, Any]) -> None:
                loss = float(info["objective_loss"])
                shown = f", objective {loss:.3f}" if math.isfinite(loss) else ""
                progress.update(done + share, f"episode {done + 1} of {episodes}{shown}")

            cost = train_agent(request, out, episodes, resume=resume, on_progress=show)
    except KeyboardInterrupt:
        raise MixgymError(
            f"interrupted: finished episodes are kept in {out}; rerun the same command with "
            "--resume to go on"
        ) from None
    for number, run in enumerate(cost["runs"]):
        console.print(
            f"run {number}: return {run['episode_return']:.4f}, objective loss "
            f"{run['objective_loss']:.4f} nats/byte{', diverged' if run['diverged'] else ''}",
            highlight=False,
        )
    Console().print(
        f"policy: {out} ({cost['episodes']} episodes, {cost['tokens']:,} LM tokens)",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )


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
    try:
        cost = train_offline(request, out, steps, resume=resume, on_progress=report)
    except KeyboardInterrupt:
        raise MixgymError(
            f"interrupted: what was saved is kept in {out}; rerun the same command with --resume "
            "to go on"
        ) from None
    Console().print(
        f"policy: {out} ({cost['steps']:,} steps on {cost['episodes']} episodes, "
        f"{cost['tokens']:,.0f} LM tokens to collect)",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )


def evaluate(
    policy: Annotated[Path, typer.Argument(help="The --out of mixgym train.", metavar="POLICY")],
    env: Annotated[str, typer.Option("--env", help="Environment; mixgym/ may be left out.")],
    seeds: Annotated[int, typer.Option("--seeds", help="Number of seeds.")] = 3,
    first_seed: Annotated[int, typer.Option("--first-seed", help="The first of them.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to keep the runs and the report in.")
    ] = None,
    env_arg: _EnvArguments = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Processes \\[default: one a CPU].")
    ] = None,
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

    console = Console()
    if out is None and resume:
        raise MixgymError("--resume needs --out DIR: the folder to go on in")
    with tempfile.TemporaryDirectory(prefix="mixgym-evaluate-") as temporary:
        result = evaluate_policy(
            policy,
            env,
            out or temporary,
            seeds=seeds,
            first_seed=first_seed,
            env_arguments=_assignments(env_arg),
            workers=workers,
            resume=resume,
            console=Console(stderr=True),
        )
        print_tables(result, console)
        for row in result.summary:
            console.print(
                f"seed {row.seed}: objective test loss {row.objective_test_loss:.4f} nats/byte, "
                f"learning {row.agent_tokens:,} LM tokens",
                highlight=False,
            )
        if out is not None:
            console.print(f"report: {result.report}", highlight=False, soft_wrap=True, markup=False)


def _assignments(texts: list[str] | None) -> dict[str, Any]:
    from mixgym.experiment.request import parse_assignment

    return dict(parse_assignment(text) for text in texts or [])

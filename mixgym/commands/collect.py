"""`mixgym collect`; nothing heavy is imported before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mixgym.commands.base import (
    Env,
    EnvArguments,
    Out,
    Workers,
    assignments,
    resumable,
    say,
    stderr,
)
from mixgym.commands.trajectories import print_summary


def collect(
    env: Env,
    episodes: Annotated[int, typer.Option("--episodes", help="Whole episodes, in total.")],
    out: Out,
    behaviour: Annotated[
        str,
        typer.Option(
            "--behaviour",
            metavar="NAME|NAME:{...}",
            help="random-walk, dirichlet, heuristic, mixed, or an agent as compare's --agent.",
        ),
    ] = "mixed",
    seed: Annotated[int, typer.Option("--seed", help="Of the collection.")] = 0,
    dataset_id: Annotated[
        str | None,
        typer.Option(
            "--dataset-id",
            metavar="ID",
            help="Minari's name \\[default: mixgym/ENV/BEHAVIOUR-v0].",
        ),
    ] = None,
    datasets_path: Annotated[
        Path | None,
        typer.Option(
            "--datasets-path",
            metavar="DIR",
            help="MINARI_DATASETS_PATH to write to \\[default: OUT/datasets].",
        ),
    ] = None,
    env_arg: EnvArguments = None,
    workers: Workers = None,
    ray: Annotated[
        bool, typer.Option("--ray", help="Use a Ray cluster (RAY_ADDRESS, or a local one).")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on in OUT; episodes may be raised.")
    ] = False,
) -> None:
    """Log whole episodes as a Minari dataset to learn from offline.

    Finished episodes are never repeated: after Ctrl-C, or worse, give the same command with
    --resume.

    \b
    mixgym collect NanoPretrain-v0 --behaviour random-walk --episodes 100 --out random
    mixgym collect NanoPretrain-v0 --behaviour 'dirichlet:{concentration: 0.5, hold: 4}' \\
        --episodes 50 --out dirichlet
    mixgym collect NanoPretrain-v0 --behaviour odm-exp3 --episodes 20 \\
        --dataset-id mixgym/NanoPretrain/odm-v0 --out odm
    mixgym collect NanoPretrain-v0 --behaviour random-walk --episodes 200 --resume --out random
    """
    from mixgym.experiment.progress import JobsProgress
    from mixgym.trajectories import collect as run
    from mixgym.trajectories import load_trajectories

    shown = JobsProgress(stderr(), episodes, noun="episodes", each=False)
    with resumable(out), shown as progress:
        folder = run(
            env,
            behaviour,
            episodes,
            out,
            seed=seed,
            env_arguments=assignments(env_arg),
            dataset_id=dataset_id,
            datasets_path=datasets_path,
            workers=workers,
            ray=ray,
            resume=resume,
            on_event=progress,
        )
    print_summary(load_trajectories(folder))
    say(f"dataset: {folder}")

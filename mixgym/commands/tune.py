"""`mixgym tune`; nothing heavy is imported before it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from mixgym.commands.base import EnvArguments, EnvOption, Out, assignments, resumable, say, stderr


def tune(
    agent: Annotated[
        str,
        typer.Argument(
            help="NAME or NAME:{...}; arguments given here are not searched.", metavar="AGENT"
        ),
    ],
    env: EnvOption,
    out: Out,
    trials: Annotated[int, typer.Option("--trials", help="Trials, in total.")] = 20,
    episodes: Annotated[
        int,
        typer.Option("--episodes", help="Of learning in a trial; 0: within the judged runs."),
    ] = 5,
    seeds: Annotated[int, typer.Option("--seeds", help="Judged runs of a trial.")] = 2,
    seed: Annotated[int, typer.Option("--seed", help="Of the search.")] = 0,
    env_arg: EnvArguments = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on in OUT; trials may be raised.")
    ] = False,
) -> None:
    """Search an agent's hyperparameters in a pruned Optuna study.

    Every trial learns and is judged on the same seeds, from 10000 on, which comparisons do not
    use, and by validation loss alone. OUT/best.yml has the best values and the LM tokens that the
    search spent. After Ctrl-C, or worse, give the same command with --resume.

    \b
    mixgym tune sac --env NanoPretrain-v0 --trials 20 --episodes 5 --out tuned
    mixgym tune 'sac:{network: tokens, reward: progress}' --env MicroTarget-v0 \\
        --env-arg model=nano --trials 30 --out tuned
    mixgym tune ppo --env NanoPretrain-v0 --episodes 0 --seeds 3 --out online
    """
    from mixgym.experiment.request import parse_agent
    from mixgym.tune import TuningRequest, tune_agent

    console = stderr()
    request = TuningRequest(parse_agent(agent), env, assignments(env_arg), episodes, seeds, seed)

    def progress(trial: int, stage: int, objective: float) -> None:
        console.print(
            f"trial {trial + 1} of {trials}, stage {stage}: objective {objective:.4f} nats/byte",
            highlight=False,
        )

    with resumable(out, "what is finished is"):
        result = tune_agent(request, out, trials, resume=resume, on_progress=progress)
    shown = ", ".join(f"{name}: {value}" for name, value in result.parameters.items())
    say(
        f"best of {result.trials} trials ({result.pruned} pruned): objective "
        f"{result.objective:.4f} nats/byte with {{{shown}}}"
    )
    say(f"written to {result.best} ({result.tokens:,} LM tokens)")

"""`mixgym compare`; nothing heavy is imported before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mixgym.commands.base import (
    EnvArguments,
    FirstSeed,
    Workers,
    assignments,
    say,
    stderr,
    stdout,
)
from mixgym.errors import MixgymError

if TYPE_CHECKING:
    from mixgym.compare.plan import Study


def compare(
    env: Annotated[
        str | None, typer.Argument(help="Environment; mixgym/ may be left out.", metavar="ENV")
    ] = None,
    agent: Annotated[
        list[str] | None,
        typer.Option(
            "--agent",
            metavar="AGENT",
            help="An arm: NAME, LABEL=NAME, NAME:{...} or LABEL=NAME:{...}. Repeat.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for everything; new or empty.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="Number of paired seeds \\[default: 3].")
    ] = None,
    first_seed: FirstSeed = 0,
    reference: Annotated[
        str | None,
        typer.Option("--reference", metavar="LABEL", help="Baseline arm \\[default: the first]."),
    ] = None,
    env_arg: EnvArguments = None,
    workers: Workers = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on in OUT; agents and seeds may be added."),
    ] = False,
    suite: Annotated[
        Path | None,
        typer.Option("--suite", help="YAML with several comparisons, or a config.json to repeat."),
    ] = None,
) -> None:
    """Compare agents with paired seeds: a table, plots and a report in OUT.

    Arms of a seed share initial weights, data order, evaluation windows and LM tokens. Finished
    runs are never repeated: after Ctrl-C, or worse, give the same command with --resume.

    \b
    mixgym compare NanoPretrain-v0 --agent natural --agent uniform --agent odm-exp3 \\
        --seeds 5 --reference natural --out out
    mixgym compare MicroTarget-v0 --out half --agent natural \\
        --agent 'half=static:{mixture: {natural: 0.5, objective: 0.5}}'
    mixgym compare NanoPretrain-v0 --agent natural --agent uniform \\
        --env-arg decisions=10 --env-arg 'limit={recipes: 40000}' --out scarce
    mixgym compare --suite suite.yml --out suite
    mixgym compare --resume --out out
    """
    from mixgym.compare.study import print_tables, run_study

    if out is None:
        raise MixgymError("give --out DIR: the folder that everything is written to")
    study = _study(env, agent, out, seeds, first_seed, reference, env_arg, resume, suite)
    result = run_study(
        study,
        out,
        workers=workers,
        resume=resume,
        keep_reference=reference is None and suite is None,
        console=stderr(),
    )
    print_tables(result, stdout())
    say(f"report: {result.report}")


def _study(
    env: str | None,
    agents: list[str] | None,
    out: Path,
    seeds: int | None,
    first_seed: int,
    reference: str | None,
    env_arg: list[str] | None,
    resume: bool,
    suite: Path | None,
) -> Study:
    """The study a command line means: a suite's, OUT's own, or a single comparison."""
    from mixgym.compare.plan import Comparison, Study, read_suite, seed_range
    from mixgym.compare.study import read_study
    from mixgym.experiment.request import parse_agent

    if suite is not None:
        if env is not None or agents or env_arg or seeds is not None or reference is not None:
            raise MixgymError(
                "--suite says what is compared: leave out ENV, --agent, --seeds, --reference and "
                "--env-arg, or change the file"
            )
        return read_suite(suite)
    if env is None:
        if resume and not agents and not env_arg and seeds is None:
            return read_study(out).unbound()
        raise MixgymError("give an environment, as in: mixgym compare NanoPretrain-v0 ...")
    if not agents:
        raise MixgymError("give at least one --agent NAME; mixgym list shows them")
    comparison = Comparison(
        env,
        tuple(parse_agent(text) for text in agents),
        seed_range(3 if seeds is None else seeds, first_seed),
        assignments(env_arg),
        reference=reference or "",
    )
    return Study(comparison.name, (comparison,))

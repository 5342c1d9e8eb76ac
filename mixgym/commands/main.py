"""The `mixgym` command. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

from mixgym.commands.collect import register as register_trajectories
from mixgym.commands.pareto import register as register_pareto
from mixgym.commands.probe import register as register_probe
from mixgym.commands.train import register as register_training
from mixgym.commands.tune import register as register_tuning
from mixgym.errors import MixgymError

if TYPE_CHECKING:
    from mixgym.compare.plan import Study

app = typer.Typer(
    name="mixgym",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
register_training(app)
register_pareto(app)
register_probe(app)
register_tuning(app)
register_trajectories(app)
console = Console()
errors = Console(stderr=True)


def main() -> None:
    """Entry point: bad input is one message and exit code 1; `--debug` shows the traceback."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    try:
        app(args=[x for x in arguments if x != "--debug"], prog_name="mixgym")
    except (MixgymError, ValueError, TypeError, OSError) as error:
        if debug:
            raise
        # A TypeError comes from a value of the wrong kind and does not say which.
        hint = " (a value of the wrong type? --debug shows where)"
        text = f"error: {error}{hint if type(error) is TypeError else ''}"
        errors.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(130 if type(error).__name__ == "StudyInterrupted" else 1)


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; works anywhere.")
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Steer the data mixture of a real language-model training run.

    [bold]Start here[/bold]

    \b
    mixgym list                        what there is to combine
    mixgym info NanoPretrain-v0        one environment in full
    mixgym compare NanoPretrain-v0 --agent natural --agent uniform --out out

    Every command explains itself: mixgym COMMAND --help.
    """
    if version:
        from mixgym import __version__

        console.print(__version__, highlight=False)
        raise typer.Exit


@app.command("list")
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
    console.print(f"[bold]{heading}[/bold]")
    for name in names:
        head, colon, tail = name.partition(": ")
        console.print(f"  [cyan]{escape(head)}[/cyan]{colon}{escape(tail)}", highlight=False)


_EnvArguments = Annotated[
    list[str] | None,
    typer.Option(
        "--env-arg",
        metavar="KEY=YAML",
        help="Argument of the environment, e.g. decisions=10 or 'limit={recipes: 40000}'. Repeat.",
    ),
]


@app.command()
def info(
    env: Annotated[str, typer.Argument(help="Environment; mixgym/ may be left out.")],
    env_arg: _EnvArguments = None,
) -> None:
    """Describe an environment: its page, arguments, spaces, domains and cost.

    \b
    mixgym info NanoPretrain-v0
    mixgym info MicroTarget-v0 --env-arg decisions=10
    """
    import inspect

    import gymnasium as gym

    from mixgym.experiment.environment import build_corpus, environment_class, environment_id

    arguments = _assignments(env_arg)
    env_id = environment_id(env)
    page = inspect.getdoc(environment_class(env_id)) or ""
    console.print(f"[bold]{env_id}[/bold]\n")
    console.print(Markdown(page))
    build_corpus(env_id, arguments)
    made = gym.make(env_id, **arguments)
    try:
        _describe(made)
    finally:
        made.close()


def _describe(env: Any) -> None:
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


def _assignments(texts: list[str] | None) -> dict[str, Any]:
    from mixgym.experiment.request import parse_assignment

    return dict(parse_assignment(text) for text in texts or [])


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def data(context: typer.Context) -> None:
    """Build, list and show corpora: mixgym data --help."""
    from mixgym.commands.data import data_app

    data_app(args=context.args, prog_name="mixgym data")


@app.command()
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
    first_seed: Annotated[int, typer.Option("--first-seed", help="The first of them.")] = 0,
    reference: Annotated[
        str | None,
        typer.Option("--reference", metavar="LABEL", help="Baseline arm \\[default: the first]."),
    ] = None,
    env_arg: _EnvArguments = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Processes \\[default: one a CPU].")
    ] = None,
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
        console=errors,
    )
    print_tables(result, console)
    console.print(f"report: {result.report}", highlight=False, soft_wrap=True, markup=False)


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
        _assignments(env_arg),
        reference=reference or "",
    )
    return Study(comparison.name, (comparison,))


@app.command()
def replay(
    run: Annotated[Path, typer.Argument(help="A run's folder, as OUT/runs/natural/seed-0.")],
) -> None:
    """Re-execute a run from its seed and actions; fail unless every number is the same.

    Mixtures, losses and rewards of each decision and the final test losses are compared bit for
    bit. Exit code 1 says where they first differ, or that the corpus is another one.

    \b
    mixgym replay out/runs/natural/seed-0
    """
    from mixgym.compare.replay import replay_run

    result = replay_run(run)
    if result.note:
        errors.print(f"note: {result.note}", markup=False, highlight=False)
    if result.difference is not None:
        raise MixgymError(f"{run} does not replay: {result.difference}")
    console.print(
        f"{run}: {result.decisions} decisions replayed, objective test loss "
        f"{result.objective_test_loss!r} nats/byte, all equal",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def plot(
    out: Annotated[Path, typer.Argument(help="The --out of a comparison.")],
) -> None:
    """Draw a comparison's tables, plots and report anew from its CSV files.

    \b
    mixgym plot out
    """
    from mixgym.compare.study import print_tables, redraw

    result = redraw(out)
    print_tables(result, console)
    console.print(f"report: {result.report}", highlight=False, soft_wrap=True, markup=False)


@app.command()
def doctor(
    smoke: Annotated[
        bool, typer.Option("--smoke/--no-smoke", help="Train two real steps at the end.")
    ] = True,
) -> None:
    """Check this installation; exit code 1 if something is wrong, with what to do about it."""
    from mixgym.compare.doctor import examine

    colours = {"ok": "green", "note": "yellow", "problem": "red"}
    problems = 0
    for check in examine(smoke):
        problems += check.state == "problem"
        state = f"[{colours[check.state]}]{check.state:<7}[/]"
        console.print(f"{state} {escape(f'{check.name}: {check.detail}')}", highlight=False)
        if check.remedy:
            console.print(f"        {escape(check.remedy)}", style="dim", highlight=False)
    if problems:
        raise MixgymError(f"{problems} problem{'s' if problems > 1 else ''} found, see above")
    console.print("everything works", style="green")


if __name__ == "__main__":
    main()

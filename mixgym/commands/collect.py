"""`mixgym collect` and `mixgym trajectories`; nothing heavy is imported before they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mixgym.errors import MixgymError

_EnvArguments = Annotated[
    list[str] | None,
    typer.Option(
        "--env-arg",
        metavar="KEY=YAML",
        help="Argument of the environment, e.g. decisions=10 or 'limit={recipes: 40000}'. Repeat.",
    ),
]
_Dataset = Annotated[
    Path, typer.Argument(help="The --out of mixgym collect, or a dataset's folder.", metavar="DIR")
]


def register(app: typer.Typer) -> None:
    """Add both commands to the `mixgym` command."""
    app.command()(collect)
    trajectories = typer.Typer(
        no_args_is_help=True,
        help="Show, score and learn from logged trajectories.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    trajectories.command()(show)
    trajectories.command()(score)
    trajectories.command("evaluate")(evaluate_offline)
    trajectories.command("explain")(explain)
    app.add_typer(trajectories, name="trajectories")


def collect(
    env: Annotated[str, typer.Argument(help="Environment; mixgym/ may be left out.")],
    episodes: Annotated[int, typer.Option("--episodes", help="Whole episodes, in total.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for everything; new or empty.")],
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
    env_arg: _EnvArguments = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Processes \\[default: one a CPU].")
    ] = None,
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

    errors = Console(stderr=True)
    try:
        with JobsProgress(errors, episodes, noun="episodes", each=False) as progress:
            folder = run(
                env,
                behaviour,
                episodes,
                out,
                seed=seed,
                env_arguments=_assignments(env_arg),
                dataset_id=dataset_id,
                datasets_path=datasets_path,
                workers=workers,
                ray=ray,
                resume=resume,
                on_event=progress,
            )
    except KeyboardInterrupt:
        raise MixgymError(
            f"interrupted: finished episodes are kept in {out}; rerun the same command with "
            "--resume to go on"
        ) from None
    _print(load_trajectories(folder))
    Console().print(f"dataset: {folder}", highlight=False, soft_wrap=True, markup=False)


def show(
    dataset: _Dataset,
    figure: Annotated[
        Path | None,
        typer.Option("--figure", help="Draw mean mixtures by rising and falling reward (PNG)."),
    ] = None,
    baseline: Annotated[
        str,
        typer.Option(
            "--baseline", help="What a reward rises above: decision (its mean over episodes), zero."
        ),
    ] = "decision",
) -> None:
    """Check a dataset and show what its behaviours returned.

    \b
    mixgym trajectories show random
    mixgym trajectories show random --figure random.png
    """
    from mixgym.trajectories import load_trajectories
    from mixgym.trajectories.show import draw_split

    data = load_trajectories(dataset)
    _print(data)
    if figure is not None:
        draw_split(data, figure, baseline)
        Console().print(f"figure: {figure}", highlight=False, soft_wrap=True, markup=False)


def score(
    random: Annotated[Path, typer.Option("--random", help="Dataset whose mean return scores 0.")],
    expert: Annotated[Path, typer.Option("--expert", help="Dataset whose mean return scores 100.")],
    datasets: Annotated[
        list[Path] | None, typer.Argument(help="Further datasets to score.", metavar="DIR")
    ] = None,
) -> None:
    """Set reference scores: the mean returns of a random and an expert dataset, in all of them.

    \b
    mixgym trajectories score medium --random random --expert expert
    """
    from mixgym.trajectories import load_trajectories, set_reference_scores

    low, high = set_reference_scores(datasets or [], random=random, expert=expert)
    Console().print(f"random {low:.4f}, expert {high:.4f}", highlight=False)
    every: list[Path] = [random, *(datasets or []), expert]
    for path in dict.fromkeys(every):
        _print(load_trajectories(path))


def evaluate_offline(
    policy: Annotated[Path, typer.Argument(help="The --out of mixgym train.", metavar="POLICY")],
    dataset: Annotated[
        list[Path], typer.Option("--dataset", help="As it was given to mixgym train. Repeat.")
    ],
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            help="Gradient steps a fit \\[default: 100 a decision of an episode, at least 2000].",
        ),
    ] = None,
    replicates: Annotated[
        int, typer.Option("--replicates", help="Bootstrap samples of the held-out episodes.")
    ] = 20,
    seed: Annotated[int, typer.Option("--seed", help="Of fits and bootstrap.")] = 0,
) -> None:
    """Estimate from held-out trajectories what a policy would return (fitted Q evaluation).

    \b
    mixgym trajectories evaluate policy --dataset random --dataset heuristic
    """
    from mixgym.trajectories.evaluation import evaluate_saved

    result = evaluate_saved(policy, dataset, steps=steps, replicates=replicates, seed=seed)
    table = Table(title=f"{policy}: {result.episodes} held-out episodes, gamma {result.gamma}")
    for heading in ("", "return", "95 % interval"):
        table.add_column(heading, justify="left" if not heading else "right")
    for label, (value, low, high) in result.rows().items():
        interval = "" if low is None else f"{low:.4f} to {high:.4f}"
        table.add_row(label, f"{value:.4f}", interval)
    Console().print(table)


def explain(
    policy: Annotated[Path, typer.Argument(help="The --out of mixgym train.", metavar="POLICY")],
    dataset: Annotated[
        list[Path], typer.Option("--dataset", help="As it was given to mixgym train. Repeat.")
    ],
    figure: Annotated[
        Path | None,
        typer.Option("--figure", help="Draw its mixtures by decision and what moves them (PNG)."),
    ] = None,
    states: Annotated[
        int, typer.Option("--states", help="Logged states that responses are averaged over.")
    ] = 200,
    seed: Annotated[int, typer.Option("--seed", help="Of the draw of states.")] = 0,
) -> None:
    """Show what a policy has learned: which domains it raises when, and what moves it.

    It acts in the states of held-out episodes; then each feature of a domain is raised by one
    standard deviation, and the domain's weight is compared. No language model is run.

    \b
    mixgym trajectories explain policy --dataset logged --figure policy.png
    """
    from mixgym.trajectories.explain import draw_explanation, explain_saved

    found = explain_saved(policy, dataset, states=states, seed=seed)
    last = len(found.mixtures) - 1
    table = Table(title=f"{policy}: mean mixture", box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("domain")
    moments = {"first": 0, "middle": last // 2, "last": last}
    for heading in ("natural", *moments):
        table.add_column(heading, justify="right")
    for k, domain in enumerate(found.domains):
        weights = (found.natural[k], *(found.mixtures[t, k] for t in moments.values()))
        table.add_row(domain, *(f"{weight:.3f}" for weight in weights))
    console = Console()
    console.print(table)
    table = Table(title="log-odds, feature one deviation higher", box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("feature")
    for heading in ("deviation", "mean", "least", "most"):
        table.add_column(heading, justify="right")
    for i in found.ranked():
        row = found.responses[i]
        cells = (row.mean(), row.min(), row.max())
        table.add_row(
            found.features[i], f"{found.deviations[i]:.3g}", *(f"{x:+.3f}" for x in cells)
        )
    console.print(table)
    if figure is not None:
        draw_explanation(found, figure, f"{policy.name}: weights in logged states")
        console.print(f"figure: {figure}", highlight=False, soft_wrap=True, markup=False)


def _print(data: Any) -> None:
    from mixgym.trajectories.show import summarise

    title = f"{data.dataset_id} on {data.env}, corpus {data.corpus_hash[:12]}"
    # Narrow, so that no figure is cut off at 80 columns.
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("behaviour", no_wrap=True)
    for heading in ("episodes", "decisions", "return", "best", "score", "movement"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in summarise(data):
        spread = f" ± {row.deviation:.4f}" if row.deviation == row.deviation else ""
        table.add_row(
            row.behaviour,
            str(row.episodes),
            f"{row.decisions:,}",
            f"{row.mean:.4f}{spread}",
            f"{row.best:.4f}",
            "" if row.score is None else f"{row.score:.1f}",
            f"{row.movement:.3f}",
        )
    cost = data.cost
    table.caption = f"collected with {cost['tokens']:,.0f} LM tokens, {cost['seconds']:,.0f} s"
    Console().print(table)


def _assignments(texts: list[str] | None) -> dict[str, Any]:
    from mixgym.experiment.request import parse_assignment

    return dict(parse_assignment(text) for text in texts or [])

"""`mixgym trajectories`; nothing heavy is imported before its commands run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from mixgym.commands.base import HELP, Policy, say, stdout

trajectories = typer.Typer(
    no_args_is_help=True,
    help="Show, score and learn from logged trajectories.",
    context_settings=HELP,
)

DatasetFolder = Annotated[
    Path, typer.Argument(help="The --out of mixgym collect, or a dataset's folder.", metavar="DIR")
]

Datasets = Annotated[
    list[Path], typer.Option("--dataset", help="As it was given to mixgym train. Repeat.")
]


@trajectories.command()
def show(
    dataset: DatasetFolder,
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
    print_summary(data)
    if figure is not None:
        draw_split(data, figure, baseline)
        say(f"figure: {figure}")


@trajectories.command()
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
    say(f"random {low:.4f}, expert {high:.4f}")
    every: list[Path] = [random, *(datasets or []), expert]
    for path in dict.fromkeys(every):
        print_summary(load_trajectories(path))


@trajectories.command("evaluate")
def evaluate_offline(
    policy: Policy,
    dataset: Datasets,
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
    from mixgym.trajectories.evaluation import evaluate_policy_offline, offline_policy

    _, learned, held_out = offline_policy(policy, dataset)
    result = evaluate_policy_offline(
        learned, held_out, steps=steps, replicates=replicates, seed=seed
    )
    table = Table(title=f"{policy}: {result.episodes} held-out episodes, gamma {result.gamma}")
    for heading in ("", "return", "95 % interval"):
        table.add_column(heading, justify="left" if not heading else "right")
    for label, (value, low, high) in result.rows().items():
        interval = "" if low is None else f"{low:.4f} to {high:.4f}"
        table.add_row(label, f"{value:.4f}", interval)
    stdout().print(table)


@trajectories.command()
def explain(
    policy: Policy,
    dataset: Datasets,
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
    from mixgym.trajectories.evaluation import offline_policy
    from mixgym.trajectories.explain import draw_explanation, explain_policy

    data, learned, held_out = offline_policy(policy, dataset)
    found = explain_policy(learned, data[0], held_out, states=states, seed=seed)
    last = len(found.mixtures) - 1
    table = Table(title=f"{policy}: mean mixture", box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("domain")
    moments = {"first": 0, "middle": last // 2, "last": last}
    for heading in ("natural", *moments):
        table.add_column(heading, justify="right")
    for k, domain in enumerate(found.domains):
        weights = (found.natural[k], *(found.mixtures[t, k] for t in moments.values()))
        table.add_row(domain, *(f"{weight:.3f}" for weight in weights))
    console = stdout()
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
        say(f"figure: {figure}")


def print_summary(data: Any) -> None:
    """Print the table of what a dataset's behaviours returned."""
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
    stdout().print(table)

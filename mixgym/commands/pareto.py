"""`mixgym pareto`; nothing heavy is imported before it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from mixgym.commands.base import ComparisonFolder, say, stdout

if TYPE_CHECKING:
    from mixgym.compare.pareto import ParetoSet


def pareto(
    out: ComparisonFolder,
    term: Annotated[
        list[str] | None,
        typer.Option("--term", metavar="NAME", help="A reward term \\[default: all]. Repeat."),
    ] = None,
    reference: Annotated[
        list[float] | None,
        typer.Option(
            "--reference",
            metavar="RETURN",
            help="The hypervolume's reference point, once a term \\[default: the worst arm's].",
        ),
    ] = None,
) -> None:
    """Show which arms of a comparison are Pareto-optimal in the returns of its reward terms.

    Returns are undiscounted, means over the seeds, and larger is better. Writes pareto.csv and
    pareto.png, of the first two terms, into OUT. Hypervolumes compare only with the same terms
    and the same reference point.

    \b
    mixgym compare mo-NanoPretrain-v0 --agent natural --agent uniform --out out
    mixgym pareto out
    mixgym pareto out --term progress --term stability --reference 0 --reference -5
    """
    import numpy as np

    from mixgym.compare.pareto import pareto_set, write_table
    from mixgym.compare.study import read_study
    from mixgym.plotting.pareto import pareto_figure
    from mixgym.plotting.style import save

    console, study = stdout(), read_study(out)
    for comparison in study.comparisons:
        found = pareto_set(study, comparison, out, term or (), reference)
        console.print(_table(found))
        prefix = "" if study.single else f"{comparison.name}-"
        write_table(out / f"{prefix}pareto.csv", found)
        picture = out / f"{prefix}pareto.png"
        points = np.array([arm.returns[:2] for arm in found.arms])
        front = np.array([arm.on_front for arm in found.arms])
        labels, axes = [arm.label for arm in found.arms], (found.terms[0], found.terms[1])
        save(pareto_figure(points, labels, front, axes, found.reference[:2], found.name), picture)
        say(f"picture: {picture}")


def _table(found: ParetoSet) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=found.name, title_justify="left")
    table.add_column("arm")
    for heading in (*found.terms, "adds", "front", "seeds"):
        table.add_column(escape(heading), justify="right")
    for arm in found.arms:
        seeds = f"{arm.seeds}, {arm.diverged} diverged" if arm.diverged else f"{arm.seeds}"
        returns = (f"{value:.4f}" for value in arm.returns)
        front = "yes" if arm.on_front else ""
        table.add_row(escape(arm.label), *returns, f"{arm.contribution:.3g}", front, seeds)
    origin = ", ".join(f"{value:.4g}" for value in found.reference)
    caption = (
        f"Mean returns of the reward terms. Hypervolume {found.hypervolume:.4g} above ({origin})."
    )
    for term, arms in found.left_out.items():
        caption += f"\n{term} is left out: not measured for {', '.join(arms)}."
    table.caption, table.caption_justify = escape(caption), "left"
    return table

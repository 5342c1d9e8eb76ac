"""Draw what `mixgym compare` left: a run as its environment's `render` would, or chosen arms.

python docs/images.py run runs/mine/runs/MicroTarget-v0/related-to-target/seed-0 picture.png
python docs/images.py arms runs/mine MicroTarget-v0 picture.png --reference uniform \\
    --arms sac-holistic sac-progress
python docs/images.py reported runs/mine picture.png --quantity overall --reference natural \\
    --arms cql naive
python docs/images.py probes runs/mine MicroTarget-v0 picture.png --reference uniform \\
    --arms sac-progress natural
python docs/images.py mixtures runs/mine MicroTarget-v0 picture.png --arms sac-progress
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.image import imsave

from mixgym.compare.figures import difference_rows, final_losses
from mixgym.compare.probing import TABLE, ProbeRow
from mixgym.compare.reported import OVERALL, REPORTED, ReportedRow
from mixgym.compare.summary import SUMMARY, SummaryRow, read_rows
from mixgym.experiment.runfolder import read_metrics
from mixgym.plotting.episode import episode_frame
from mixgym.plotting.forest import ForestRow, forest_figure
from mixgym.plotting.history import EpisodeHistory
from mixgym.plotting.river import rivers_figure
from mixgym.plotting.style import save


def history(run: Path) -> EpisodeHistory:
    """Return the history of the run in the folder `run`, from its metrics.csv."""
    config = json.loads((run / "config.json").read_text())
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = [column.split(".", 1)[1] for column in rows[0] if column.startswith("mixture.")]

    def values(row: dict[str, str], block: str) -> np.ndarray:
        cells = (row[f"{block}.{name}"] for name in names)
        return np.array([float(cell) if cell else np.nan for cell in cells])

    return EpisodeHistory(
        names=names,
        steps=[int(row["step"]) for row in rows],
        mixtures=[values(row, "mixture") for row in rows],
        train_losses=[values(row, "train_loss") for row in rows],
        objective=[float(row["objective_validation_loss"]) for row in rows],
        total_steps=int(rows[-1]["step"]),
        title=f"{config['env']}, {run.parent.name}",
    )


def differences(out: Path, comparison: str, arms: list[str], reference: str) -> list[ForestRow]:
    """Return the arms' paired differences to `reference`, from the folder's summary.csv.

    Raises:
        ValueError: an arm has no seed in common with the reference.
    """
    summary = read_rows(out / SUMMARY, SummaryRow)
    loss = final_losses([row for row in summary if row.comparison == comparison])
    rows = difference_rows(arms, reference, loss)
    if missing := set(arms) - {row.label for row in rows} - {reference}:
        raise ValueError(f"{sorted(missing)} and {reference!r} share no seed in {out}")
    return rows


def reported(out: Path, quantity: str, arms: list[str], reference: str) -> list[ForestRow]:
    """Return the arms' paired differences of what was reported, in every comparison of a suite.

    Raises:
        ValueError: an arm shares no seed with the reference in any comparison.
    """
    values: dict[str, dict[tuple[str, int], float]] = {}
    for row in read_rows(out / REPORTED, ReportedRow):
        if row.quantity == quantity:
            values.setdefault(row.comparison, {})[row.agent, row.seed] = row.value
    return grouped(values, arms, reference, out)


def probes(out: Path, comparison: str, arms: list[str], reference: str) -> list[ForestRow]:
    """Return the arms' paired differences in bits a byte, on every probe of a comparison.

    Raises:
        ValueError: an arm shares no seed with the reference.
    """
    values: dict[str, dict[tuple[str, int], float]] = {}
    for row in read_rows(out / TABLE, ProbeRow):
        if row.comparison == comparison:
            values.setdefault(row.probe, {})[row.agent, row.seed] = row.bits_per_byte
    return grouped(values, arms, reference, out)


def grouped(
    values: dict[str, dict[tuple[str, int], float]], arms: list[str], reference: str, out: Path
) -> list[ForestRow]:
    """Return the arms' paired differences within each group; a colour is an arm's in all of them.

    Raises:
        ValueError: an arm shares no seed with the reference in any group.
    """
    drawn: list[ForestRow] = []
    missing = set(arms) - {reference}
    for name, own in values.items():
        found = difference_rows(arms, reference, own)
        missing -= {row.label for row in found}
        drawn += [replace(row, label=f"{name}: {row.label}", arm=row.label) for row in found]
    if missing:
        raise ValueError(f"{sorted(missing)} and {reference!r} share no seed in {out}")
    return drawn


def mixtures(
    out: Path, comparison: str, arms: list[str], seed: int
) -> tuple[list[tuple[str, np.ndarray, np.ndarray]], tuple[str, ...]]:
    """Return each arm's (label, steps, mixtures) in the run of `seed`, and the domains' names."""
    runs = {arm: read_metrics(out / f"runs/{comparison}/{arm}/seed-{seed}") for arm in arms}
    drawn = [(arm, run.step, run.mixture) for arm, run in runs.items()]
    return drawn, next(iter(runs.values())).names


def main() -> None:
    """Draw one picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    run = kinds.add_parser("run", help="a run")
    run.add_argument("run", type=Path)
    run.add_argument("picture", type=Path)
    of_one = {
        "arms": "paired differences of chosen arms",
        "probes": "bits a byte of chosen arms on every probe",
    }
    for kind, text in of_one.items():
        chosen = kinds.add_parser(kind, help=text)
        chosen.add_argument("out", type=Path)
        chosen.add_argument("comparison")
        chosen.add_argument("picture", type=Path)
        chosen.add_argument("--reference", required=True)
        chosen.add_argument("--arms", nargs="+", required=True)
    further = kinds.add_parser("reported", help="a reported quantity in all comparisons of a suite")
    further.add_argument("out", type=Path)
    further.add_argument("picture", type=Path)
    further.add_argument("--quantity", default=OVERALL)
    further.add_argument("--reference", required=True)
    further.add_argument("--arms", nargs="+", required=True)
    rivers = kinds.add_parser("mixtures", help="what chosen arms trained on")
    rivers.add_argument("out", type=Path)
    rivers.add_argument("comparison")
    rivers.add_argument("picture", type=Path)
    rivers.add_argument("--seed", type=int, default=0)
    rivers.add_argument("--arms", nargs="+", required=True)
    options = parser.parse_args()
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    if options.kind == "run":
        imsave(options.picture, episode_frame(history(options.run)))
    elif options.kind == "mixtures":
        drawn, names = mixtures(options.out, options.comparison, options.arms, options.seed)
        save(rivers_figure(drawn, names, f"seed {options.seed}"), options.picture)
    elif options.kind == "reported":
        rows = reported(options.out, options.quantity, options.arms, options.reference)
        heading = f"{options.out.name}: {options.quantity}"
        figure = forest_figure(rows, options.reference, heading, options.quantity, True)
        save(figure, options.picture)
    elif options.kind == "probes":
        rows = probes(options.out, options.comparison, options.arms, options.reference)
        heading = f"{options.comparison}: report items"
        save(forest_figure(rows, options.reference, heading, "bits/byte"), options.picture)
    else:
        rows = differences(options.out, options.comparison, options.arms, options.reference)
        save(forest_figure(rows, options.reference, options.comparison), options.picture)
    print(options.picture)


if __name__ == "__main__":
    main()

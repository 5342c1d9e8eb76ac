"""Draw a finished run of `mixgym compare` as its environment's `render` would.

python docs/images.py runs/mine/runs/MicroTarget-v0/related-to-target/seed-0 picture.png
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from matplotlib.image import imsave

from mixgym.plotting.episode import episode_frame
from mixgym.plotting.history import EpisodeHistory


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


def main() -> None:
    """Draw one run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    imsave(options.picture, episode_frame(history(options.run)))
    print(options.picture)


if __name__ == "__main__":
    main()

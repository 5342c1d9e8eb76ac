"""RegMix's published runs, where they are; they are no part of this repository."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

VARIABLE = "MIXGYM_REGMIX_DATA"


def published(part: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Mixtures (n, 17), losses (n, 13) and the losses' names of `part`, "train" or "test".

    512 and 256 models of 1 M parameters on 17 domains of the Pile (Sea AI Lab, MIT licence).
    """
    folder = Path(os.environ.get(VARIABLE, ""))
    if VARIABLE not in os.environ or not folder.is_dir():
        pytest.skip(f"RegMix's published losses are not here: set {VARIABLE} to their folder")
    _, mixtures = _read(folder / f"{part}_mixture_1m.csv")
    names, losses = _read(folder / f"{part}_pile_loss_1m.csv")
    return mixtures, losses, names


def pile_cc(names: list[str]) -> int:
    """The column of the losses that RegMix predicts."""
    return next(i for i, name in enumerate(names) if "pile_cc" in name)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's correlation."""
    return float(spearmanr(first, second).statistic)  # type: ignore[union-attr]


def _read(path: Path) -> tuple[list[str], np.ndarray]:
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    return header[1:], np.array([row[1:] for row in rows], dtype=np.float64)

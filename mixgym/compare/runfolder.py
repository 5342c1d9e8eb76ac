"""A run's folder on disk: what is in it, how it is written, how it is read back.

config.json and metrics.csv and actions.npy may exist while a run is under way or after a crash;
result.json is written last, so its existence means that the run is finished and whole.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from mixgym.errors import MixgymError
from mixgym.experiment.request import RunRequest
from mixgym.files import atomic_path, read_json, write_json

CONFIG = "config.json"
METRICS = "metrics.csv"
ACTIONS = "actions.npy"
RESULT = "result.json"
_PARTIAL = ".metrics.csv.partial"
SCALARS = (
    "decision",
    "step",
    "objective_validation_loss",
    "reward",
    "train_seconds",
    "wall_seconds",
)
PER_DOMAIN = ("mixture", "train_loss", "validation_loss")


def finished_result(directory: Path, request: RunRequest) -> dict[str, Any] | None:
    """The stored result if `directory` holds this very run, finished; None if it must be run.

    Raises `MixgymError` if the folder holds a finished run of another request.
    """
    if not (directory / RESULT).exists():
        return None
    differences = request.differences(read_json(directory / CONFIG))
    if differences:
        raise MixgymError(
            f"{directory} holds a finished run of something else ({'; '.join(differences)}); "
            "choose another --out, or move that folder away"
        )
    return read_json(directory / RESULT)


class MetricsWriter:
    """Appends a row a decision to a partial file, flushed each time; renamed when closed whole."""

    def __init__(self, directory: Path, names: Sequence[str]) -> None:
        self._directory = directory
        columns = [*SCALARS, *(f"{kind}.{name}" for kind in PER_DOMAIN for name in names)]
        self._file: TextIO = (directory / _PARTIAL).open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(columns)

    def append(self, scalars: Mapping[str, float], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write one row; `arrays` holds one length-K array for each of `PER_DOMAIN`."""
        row = [number(scalars[name]) for name in SCALARS]
        row += [number(x) for kind in PER_DOMAIN for x in np.asarray(arrays[kind], np.float64)]
        self._writer.writerow(row)
        self._file.flush()

    def finish(self) -> None:
        """Close the file and give it its final name."""
        self._file.close()
        (self._directory / _PARTIAL).replace(self._directory / METRICS)

    def abandon(self) -> None:
        """Close the file and leave what was written under its partial name."""
        self._file.close()


def number(value: float) -> str:
    """A number as CSV text: exact (shortest that reads back equal), empty for NaN and infinity."""
    value = float(value)
    if not math.isfinite(value):
        return ""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


@dataclass(frozen=True)
class Metrics:
    """metrics.csv as arrays: scalars of shape (T,), per-domain values of shape (T, K).

    T is decisions + 1: row 0 is the state after reset. NaN where nothing was measured.
    """

    names: tuple[str, ...]
    scalars: dict[str, NDArray[np.float64]]
    mixture: NDArray[np.float64]
    train_loss: NDArray[np.float64]
    validation_loss: NDArray[np.float64]

    @property
    def step(self) -> NDArray[np.float64]:
        """LM steps done at each row."""
        return self.scalars["step"]

    @property
    def objective(self) -> NDArray[np.float64]:
        """Validation loss of the objective at each row, nats a byte."""
        return self.scalars["objective_validation_loss"]


def read_metrics(path: Path) -> Metrics:
    """Read a run's metrics.csv; `MixgymError` if it is missing or not one."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        header, body = rows[0], rows[1:]
        table = np.array([[float(x) if x else math.nan for x in row] for row in body])
        column = {name: table[:, index] for index, name in enumerate(header)}
        names = tuple(x.removeprefix("mixture.") for x in header if x.startswith("mixture."))
        per_domain = {
            kind: np.stack([column[f"{kind}.{name}"] for name in names], axis=1)
            for kind in PER_DOMAIN
        }
        return Metrics(names, {name: column[name] for name in SCALARS}, **per_domain)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise MixgymError(f"{path} cannot be read ({error}); rerun that run") from error


def write_actions(directory: Path, actions: Sequence[NDArray[np.float32]]) -> None:
    """Write actions.npy, float32 of shape (decisions, dim)."""
    with atomic_path(directory / ACTIONS) as temporary, temporary.open("wb") as file:
        np.save(file, np.stack(actions).astype(np.float32), allow_pickle=False)


def read_actions(directory: Path) -> NDArray[np.float32]:
    """Read actions.npy; `MixgymError` if it is missing or damaged."""
    try:
        return np.load(directory / ACTIONS, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise MixgymError(f"{directory / ACTIONS} cannot be read ({error})") from error


def write_result(directory: Path, result: Mapping[str, Any]) -> None:
    """Write result.json, the mark of a finished run; NaN and infinity become null."""
    write_json(directory / RESULT, plain(result))


def plain(value: Any) -> Any:
    """`value` with NumPy scalars and arrays as Python's, and non-finite numbers as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

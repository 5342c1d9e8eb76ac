"""A run's folder on disk: what is in it, how it is written, how it is read back.

config.json and metrics.csv and actions.npy may exist while a run is under way or after a crash;
result.json is written last, so its existence means that the run is finished and whole. It carries
digests of the others and one of itself, so that no changed number is ever read as the run's; those
of older versions carry none and are read as they are.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TextIO

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from mixgym.errors import DamagedFileError, MixgymError
from mixgym.experiment.csvtext import number
from mixgym.experiment.outfolder import CONFIG
from mixgym.experiment.request import RunConfig, RunRequest
from mixgym.files import Finite, atomic_path, parse_json, read_bytes, read_json, write_json

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
_REMEDY = "restore it from a copy, or delete the run's folder and run it again (--resume)"


class Spent(TypedDict):
    """An account of a run's ledger."""

    tokens: int
    flops: Finite
    seconds: Finite


_Return = TypedDict("_Return", {"return": Finite | None})  # no name that a class could have


class RunResult(_Return):
    """A run's result.json. Losses are nats a byte; None is a number that is not finite."""

    env: str
    agent: str
    seed: int
    objective_test_loss: Finite | None
    worst_domain: str | None
    worst_domain_test_loss: Finite | None
    domain_test_loss: dict[str, Finite | None]
    final_objective_validation_loss: Finite | None
    term_returns: NotRequired[dict[str, Finite | None]]
    decisions: int
    steps: int
    diverged: bool
    ledger: dict[str, Spent]
    seconds: Finite
    ms_per_step: Finite | None
    bare_ms_per_step: Finite | None
    overhead: Finite | None
    corpus_hash: str
    configuration: NotRequired[str]
    version: str
    report: NotRequired[dict[str, Any]]
    #: SHA-256 of the run's other files by name.
    files: NotRequired[dict[str, str]]


def read_config(directory: Path, result: RunResult | None = None) -> RunConfig:
    """Read a run's config.json.

    Args:
        directory: of the run.
        result: of the run, with whose digest it must agree; None for its own digest alone.

    Raises:
        DamagedFileError: missing, damaged or changed.
    """
    path = directory / CONFIG
    return parse_json(_content(path, result), path, RunConfig, remedy=_REMEDY)


def read_result(directory: Path) -> RunResult:
    """Read a run's result.json; `DamagedFileError` if it is missing, damaged or was changed."""
    return read_json(directory / RESULT, RunResult, remedy=_REMEDY)


def is_finished(directory: Path) -> bool:
    """Whether the folder holds a finished run."""
    return (directory / RESULT).exists()


def finished_result(directory: Path, request: RunRequest) -> RunResult | None:
    """The stored result if `directory` holds this very run, finished; None if it must be run.

    Raises `MixgymError` if the folder holds a finished run of another request, or a file of it
    cannot be trusted.
    """
    if not is_finished(directory):
        return None
    result = read_result(directory)
    differences = request.differences(read_config(directory, result))
    if differences:
        raise MixgymError(
            f"{directory} holds a finished run of something else ({'; '.join(differences)}); "
            "choose another --out, or move that folder away"
        )
    for name in result.get("files", {}):
        _content(directory / name, result)
    return result


def _content(path: Path, result: RunResult | None) -> bytes:
    """The bytes of a run's file, which must be those that its result was written with."""
    content = read_bytes(path, remedy=_REMEDY)
    known = {} if result is None else result.get("files", {})
    if path.name in known and hashlib.sha256(content).hexdigest() != known[path.name]:
        raise DamagedFileError(f"{path} was changed after the run was finished: {_REMEDY}")
    return content


class MetricsWriter:
    """Appends a row a decision to a partial file, flushed each time; renamed when closed whole."""

    def __init__(self, directory: Path, names: Sequence[str]) -> None:
        self._directory = directory
        columns = [*SCALARS, *(f"{kind}.{name}" for kind in PER_DOMAIN for name in names)]
        # What stands there, of a killed process or not, is replaced: a link would be followed.
        (directory / _PARTIAL).unlink(missing_ok=True)
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


def read_metrics(directory: Path, result: RunResult | None = None) -> Metrics:
    """Read a run's metrics.csv.

    Args:
        directory: of the run.
        result: of the run, with whose digest it must agree; None to read it as it is.

    Raises:
        DamagedFileError: missing, changed, or not a metrics.csv.
    """
    path = directory / METRICS
    text = io.StringIO(_content(path, result).decode("utf-8", "replace"), newline="")
    try:
        rows = list(csv.reader(text))
        header, body = rows[0], rows[1:]
        table = np.array([[float(x) if x else math.nan for x in row] for row in body])
        column = {name: table[:, index] for index, name in enumerate(header)}
        names = tuple(x.removeprefix("mixture.") for x in header if x.startswith("mixture."))
        per_domain = {
            kind: np.stack([column[f"{kind}.{name}"] for name in names], axis=1)
            for kind in PER_DOMAIN
        }
        return Metrics(names, {name: column[name] for name in SCALARS}, **per_domain)
    except KeyError as error:
        raise DamagedFileError(f"{path} lacks the column {error}: {_REMEDY}") from error
    except (ValueError, IndexError, csv.Error) as error:
        raise DamagedFileError(f"{path} is no table of metrics ({error}): {_REMEDY}") from error


def write_actions(directory: Path, actions: Sequence[NDArray[np.float32]]) -> None:
    """Write actions.npy, float32 of shape (decisions, dim)."""
    with atomic_path(directory / ACTIONS) as temporary, temporary.open("wb") as file:
        np.save(file, np.stack(actions).astype(np.float32), allow_pickle=False)


def read_actions(directory: Path, result: RunResult | None = None) -> NDArray[np.float32]:
    """Read actions.npy, float32 of shape (decisions, dim).

    Args:
        directory: of the run.
        result: as of `read_metrics`.

    Raises:
        DamagedFileError: missing, changed, or not such an array.
    """
    path = directory / ACTIONS
    try:
        actions = np.load(io.BytesIO(_content(path, result)), allow_pickle=False)
    except DamagedFileError:
        raise
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise DamagedFileError(f"{path} is no array of actions ({error}): {_REMEDY}") from error
    if not isinstance(actions, np.ndarray) or actions.ndim != 2 or actions.dtype != np.float32:
        raise DamagedFileError(f"{path} is no float32 array of shape (decisions, dim): {_REMEDY}")
    if not len(actions) or not np.isfinite(actions).all():
        raise DamagedFileError(f"{path} has no action, or one that is not finite: {_REMEDY}")
    return actions


def write_result(directory: Path, result: Mapping[str, Any]) -> None:
    """Write result.json, the mark of a finished run; NaN and infinity become null.

    It carries a digest of itself and of the run's other files, which must stand already.
    """
    files = {
        name: hashlib.sha256((directory / name).read_bytes()).hexdigest()
        for name in (CONFIG, METRICS, ACTIONS)
    }
    write_json(directory / RESULT, plain({**result, "files": files}), digest=True)


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

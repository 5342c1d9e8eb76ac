"""Checkpoints of batched runs: safetensors and JSON, whole or not at all, never pickled."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict

from mixgym.errors import CheckpointError
from mixgym.files import read_json
from mixgym.lm.checkpoint import Identity, check_corpus, naming, plain
from mixgym.lm.checkpoint import save as write
from mixgym.lm.settings import GradientSettings, Settings
from mixgym.lm.training import Snapshot
from mixgym.tensors import read_tensors

if TYPE_CHECKING:
    from mixgym.corpus import Corpus
    from mixgym.lm.batched.run import BatchedRun

#: `run.json` says it beside its own version, so that the two kinds are not taken for one another.
FORMAT = "batched-1"
_REMEDY = "restore it from a copy"


class _Streams(TypedDict):
    seeds: list[int]
    corpus_hash: str
    drawn: list[list[int]]
    credit: list[list[float]]


class _Recorder(TypedDict):
    learning_rates: list[float]
    step: list[int]
    decision: list[int]
    diverged: list[bool]
    train_loss: list[list[float | None]]
    last_seen: list[list[int]]
    mixture: list[list[float]]
    norms: list[list[float | None]]


class _Ledger(TypedDict):
    tokens: list[list[int]]
    flops: list[list[float]]
    seconds: list[list[float]]


class _Scalars(TypedDict):
    seeds: list[int]
    recorder: _Recorder
    stream: _Streams
    ledger: _Ledger


class _Record(Identity):
    format: str
    gradients: dict[str, Any] | None
    precision: str
    scalars: _Scalars


def save(run: BatchedRun, path: str | Path) -> None:
    """Write `run` into the directory `path`, as `lm.checkpoint.save` does a single one."""
    identity = {
        "format": FORMAT,
        "corpus_hash": run.corpus.hash,
        "model_spec": run.model_spec,
        "model_config": run.config.to_dict(),
        "settings": asdict(run.settings),
        "total_steps": run.total_steps,
        "evaluation_seed": run.evaluation_seed,
        "gradients": asdict(run.gradients) if run.gradients else None,
        "precision": run.precision,
    }
    write(path, plain(identity), run.corpus.spec, run.state_dict())


def load(
    kind: type[BatchedRun],
    path: str | Path,
    corpus: Corpus,
    *,
    chunk: int | None = None,
    compiled: str = "auto",
) -> BatchedRun:
    """Restore the runs saved at `path`; they continue bit for bit.

    Args:
        kind: of run to make.
        path: the directory.
        corpus: what the runs were trained on (compared by content hash).
        chunk, compiled: as for `BatchedRun`.

    Raises:
        CheckpointError: nothing there, of another kind, or of another corpus.
        DamagedFileError: a file is not what was written.
    """
    folder = Path(path)
    try:
        found = read_json(folder / "run.json", remedy=_REMEDY)
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint at {folder}: it holds no run.json") from None
    written = found.get("format") if isinstance(found, dict) else None
    if written != FORMAT:
        raise CheckpointError(
            f"{folder} has checkpoint format {written!r}, batched runs have {FORMAT!r}: load "
            "single runs with TrainingRun.load"
        )
    record: _Record = read_json(folder / "run.json", _Record, remedy=_REMEDY)
    check_corpus(folder, record, corpus)
    entry, gradients = record["tensors"], record["gradients"]
    file = folder / Path(entry["file"]).name
    try:
        tensors = read_tensors(file, sha256=entry["sha256"], remedy=_REMEDY)
    except FileNotFoundError:
        raise CheckpointError(f"{file} is missing: {_REMEDY}") from None
    with naming(path):
        return kind(
            corpus,
            record["model_spec"],
            record["scalars"]["seeds"],
            total_steps=record["total_steps"],
            settings=Settings().updated(record["settings"]),
            evaluation_seed=record["evaluation_seed"],
            gradients=GradientSettings.from_plain(gradients) if gradients else None,
            precision=record["precision"],
            chunk=chunk,
            compiled=compiled,
            snapshot=Snapshot(
                record["model_config"], {"tensors": tensors, "scalars": record["scalars"]}
            ),
        )

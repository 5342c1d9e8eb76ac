"""Checkpoints of a training run: safetensors and JSON, whole or not at all, never pickled."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired

from typing_extensions import TypedDict

from mixgym.errors import CheckpointError, DamagedFileError
from mixgym.files import atomic_path, read_json, write_json
from mixgym.lm.recorder import RecorderState
from mixgym.lm.run import ModelRun
from mixgym.lm.settings import GradientSettings, Settings
from mixgym.tensors import read_tensors

if TYPE_CHECKING:
    import torch

    from mixgym.corpus import Corpus

FORMAT = 1

_REMEDY = "restore it from a copy"


class TensorFile(TypedDict):
    file: str
    sha256: str


class _Stream(TypedDict):
    seed: int
    corpus_hash: str
    drawn: list[int]
    credit: list[float]


class _Account(TypedDict):
    tokens: int
    flops: float
    seconds: float


class _Scalars(RecorderState):
    stream: _Stream
    ledger: dict[str, _Account]


class Identity(TypedDict):
    """What every checkpoint says of its runs."""

    corpus_hash: str
    corpus_spec: dict[str, Any]
    model_spec: str | dict[str, Any]
    model_config: dict[str, Any]
    settings: dict[str, Any]
    total_steps: int
    evaluation_seed: int
    tensors: TensorFile


class RunRecord(Identity):
    """`run.json`: the run's identity, the tensors' file, and its scalars."""

    format: int
    seed: int
    gradients: NotRequired[dict[str, Any] | None]
    text_sequences: NotRequired[int]
    scalars: _Scalars


@dataclass(frozen=True)
class SavedRun:
    """What a checkpoint holds.

    Attributes:
        record: its `run.json`.
        arguments: of `TrainingRun`, beside the corpus.
        state: of `TrainingRun.state_dict`.
    """

    record: RunRecord
    arguments: dict[str, Any]
    state: dict[str, Any]


def save(
    path: str | Path, identity: Mapping[str, Any], corpus_spec: Any, state: Mapping[str, Any]
) -> None:
    """Write a run into the directory `path`, replacing the checkpoint there only once complete.

    `run.json` names the tensor file it belongs to and carries its SHA-256, and one over itself; it
    is renamed into place last, so that an interrupted save leaves the previous checkpoint readable.

    Args:
        path: the directory.
        identity, state: of `TrainingRun`.
        corpus_spec: `spec` of the corpus.
    """
    from safetensors.torch import save as serialise

    folder = Path(path)
    content = serialise({k: v.cpu().contiguous() for k, v in state["tensors"].items()})
    digest = hashlib.sha256(content).hexdigest()
    # Named by content, so that no other state's file is ever overwritten.
    name = f"state-{digest[:16]}.safetensors"
    with atomic_path(folder / name) as temporary:
        temporary.write_bytes(content)
    record = {
        "format": FORMAT,
        **identity,
        "corpus_spec": corpus_spec,
        "tensors": {"file": name, "sha256": digest},
        "scalars": state["scalars"],
    }
    write_json(folder / "run.json", record, digest=True)
    for old in folder.glob("state-*.safetensors"):
        if old.name != name:
            old.unlink()


def load(path: str | Path, corpus: Corpus, expected: Mapping[str, Any]) -> SavedRun:
    """Read the checkpoint at `path`.

    Args:
        path: the directory.
        corpus: the corpus the run was trained on (compared by content hash).
        expected: values the checkpoint must have, by name.

    Raises:
        CheckpointError: nothing there, damaged, or of another corpus or configuration; the
            message names what differs.
    """
    record = read_record(path, corpus)
    for name, value in expected.items():
        wanted = plain(asdict(value) if is_dataclass(value) else value)  # pyright: ignore
        if wanted != record.get(name):
            raise CheckpointError(
                f"the checkpoint {path} has {name}={record.get(name)!r}, this run asks for "
                f"{wanted!r}: use the checkpoint's value, or another directory"
            )
    gradients = record.get("gradients")
    with naming(path):
        arguments = {
            "model": record["model_spec"],
            "total_steps": record["total_steps"],
            "seed": record["seed"],
            "settings": Settings().updated(record["settings"]),
            "evaluation_seed": record["evaluation_seed"],
            "gradients": GradientSettings.from_plain(gradients) if gradients else None,
            "text_sequences": record.get("text_sequences", 0),
        }
    state = {"tensors": _tensors(Path(path), record), "scalars": record["scalars"]}
    return SavedRun(record, arguments, state)


def load_weights(run: ModelRun, path: str | Path, corpus: Corpus | None = None) -> None:
    """Give `run` the weights of the checkpoint at `path`, and nothing else of it.

    Args:
        run: of the same model.
        path: the directory.
        corpus: what the checkpoint was trained on; the run's own by default.

    Raises:
        CheckpointError: as `load`, or a model of another configuration.
    """
    from mixgym.lm.state import copy_weights

    record = read_record(path, run.corpus if corpus is None else corpus)
    own, saved = (_architecture(c) for c in (run.model.config.to_dict(), record["model_config"]))
    if saved != own:
        different = sorted(k for k in own if own[k] != saved.get(k))
        raise CheckpointError(
            f"the checkpoint {path} holds a model of another configuration ({', '.join(different)}"
            " differ): give the environment the model it was made with"
        )
    tensors = _tensors(Path(path), record)
    with naming(path, record["tensors"]["file"]):
        copy_weights(dict(run.model.named_parameters()), tensors)
    run.refresh_norms()


def _architecture(config: dict[str, Any]) -> dict[str, Any]:
    # A model that was restored states the dtype of its weights, a new one does not; and where its
    # files were found is no part of a model.
    return {k: v for k, v in plain(config).items() if k not in ("dtype", "_name_or_path")}


def read_record(path: str | Path, corpus: Corpus | None = None) -> RunRecord:
    """Return the `run.json` of the checkpoint at `path`, of `corpus` if that is given.

    Raises:
        CheckpointError: nothing there, damaged, of another format or another corpus.
    """
    folder = Path(path)
    if not (folder / "run.json").is_file():
        raise CheckpointError(
            f"no checkpoint at {folder}: it holds no run.json; give a folder that a run "
            "was saved to"
        )
    with naming(path):
        version = read_json(folder / "run.json", dict[str, Any], remedy=_REMEDY).get("format")
        if version != FORMAT:
            raise CheckpointError(
                f"{folder} has checkpoint format {version!r}, this version reads {FORMAT}"
            )
        record: RunRecord = read_json(folder / "run.json", RunRecord, remedy=_REMEDY)
    if corpus is not None:
        check_corpus(folder, record, corpus)
    return record


def check_corpus(folder: Path, record: Mapping[str, Any], corpus: Corpus) -> None:
    """Raise `CheckpointError` unless the checkpoint's `run.json`, `record`, is of `corpus`."""
    if record["corpus_hash"] != corpus.hash:
        raise CheckpointError(
            f"the checkpoint {folder} was trained on corpus {record['corpus_hash'][:12]} "
            f"({record['corpus_spec']}), the corpus given is {corpus.hash[:12]} ({corpus.spec}): "
            "load the corpus it was made with"
        )


def _tensors(folder: Path, record: RunRecord) -> dict[str, torch.Tensor]:
    entry = record["tensors"]
    file = folder / Path(entry["file"]).name
    remedy = f"{_REMEDY}, or with run.json, which holds its SHA-256"
    with naming(folder):
        if not file.is_file():
            raise CheckpointError(f"{file} is missing: {remedy}")
        return read_tensors(file, sha256=entry["sha256"], remedy=remedy)


@contextmanager
def naming(path: str | Path, files: str = "run.json") -> Iterator[None]:
    """Let an error in what is read from `files` of the checkpoint at `path` say so."""
    try:
        yield
    except DamagedFileError as error:
        raise CheckpointError(f"the checkpoint {path} is damaged: {error}") from error
    except (ValueError, CheckpointError) as error:
        if str(path) in str(error):
            raise
        raise CheckpointError(
            f"the checkpoint {path} is damaged in {files} ({error}): {_REMEDY}"
        ) from error


def plain(value: Any) -> Any:
    """Return `value` as it is after a way through JSON; what JSON does not know, as text."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)

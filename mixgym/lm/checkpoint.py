"""Checkpoints of a training run: safetensors and JSON, whole or not at all, never pickled."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixgym.errors import CheckpointError
from mixgym.files import atomic_path, read_json, write_json

if TYPE_CHECKING:
    import torch

    from mixgym.corpus import Corpus
    from mixgym.lm.training import TrainingRun

FORMAT = 1


def save(run: TrainingRun, path: str | Path) -> None:
    """Write `run` into the directory `path`, replacing the checkpoint there only once complete.

    `run.json` names the tensor file it belongs to and carries its SHA-256; it is renamed into
    place last, so that an interrupted save leaves the previous checkpoint readable.
    """
    from safetensors.torch import save as serialise

    folder = Path(path)
    state = run.state_dict()
    content = serialise({k: v.cpu().contiguous() for k, v in state["tensors"].items()})
    digest = hashlib.sha256(content).hexdigest()
    # Named by content, so that no other state's file is ever overwritten.
    name = f"state-{digest[:16]}.safetensors"
    with atomic_path(folder / name) as temporary:
        temporary.write_bytes(content)
    write_json(
        folder / "run.json",
        {
            "format": FORMAT,
            **identity(run),
            "corpus_spec": run.corpus.spec,
            "tensors": {"file": name, "sha256": digest},
            "scalars": state["scalars"],
        },
    )
    for old in folder.glob("state-*.safetensors"):
        if old.name != name:
            old.unlink()


def load(path: str | Path, corpus: Corpus, **expected: Any) -> TrainingRun:
    """Restore the run saved at `path`; it continues bit for bit.

    Args:
        path: the directory.
        corpus: the corpus the run was trained on (compared by content hash).
        expected: values the checkpoint must have, by name (`model_spec`, `seed`, `total_steps`,
            `evaluation_seed`, `settings`, `gradients`, `text_sequences`).

    Raises:
        CheckpointError: nothing there, damaged, or of another corpus or configuration; the
            message names what differs.
    """
    from mixgym.lm.settings import GradientSettings, Settings
    from mixgym.lm.training import TrainingRun

    record = _record(path, corpus)
    for name, value in expected.items():
        plain = asdict(value) if isinstance(value, (Settings, GradientSettings)) else value
        if _plain(plain) != record.get(name):
            raise CheckpointError(
                f"the checkpoint {path} has {name}={record.get(name)!r}, this run asks for "
                f"{_plain(plain)!r}: use the checkpoint's value, or another directory"
            )
    tensors = _tensors(Path(path), record)
    gradients = record.get("gradients")
    run = object.__new__(TrainingRun)
    run.__setstate__(
        {
            "corpus": corpus,
            "model_spec": record["model_spec"],
            "settings": Settings(**record["settings"]),
            "total_steps": record["total_steps"],
            "seed": record["seed"],
            "evaluation_seed": record["evaluation_seed"],
            "gradients": GradientSettings(**gradients) if gradients else None,
            "text_sequences": record.get("text_sequences", 0),
            "model_config": record["model_config"],
            "state": {"tensors": tensors, "scalars": record["scalars"]},
        }
    )
    return run


def load_weights(run: TrainingRun, path: str | Path, corpus: Corpus | None = None) -> None:
    """Give `run` the weights of the checkpoint at `path`, and nothing else of it.

    Args:
        run: of the same model.
        path: the directory.
        corpus: what the checkpoint was trained on; the run's own by default.

    Raises:
        CheckpointError: as `load`, or a model of another configuration.
    """
    import torch

    record = _record(path, run.corpus if corpus is None else corpus)
    own, saved = (_architecture(c) for c in (run.model.config.to_dict(), record["model_config"]))
    if saved != own:
        different = sorted(k for k in own if own[k] != saved.get(k))
        raise CheckpointError(
            f"the checkpoint {path} holds a model of another configuration ({', '.join(different)}"
            " differ): give the environment the model it was made with"
        )
    tensors = _tensors(Path(path), record)
    with torch.no_grad():
        for name, parameter in run.model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
    run.refresh_norms()


def _architecture(config: dict[str, Any]) -> dict[str, Any]:
    # A model that was restored states the dtype of its weights, a new one does not; and where its
    # files were found is no part of a model.
    return {k: v for k, v in _plain(config).items() if k not in ("dtype", "_name_or_path")}


def _record(path: str | Path, corpus: Corpus) -> dict[str, Any]:
    folder = Path(path)
    try:
        record = read_json(folder / "run.json")
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint at {folder}: it holds no run.json") from None
    except ValueError as error:
        raise CheckpointError(f"{folder / 'run.json'} is damaged ({error}): restore it") from None
    if record.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder} has checkpoint format {record.get('format')!r}, this version reads {FORMAT}"
        )
    if record["corpus_hash"] != corpus.hash:
        raise CheckpointError(
            f"the checkpoint {folder} was trained on corpus {record['corpus_hash'][:12]} "
            f"({record['corpus_spec']}), the corpus given is {corpus.hash[:12]} ({corpus.spec}): "
            "load the corpus it was made with"
        )
    return record


def _tensors(folder: Path, record: dict[str, Any]) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    file = folder / record["tensors"]["file"]
    if not file.is_file() or _sha256(file) != record["tensors"]["sha256"]:
        raise CheckpointError(
            f"{file} is missing or does not match its SHA-256: restore it from a copy"
        )
    return load_file(str(file))


def identity(run: TrainingRun) -> dict[str, Any]:
    """Return what makes two runs the same run, JSON-plain."""
    return {
        "corpus_hash": run.corpus.hash,
        "model_spec": _plain(run.model_spec),
        "model_config": _plain(run.model.config.to_dict()),
        "settings": _plain(asdict(run.settings)),
        "total_steps": run.total_steps,
        "seed": run.seed,
        "evaluation_seed": run.evaluation_seed,
        "gradients": _plain(asdict(run.gradients)) if run.gradients else None,
        "text_sequences": run.text_sequences,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

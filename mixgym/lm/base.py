"""Base checkpoints: models pretrained on part of a corpus once, kept, and continued from often."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import TypedDict

from mixgym.corpus import progress
from mixgym.corpus.cache import cache_root
from mixgym.corpus.load import load_corpus
from mixgym.corpus.once import fill_once
from mixgym.corpus.progress import Reporter
from mixgym.errors import CheckpointError, DamagedFileError, MixgymError
from mixgym.files import read_json, write_json
from mixgym.lm.checkpoint import load_weights, read_record
from mixgym.lm.maker import RunMaker
from mixgym.lm.models import ModelSpec, checkpoint_digest, model_config
from mixgym.lm.run import ModelRun
from mixgym.lm.settings import Settings, whole_number

if TYPE_CHECKING:
    from mixgym.corpus import Corpus

FORMAT = 1
"""Raise whenever the same specification gives another base."""

SAVE_EVERY = 100
"""Optimiser steps between two checkpoints of an unfinished base; part of what it is."""

#: Settings that change nothing but where and how fast, or only what is reported.
_NOT_IDENTITY = ("threads", "device", "loss_decay", "layers")


@dataclass(frozen=True)
class BaseSpec:
    """What a base is: a model trained from scratch on the natural mixture of some domains.

    Attributes:
        corpus, domains, tokenizer: see `load_corpus`.
        model: see `lm.models.model_config`.
        steps: optimiser steps.
        seed: of the run.
        settings: how it is trained.
    """

    corpus: str
    domains: tuple[str, ...]
    model: ModelSpec
    steps: int
    settings: Settings
    seed: int = 0
    tokenizer: str = "bytes"

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("seed", 0)):
            whole_number(f"base: {name}", getattr(self, name), least)

    def load_corpus(self, cache: Path | None = None) -> Corpus:
        """The text it is trained on."""
        return load_corpus(self.corpus, tokenizer=self.tokenizer, domains=self.domains, cache=cache)

    def identity(self, corpus: Corpus) -> dict[str, Any]:
        """Everything that decides the weights, JSON-plain; of a checkpoint its files' content.

        Raises `MixgymError` for a checkpoint without weights.
        """
        from mixgym.lm.precision import resolve_precision

        config = model_config(self.model, corpus.tokenizer.vocab_size, self.settings.context)
        precision = resolve_precision(self.settings, config)
        settings = {**asdict(self.settings), "precision": precision}
        weights = checkpoint_digest(self.model)
        plain = {
            "format": FORMAT,
            "save_every": SAVE_EVERY,
            "corpus_hash": corpus.hash,
            # Where a checkpoint is does not count.
            "model": {**config.to_dict(), "_name_or_path": ""},
            **({} if weights is None else {"weights": weights}),
            "settings": {k: v for k, v in settings.items() if k not in _NOT_IDENTITY},
            "steps": self.steps,
            "seed": self.seed,
        }
        return json.loads(json.dumps(plain, default=str))


@dataclass(frozen=True)
class Base:
    """A finished base.

    Attributes:
        folder: where it is.
        hash: SHA-256 of its tensors; machines that round otherwise get another.
        record: `base.json`: identity, losses of the domains (nats per byte), cost.
        corpus: what it was trained on.
    """

    folder: Path
    hash: str
    record: dict[str, Any]
    corpus: Corpus

    def load_into(self, run: ModelRun) -> None:
        """Give `run` its weights; `CheckpointError` if a file is damaged or the model another."""
        if run.corpus.tokenizer.hash != self.corpus.tokenizer.hash:
            raise CheckpointError(
                f"the base {self.folder} reads tokens of {self.corpus.tokenizer.id}, the run of "
                f"{run.corpus.tokenizer.id} made on another text: use tokenizer='bytes' or "
                "'hf:NAME_OR_PATH', which do not depend on the corpus"
            )
        load_weights(run, self.folder / "checkpoint", self.corpus)


def base_folder(spec: BaseSpec, corpus: Corpus, cache: Path) -> Path:
    """Where the base of `spec` is, or would be."""
    text = json.dumps(spec.identity(corpus), sort_keys=True)
    stem = spec.model if isinstance(spec.model, str) and "/" not in spec.model else "model"
    return cache / "bases" / f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def ensure_base(
    spec: BaseSpec,
    cache: str | Path | None = None,
    reporter: Reporter | None = None,
    *,
    rebuild: bool = False,
) -> Base:
    """Return the base of `spec`, trained if it is not in the cache.

    Training saves itself every 100 steps: killed, it goes on from there, to the same weights bit
    for bit. One process trains; others wait for it and use the result.

    Args:
        spec: what to train.
        cache: folder of built things; `$MIXGYM_CACHE` or the platform's by default.
        reporter: told of every step; by default one that says what takes long.
        rebuild: throw away what is there.

    Raises:
        CorpusError: the corpus cannot be had, or the disk is full.
        CheckpointError: the kept base is damaged.
        MixgymError: training diverged.
    """
    root = cache_root(cache)
    corpus = spec.load_corpus(root)
    folder = base_folder(spec, corpus, root)
    done = folder / "base.json"
    if rebuild or not done.exists():
        with progress.reporter(reporter) as report:
            train = partial(_train, spec, corpus, folder, report)
            fill_once(done, train, report, "trains", rebuild)
    return _read(folder, corpus)


class _BaseRecord(TypedDict):
    hash: str
    corpus_hash: str
    corpus_spec: dict[str, Any]
    steps: int
    seed: int
    parameters: int
    validation_loss: dict[str, float]
    natural_loss: float
    ledger: dict[str, dict[str, float]]


def _read(folder: Path, corpus: Corpus) -> Base:
    remedy = "delete that folder, and the base is trained again when it is next needed"
    try:
        record = read_json(folder / "base.json", _BaseRecord, remedy=remedy)
        digest = read_record(folder / "checkpoint", corpus)["tensors"]["sha256"]
    except (DamagedFileError, CheckpointError, OSError) as error:
        advice = "" if remedy in str(error) else f": {remedy}"
        raise CheckpointError(f"the base in {folder} is damaged ({error}){advice}") from error
    if digest != record["hash"]:
        raise CheckpointError(f"the base in {folder} does not have the hash it says: {remedy}")
    return Base(folder, digest, record, corpus)


def _train(spec: BaseSpec, corpus: Corpus, folder: Path, report: Reporter) -> None:
    from mixgym.lm.training import TrainingRun

    corpus.check_window(spec.settings.context + 1)
    unfinished = folder / "unfinished"
    report.start(spec.steps, f"pretraining the base {folder.name}")
    run: TrainingRun | None = None
    if (unfinished / "run.json").exists():
        try:
            run = TrainingRun.load(unfinished, corpus, seed=spec.seed, total_steps=spec.steps)
            report.advance(run.step)
        except CheckpointError:
            shutil.rmtree(unfinished)
    if run is None:
        run = RunMaker(corpus, spec.model, spec.settings).make(spec.seed, spec.steps)
    while run.step < spec.steps:
        steps = min(SAVE_EVERY, spec.steps - run.step)
        run.advance(corpus.natural, steps)
        if run.diverged:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise MixgymError(
                f"the base diverged at step {run.step}: lower its learning rate with "
                "base={'learning_rate': ...}"
            )
        if run.step < spec.steps:
            run.save(unfinished)
        report.advance(steps)
    losses = run.evaluate(windows=64)
    run.save(folder / "checkpoint")
    digest = read_record(folder / "checkpoint", corpus)["tensors"]["sha256"]
    write_json(
        folder / "base.json",
        {
            "hash": digest,
            **spec.identity(corpus),
            "corpus_spec": corpus.spec,
            "parameters": run.n_parameters,
            "validation_loss": dict(zip(corpus.names, losses.tolist(), strict=True)),
            "natural_loss": float(np.dot(corpus.natural, losses)),
            "ledger": run.ledger.to_json(),
        },
        digest=True,
    )
    shutil.rmtree(unfinished, ignore_errors=True)

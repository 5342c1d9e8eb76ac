"""Base checkpoints: built once, resumable, hashed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_training import SETTINGS, TINY, parameters

from mixgym.errors import CheckpointError, MixgymError
from mixgym.lm import base
from mixgym.lm.base import BaseSpec, ensure_base
from mixgym.lm.models import build_model, model_config
from mixgym.lm.training import TrainingRun


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "SAVE_EVERY", 2)


@pytest.fixture
def spec(tmp_path: Path) -> BaseSpec:
    for name in ("one", "two", "three"):
        text = "\n\n".join(f"{name} {i} " + f"word{i % 7} " * 30 for i in range(300))
        (tmp_path / "text").mkdir(exist_ok=True)
        (tmp_path / "text" / f"{name}.txt").write_text(text)
    return BaseSpec(f"files:{tmp_path}/text", ("one", "two"), TINY, 7, SETTINGS, seed=3)


def test_a_base_is_the_run_it_says_and_is_built_once(
    spec: BaseSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ensure_base(spec, tmp_path / "cache")
    corpus = spec.load_corpus(tmp_path / "cache")
    assert corpus.names == ("one", "two")
    run = TrainingRun(corpus, TINY, total_steps=7, seed=3, settings=SETTINGS)
    for steps in (2, 2, 2, 1):
        run.advance(corpus.natural, steps)
    assert not torch.equal(parameters(run), parameters(fresh(spec, made)))
    started = fresh(spec, made)
    made.load_into(started)
    assert torch.equal(parameters(run), parameters(started)) and started.step == 0
    assert made.record["validation_loss"].keys() == {"one", "two"}
    assert made.record["ledger"]["train"]["tokens"] == 7 * SETTINGS.batch_size * SETTINGS.context
    assert not (made.folder / "unfinished").exists()

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(TrainingRun, "advance", never)
    assert ensure_base(spec, tmp_path / "cache").hash == made.hash


def test_training_that_takes_long_says_so(
    spec: BaseSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also where nobody asked and there is no terminal: a first reset is silent otherwise."""
    monkeypatch.setattr("mixgym.corpus.progress.PATIENCE", 0.0)
    made = ensure_base(spec, tmp_path / "cache")
    assert f"mixgym: pretraining the base {made.folder.name}" in capsys.readouterr().err
    ensure_base(spec, tmp_path / "cache")
    assert capsys.readouterr().err == ""


def fresh(spec: BaseSpec, made: base.Base) -> TrainingRun:
    return TrainingRun(made.corpus, spec.model, total_steps=5, seed=9, settings=spec.settings)


def test_a_killed_base_goes_on_where_it_stopped(
    spec: BaseSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ensure_base(spec, tmp_path / "cache")
    advance = TrainingRun.advance
    taken: list[int] = []

    def killed(self: TrainingRun, mixture: Any, steps: int, **arguments: Any) -> Any:
        if len(taken) == 2:
            raise KeyboardInterrupt
        taken.append(self.step)
        return advance(self, mixture, steps, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "advance", killed)
        with pytest.raises(KeyboardInterrupt):
            ensure_base(spec, tmp_path / "other")
    assert taken == [0, 2]

    def counted(self: TrainingRun, mixture: Any, steps: int, **arguments: Any) -> Any:
        taken.append(self.step)
        return advance(self, mixture, steps, **arguments)

    monkeypatch.setattr(TrainingRun, "advance", counted)
    assert ensure_base(spec, tmp_path / "other").hash == whole.hash
    assert taken == [0, 2, 4, 6]


def test_what_is_trained_decides_the_folder_and_how_fast_does_not(
    spec: BaseSpec, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"

    def folder(**changes: Any) -> Path:
        changed = replace(spec, **changes)
        return base.base_folder(changed, changed.load_corpus(cache), cache)

    same = folder()
    assert folder(settings=SETTINGS.updated({"threads": 2})) == same
    others = [
        folder(steps=8),
        folder(seed=4),
        folder(domains=("one",)),
        folder(settings=SETTINGS.updated({"learning_rate": 0.5})),
        folder(model={**TINY, "hidden_size": 32}),
    ]
    assert len({same, *others}) == 6


def test_the_weights_of_a_checkpoint_decide_the_folder_and_its_place_does_not(
    spec: BaseSpec, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    corpus = spec.load_corpus(cache)

    def saved(place: str, seed: int) -> str:
        config = model_config(TINY, corpus.tokenizer.vocab_size, SETTINGS.context)
        build_model(TINY, config, seed).save_pretrained(tmp_path / place)
        return str(tmp_path / place)

    def folder(model: str) -> Path:
        return base.base_folder(replace(spec, model=model), corpus, cache)

    first = folder(saved("one", 0))
    assert folder(saved("other", 0)) == first
    assert folder(saved("one", 1)) != first
    made = ensure_base(replace(spec, model=str(tmp_path / "other")), cache)
    assert made.folder == first
    shutil.copytree(tmp_path / "other", tmp_path / "moved")
    run = TrainingRun(corpus, str(tmp_path / "moved"), total_steps=5, settings=SETTINGS)
    before = parameters(run)
    made.load_into(run)
    assert not torch.equal(parameters(run), before)
    (tmp_path / "moved" / "model.safetensors").unlink()
    with pytest.raises(MixgymError, match="has no weights"):
        folder(str(tmp_path / "moved"))


def test_the_precision_trained_in_decides_the_folder(
    spec: BaseSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    corpus = spec.load_corpus(cache)
    wide = {**TINY, "hidden_size": 128}

    def folder(precision: str) -> Path:
        settings = SETTINGS.updated({"precision": precision})
        return base.base_folder(replace(spec, model=wide, settings=settings), corpus, cache)

    for native in (True, False):
        monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda native=native: native)
        monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: False)
        assert folder("auto") == folder("bf16" if native else "fp32")
    assert folder("bf16") != folder("fp32")


def test_rebuilding_and_damage(spec: BaseSpec, tmp_path: Path) -> None:
    made = ensure_base(spec, tmp_path / "cache")
    (made.folder / "left.txt").write_text("over")
    assert ensure_base(spec, tmp_path / "cache", rebuild=True).hash == made.hash
    assert not (made.folder / "left.txt").exists()
    (state,) = (made.folder / "checkpoint").glob("state-*.safetensors")
    state.write_bytes(state.read_bytes()[:-1] + b"\xff")
    run = fresh(spec, made)
    with pytest.raises(CheckpointError, match=r"restore it from a copy.*SHA-256"):
        made.load_into(run)
    (made.folder / "base.json").write_text("{}")
    with pytest.raises(CheckpointError, match="delete that folder, and the base is trained again"):
        ensure_base(spec, tmp_path / "cache")
    shutil.rmtree(made.folder)
    assert ensure_base(spec, tmp_path / "cache").hash == made.hash


def test_bad_input(spec: BaseSpec, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="steps must be a whole number >= 1, got 0"):
        replace(spec, steps=0)
    wild = replace(spec, settings=SETTINGS.updated({"learning_rate": 1e9, "clip": 1e9}), steps=30)
    with pytest.raises(MixgymError, match="diverged"):
        ensure_base(wild, tmp_path / "cache")

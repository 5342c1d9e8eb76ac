import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_training import SETTINGS, TINY, parameters, tiny, trajectory

from mixgym.corpus import Corpus
from mixgym.errors import CheckpointError
from mixgym.files import DIGEST
from mixgym.lm import checkpoint
from mixgym.lm.training import TrainingRun
from tests.tiny import flip_last_bit


def test_a_checkpoint_of_another_corpus_is_refused(
    two_domains: Corpus, nano8: Corpus, tmp_path: Path
) -> None:
    tiny(two_domains).save(tmp_path)
    with pytest.raises(CheckpointError, match=f"(?s){two_domains.hash[:12]}.*{nano8.hash[:12]}"):
        TrainingRun.load(tmp_path, nano8)


def test_a_checkpoint_of_another_configuration_is_refused(
    two_domains: Corpus, tmp_path: Path
) -> None:
    tiny(two_domains, seed=1).save(tmp_path)
    TrainingRun.load(tmp_path, two_domains, seed=1, settings=SETTINGS)
    with pytest.raises(CheckpointError, match=r"seed=1.*asks for 2"):
        TrainingRun.load(tmp_path, two_domains, seed=2)
    with pytest.raises(CheckpointError, match="settings"):
        TrainingRun.load(tmp_path, two_domains, settings=SETTINGS.updated({"clip": 2.0}))


def test_weights_alone_need_the_same_model(two_domains: Corpus, tmp_path: Path) -> None:
    trained = tiny(two_domains)
    trained.advance([0.5, 0.5], 3)
    trained.save(tmp_path)
    fresh = tiny(two_domains, seed=7)
    checkpoint.load_weights(fresh, tmp_path)
    assert torch.equal(parameters(fresh), parameters(trained))
    assert fresh.step == 0
    larger = TrainingRun(two_domains, {**TINY, "hidden_size": 32}, total_steps=1, settings=SETTINGS)
    with pytest.raises(CheckpointError, match="hidden_size"):
        checkpoint.load_weights(larger, tmp_path)


def test_a_damaged_checkpoint_is_named(two_domains: Corpus, tmp_path: Path) -> None:
    tiny(two_domains).save(tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    flip_last_bit(file)
    with pytest.raises(CheckpointError, match="SHA-256"):
        TrainingRun.load(tmp_path, two_domains)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        TrainingRun.load(tmp_path, two_domains)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        TrainingRun.load(tmp_path / "nowhere", two_domains)


def test_saving_over_a_checkpoint_leaves_one(two_domains: Corpus, tmp_path: Path) -> None:
    run = tiny(two_domains)
    run.save(tmp_path)
    run.advance([0.5, 0.5], 2)
    run.save(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert trajectory(TrainingRun.load(tmp_path, two_domains)) == trajectory(run)


def test_a_failed_save_keeps_the_previous_checkpoint(
    two_domains: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny(two_domains)
    run.save(tmp_path)
    saved = parameters(run)
    run = tiny(two_domains, seed=1)

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_json", full_disk)
    with pytest.raises(OSError, match="No space"):
        run.save(tmp_path)
    assert torch.equal(parameters(TrainingRun.load(tmp_path, two_domains)), saved)


def changed(folder: Path, change: Callable[[dict[str, Any]], None], *, digest: bool) -> Path:
    """Change `run.json` by hand; without `digest`, as one from before there was one."""
    file = folder / "run.json"
    record = json.loads(file.read_text())
    if not digest:
        del record[DIGEST]
    change(record)
    file.write_text(json.dumps(record))
    return file


def test_a_checkpoint_from_before_digests_is_read(two_domains: Corpus, tmp_path: Path) -> None:
    run = tiny(two_domains)
    run.advance([0.3, 0.7], 2)
    run.save(tmp_path)
    changed(tmp_path, lambda record: None, digest=False)
    assert trajectory(TrainingRun.load(tmp_path, two_domains)) == trajectory(run)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("settings", "learning_rate"), 0.5),
        (("settings", "batch_size"), 8),
        (("scalars", "step"), 1),
        (("scalars", "stream", "drawn"), [0, 0]),
        (("seed",), 3),
    ],
)
def test_a_changed_record_is_refused(
    two_domains: Corpus, tmp_path: Path, place: tuple[str, ...], value: Any
) -> None:
    run = tiny(two_domains)
    run.advance([0.5, 0.5], 2)
    run.save(tmp_path)

    def change(record: dict[str, Any]) -> None:
        *inner, last = place
        for name in inner:
            record = record[name]
        assert record[last] != value
        record[last] = value

    file = changed(tmp_path, change, digest=True)
    with pytest.raises(CheckpointError, match=f"{file} was changed.*restore it from a copy"):
        TrainingRun.load(tmp_path, two_domains)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "[" * 100_000])
def test_a_record_that_is_none_is_named(two_domains: Corpus, tmp_path: Path, text: str) -> None:
    tiny(two_domains).save(tmp_path)
    (tmp_path / "run.json").write_text(text)
    for read in (
        lambda: TrainingRun.load(tmp_path, two_domains),
        lambda: checkpoint.load_weights(tiny(two_domains), tmp_path),
    ):
        with pytest.raises(CheckpointError, match=r"run[.]json.*restore it from a copy"):
            read()


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop("scalars"),
        lambda record: record.pop("tensors"),
        lambda record: record.update(settings=[]),
        lambda record: record["settings"].update(learning_rate="fast"),
        lambda record: record["settings"].update(hue=1.0),
        lambda record: record["scalars"].update(train_loss=[1.0]),
        lambda record: record["scalars"].update(norms=7),
        lambda record: record["scalars"]["stream"].update(credit=[0.0]),
        lambda record: record["scalars"]["ledger"]["train"].update(tokens=None),
        lambda record: record.update(total_steps=-1),
        lambda record: record.update(seed="0"),
    ],
)
def test_a_record_of_another_structure_is_named(
    two_domains: Corpus, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    tiny(two_domains).save(tmp_path)
    changed(tmp_path, change, digest=False)
    with pytest.raises(CheckpointError, match=r"run[.]json"):
        TrainingRun.load(tmp_path, two_domains)


@pytest.mark.parametrize("fault", ["missing", "shape", "dtype", "optimiser", "rng"])
def test_tensors_of_another_run_are_named(two_domains: Corpus, tmp_path: Path, fault: str) -> None:
    run = tiny(two_domains)
    run.advance([0.5, 0.5], 1)
    saved = run.state_dict()
    name = next(iter(dict(run.model.named_parameters())))
    tensors = saved["tensors"]
    if fault == "missing":
        name = f"model.{name}"
        del tensors[name]
    elif fault == "shape":
        name = f"model.{name}"
        tensors[name] = tensors[name][:-1]
    elif fault == "dtype":
        name = f"model.{name}"
        tensors[name] = tensors[name].double()
    elif fault == "optimiser":
        name = f"optimiser.exp_avg.{name}"
        del tensors[name]
    else:
        name = "rng.cpu"
        tensors[name] = tensors[name][:-1]
    checkpoint.save(tmp_path, run.identity(), run.corpus.spec, saved)
    with pytest.raises(CheckpointError, match=f"{tmp_path}.*'{name}'"):
        TrainingRun.load(tmp_path, two_domains)

from pathlib import Path

import pytest
import torch
from test_training import SETTINGS, TINY, parameters, tiny, trajectory

from mixgym.corpus import Corpus
from mixgym.errors import CheckpointError
from mixgym.lm import checkpoint
from mixgym.lm.training import TrainingRun


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
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
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

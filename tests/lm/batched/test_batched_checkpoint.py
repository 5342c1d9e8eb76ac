import json
from collections.abc import Callable
from pathlib import Path

import pytest
from test_batched_run import LLAMA, batched, same, some_mixtures

from mixgym.corpus import Corpus
from mixgym.errors import CheckpointError, DamagedFileError
from mixgym.lm.batched import BatchedRun
from mixgym.lm.settings import GradientSettings
from tests.tiny import COPIES, flip_last_bit


def through_disk(run: BatchedRun, path: Path) -> BatchedRun:
    run.save(path)
    return BatchedRun.load(path, run.corpus, chunk=3)


def through_state(run: BatchedRun, path: Path) -> BatchedRun:
    other = batched(run.corpus, LLAMA, [0, 0, 0, 0], gradients=run.gradients)
    other.load_state_dict(run.state_dict())
    return other


WAYS = {**COPIES, "checkpoint": through_disk, "state_dict": through_state}


@pytest.mark.parametrize("duplicate", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("gradients", [None, GradientSettings()])
def test_a_copy_continues_bit_for_bit_and_independently(
    nano8: Corpus, tmp_path: Path, duplicate: Callable, gradients: GradientSettings | None
) -> None:
    run = batched(nano8, LLAMA, learning_rates=[1e-2, 1e-3, 1e4, 1e-2], gradients=gradients)
    mixtures = some_mixtures(4, 8)
    run.advance(mixtures, 5)
    run.advance(mixtures, 2, runs=[True, False, True, True])
    twin = duplicate(run, tmp_path)
    assert twin.state_dict()["scalars"] == run.state_dict()["scalars"]
    assert twin.diverged.tolist() == [False, False, True, False]
    first = run.advance(mixtures, 4)
    second = twin.advance(mixtures, 4)
    for name, value in vars(first).items():
        if value is not None:
            assert same(value, getattr(second, name)), name
    assert same(run.evaluate(windows=2), twin.evaluate(windows=2))


def test_other_corpora_and_kinds_are_refused(
    nano8: Corpus, two_domains: Corpus, tmp_path: Path
) -> None:
    run = batched(nano8)
    run.save(tmp_path / "batched")
    run.run(0).save(tmp_path / "single")
    with pytest.raises(CheckpointError, match="trained on corpus"):
        BatchedRun.load(tmp_path / "batched", two_domains)
    with pytest.raises(CheckpointError, match=r"TrainingRun\.load"):
        BatchedRun.load(tmp_path / "single", nano8)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        BatchedRun.load(tmp_path / "nothing", nano8)
    with pytest.raises(CheckpointError, match="holds 4 runs"):
        batched(nano8, seeds=[1]).load_state_dict(run.state_dict())


def test_damage_is_named(nano8: Corpus, tmp_path: Path) -> None:
    batched(nano8).save(tmp_path)
    (file,) = tmp_path.glob("state-*.safetensors")
    flip_last_bit(file)
    with pytest.raises(DamagedFileError, match=file.name):
        BatchedRun.load(tmp_path, nano8)
    file.unlink()
    with pytest.raises(CheckpointError, match="missing"):
        BatchedRun.load(tmp_path, nano8)
    record = json.loads((tmp_path / "run.json").read_text())
    record["scalars"]["recorder"]["step"][0] = 3
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(DamagedFileError, match="digest"):
        BatchedRun.load(tmp_path, nano8)


def test_a_new_checkpoint_replaces_the_old(nano8: Corpus, tmp_path: Path) -> None:
    run = batched(nano8)
    run.save(tmp_path)
    run.advance(some_mixtures(4, 8), 2)
    run.save(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert BatchedRun.load(tmp_path, nano8).step.tolist() == [2] * 4

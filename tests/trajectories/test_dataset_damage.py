"""Damaged episodes and full disks: what was collected is kept, what was changed is made again."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixgym.errors import DamagedFileError, UnwritableFileError
from mixgym.trajectories import load_trajectories
from mixgym.trajectories.collect import episode_path
from mixgym.trajectories.record import Trajectory, read_episode, write_episode
from tests.trajectories.in_process import collect_here

pytest.importorskip("minari")
pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("damage") / "out"
    collect_here("dirichlet", 2, out)
    return out


@pytest.fixture
def copied(collected: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(collected, tmp_path / "out"))


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["observations", "actions", "rewards", "infos/mixture", "facts"])
def test_a_flipped_bit_of_an_episode_is_collected_again(
    name: str, copied: Path, collected: Path
) -> None:
    path, other = episode_path(copied, 0), episode_path(copied, 1)
    content = path.read_bytes()
    if name == "facts":
        at = content.index(b"return") + 12
    else:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        at = 8 + int.from_bytes(content[:8], "little") + header[name]["data_offsets"][0]
    flip(path, at)
    with pytest.raises(DamagedFileError, match=r"000000\.safetensors.*delete it and collect again"):
        read_episode(path)
    before = other.stat().st_mtime_ns
    collect_here("dirichlet", 2, copied, resume=True)
    ours, theirs = load_trajectories(copied), load_trajectories(collected)
    assert ours.metadata["digest"] == theirs.metadata["digest"]
    assert other.stat().st_mtime_ns == before


def test_episodes_of_before_digests_are_kept(copied: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import save_file

    path = episode_path(copied, 0)
    with safe_open(path, framework="numpy") as file:
        facts = file.metadata()["facts"]
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(arrays, path, {"facts": facts})
    before = path.stat().st_mtime_ns
    collect_here("dirichlet", 2, copied, resume=True)
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({}, "another structure"),
        ({"seed": 0, "behaviour": {"name": "x", "arguments": {}}, "diverged": 1}, "diverged"),
    ],
)
def test_headers_of_another_structure_name_the_file(
    facts: dict[str, Any], message: str, collected: Path, tmp_path: Path
) -> None:
    episode = read_episode(episode_path(collected, 0))
    path = tmp_path / "e.safetensors"
    write_episode(path, Trajectory(**{**vars(episode), "facts": facts}))
    with pytest.raises(DamagedFileError, match=rf"e\.safetensors.*{message}"):
        read_episode(path)


@pytest.mark.parametrize("raised", [OSError(errno.ENOSPC, "No space left on device"),
                                    RuntimeError("Can't decrement id ref count")])  # fmt: skip
def test_a_full_disk_names_the_dataset_and_leaves_nothing(
    raised: Exception, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import minari

    shutil.rmtree(copied / "datasets")

    def full(*_: Any, **__: Any) -> Any:
        raise raised

    with monkeypatch.context() as patch:
        patch.setattr(minari, "create_dataset_from_buffers", full)
        with pytest.raises(UnwritableFileError, match=r"dirichlet-v0 cannot be written.*--resume"):
            collect_here("dirichlet", 2, copied, resume=True)
    assert not list((copied / "datasets").glob(".*"))
    collect_here("dirichlet", 2, copied, resume=True)
    assert len(load_trajectories(copied)) == 2


def test_what_a_killed_process_left_half_made_is_cleared_away(copied: Path) -> None:
    shutil.rmtree(copied / "datasets")
    for name in (".assembling-x7f3k2", ".assembling-abc"):
        (copied / "datasets" / name).mkdir(parents=True)
    collect_here("dirichlet", 2, copied, resume=True)
    assert not list((copied / "datasets").glob(".assembling-*"))


def test_others_half_made_datasets_are_left_alone(copied: Path, tmp_path: Path) -> None:
    """Elsewhere than in the collection's own folder another process may be assembling."""
    shared = tmp_path / "shared"
    (shared / ".assembling-other").mkdir(parents=True)
    collect_here("dirichlet", 2, copied, resume=True, datasets_path=shared)
    assert [path.name for path in shared.glob(".assembling-*")] == [".assembling-other"]


@pytest.mark.parametrize("content", ["[]", "{}", '{"dataset_id": "a", "path": 3}', "{"])
def test_a_damaged_pointer_names_its_file(content: str, copied: Path) -> None:
    (copied / "dataset.json").write_text(content)
    with pytest.raises(DamagedFileError, match=r"dataset\.json.*--resume"):
        load_trajectories(copied)
    collect_here("dirichlet", 2, copied, resume=True)
    assert np.isfinite(load_trajectories(copied).returns).all()


@pytest.mark.parametrize("key", ["episodes", "task", "accounts", "digest", "format"])
def test_metadata_without_a_key_names_its_file(key: str, copied: Path) -> None:
    (path,) = copied.rglob("metadata.json")
    content = json.loads(path.read_text())
    content["mixgym"].pop(key)
    path.write_text(json.dumps(content))
    with pytest.raises(DamagedFileError, match=rf"metadata\.json.*({key})"):
        load_trajectories(copied)

"""The folder of a long job: held by one process, bound to one configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from filelock import FileLock

from mixgym.errors import DamagedFileError, MixgymError
from mixgym.experiment.outfolder import CONFIG, LOCK, bind_config, check_config, out_folder
from mixgym.files import read_json


def test_a_folder_in_use_is_refused_before_anything_is_looked_at(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with out_folder(out, "mixgym train", resume=False) as held:
        assert held == out
        with (
            pytest.raises(MixgymError, match="another mixgym train is writing to"),
            out_folder(str(out), "mixgym train", resume=True),
        ):
            pass
        (out / "x").touch()
    with out_folder(out, "mixgym train", resume=True):
        pass


def test_emptiness_is_looked_up_with_the_lock_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two that start at once the second finds what the first wrote while it waited to lock."""
    out = tmp_path / "out"
    real = FileLock.acquire

    def late(self: FileLock, *arguments: object, **named: object) -> object:
        (out / CONFIG).write_text("{}")  # the other process's
        return real(self, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(FileLock, "acquire", late)
    with (
        pytest.raises(MixgymError, match="not empty: pass --resume"),
        out_folder(out, "mixgym compare", resume=False),
    ):
        pass
    assert (out / CONFIG).read_text() == "{}"


def test_a_folder_that_nothing_was_written_to_is_taken_away(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bad"), out_folder(tmp_path / "a", "x", resume=False):
        raise ValueError("bad input")
    assert not (tmp_path / "a").exists()
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match="bad"), out_folder(tmp_path / "b", "x", resume=False):
        raise ValueError("bad input")
    assert (tmp_path / "b").is_dir()
    (tmp_path / "file").touch()
    with (
        pytest.raises(MixgymError, match="is a file"),
        out_folder(tmp_path / "file", "x", resume=True),
    ):
        pass


def test_a_configuration_is_written_once_and_compared_by_name(tmp_path: Path) -> None:
    assert check_config(tmp_path, {"seed": 0}, "study") is None
    bind_config(tmp_path, {"seed": 0, "env": "e"}, "study", {"versions": {"numpy": "1"}})
    before = (tmp_path / CONFIG).read_bytes()
    bind_config(tmp_path, {"seed": 0, "env": "e"}, "study", {"versions": {"numpy": "2"}})
    assert (tmp_path / CONFIG).read_bytes() == before
    assert read_json(tmp_path / CONFIG)["versions"] == {"numpy": "1"}
    with pytest.raises(MixgymError, match=r"holds another study.*seed \(stored 0, now 1\)"):
        bind_config(tmp_path, {"seed": 1, "env": "e"}, "study")


def test_a_changed_configuration_is_an_error_and_an_older_one_is_read(tmp_path: Path) -> None:
    bind_config(tmp_path, {"seed": 0}, "study")
    path = tmp_path / CONFIG
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(DamagedFileError, match=r"config\.json was changed.*another --out"):
        bind_config(tmp_path, {"seed": 1}, "study")
    path.write_text(json.dumps({"seed": 0}))  # of a version that wrote no digest
    bind_config(tmp_path, {"seed": 0}, "study")
    path.write_text("[]")
    with pytest.raises(DamagedFileError, match=r"config\.json has another structure"):
        bind_config(tmp_path, {"seed": 0}, "study")
    assert (tmp_path / LOCK).exists() is False

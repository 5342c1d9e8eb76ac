from __future__ import annotations

import pytest
from typer.testing import CliRunner

from mixgym.commands.data import data_app


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("MIXGYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(data_app, [str(a) for a in arguments])


def test_build_list_show(run, own_folder):
    built = run("build", own_folder)
    assert built.exit_code == 0 and "3 domains" in built.output
    listed = run("list")
    assert "core19" in listed.output and "files-" in listed.output
    shown = run("show", own_folder, "--verify", "--sample")
    assert shown.exit_code == 0
    for text in ("stories", "not stated", "every file has the hash", "The river rose"):
        assert text in shown.output


def test_rebuild_repairs_a_damaged_file(run, own_folder, tmp_path):
    run("build", own_folder)
    (path,) = (tmp_path / "cache").glob("corpora/*/text/rows.train.bin")
    good = path.read_bytes()
    path.write_bytes(good[:-1])
    shown = run("show", own_folder)
    assert shown.exit_code == 1 and "rows.train.bin is damaged" in shown.output
    assert run("build", own_folder, "--rebuild").exit_code == 0
    assert path.read_bytes() == good


def test_errors_are_one_message(run):
    result = run("build", "nano9")
    assert result.exit_code == 1
    assert "did you mean 'nano8'" in result.output and "Traceback" not in result.output
    assert run("build", "nano8", "--skip", "recipez").exit_code == 1

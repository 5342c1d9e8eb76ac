"""Probe columns: a replayed run's final model, measured on report items."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_study import RUN, resign

from mixgym.commands.main import main
from mixgym.compare.probing import (
    ProbeRequest,
    ProbeRow,
    differences,
    finished_runs,
    probe_run,
    probed,
)
from mixgym.compare.study import read_study
from mixgym.compare.summary import read_rows
from mixgym.errors import MixgymError
from mixgym.experiment.environment import Wanted, make_environment
from mixgym.probes.measure import measure

ASKED = ProbeRequest(("sciq", "gsm8k"), 4)


def call(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["mixgym", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def test_the_model_probed_is_the_runs_own(study_copy: Path) -> None:
    """Equal to measuring at the end of the run with everything that it measured on the way."""
    told: list[Any] = []
    found = probe_run(study_copy / RUN, ASKED, lambda *x: told.append(x))
    assert told == [(1, 2, 2), (2, 2, 4)]
    config = json.loads((study_copy / RUN / "config.json").read_text())
    wanted = Wanted(config["action_map"], config["agent_env_arguments"])
    env = make_environment(config["env"], config["env_arguments"], wanted)
    env.reset(seed=0)
    for action in np.load(study_copy / RUN / "actions.npy"):
        env.step(action)
    trained: Any = env.unwrapped.run  # type: ignore[attr-defined]
    for name, result in measure(trained, ASKED.probes, "report", items=4).items():
        assert found[name] == result.to_json() and found[name]["purpose"] == "report"
    assert probed(study_copy / RUN, ASKED) == found
    assert probed(study_copy / RUN, ProbeRequest(("sciq",), 4)) is None


def test_a_model_that_is_not_the_runs_is_refused(study_copy: Path) -> None:
    actions = np.load(study_copy / RUN / "actions.npy")
    np.save(study_copy / RUN / "actions.npy", actions[::-1])
    resign(study_copy / RUN)
    with pytest.raises(MixgymError, match="train another model"):
        probe_run(study_copy / RUN, ASKED)
    assert not (study_copy / RUN / "probes.json").exists()


def test_the_command_goes_on_where_it_stopped(
    study_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, options = str(study_copy), ("--probe", "gsm8k", "--items", "3", "--workers", "1")
    assert call("probe", out, *options, "--seeds", "1", monkeypatch=monkeypatch) == 0
    kept = {p: p.stat().st_mtime_ns for p in study_copy.glob("runs/*/*/probes.json")}
    assert len(kept) == 2
    assert call("probe", out, *options, monkeypatch=monkeypatch) == 0
    assert all(p.stat().st_mtime_ns == at for p, at in kept.items())
    assert call("probe", out, *options, "--arm", "random", monkeypatch=monkeypatch) == 0
    rows = read_rows(study_copy / "probes.csv", ProbeRow)
    rows.sort(key=lambda row: (row.agent, row.seed))
    assert [(r.agent, r.seed, r.probe, r.items) for r in rows] == [
        (agent, seed, "gsm8k", 3) for agent in ("natural", "random") for seed in (0, 1)
    ]
    stored = json.loads((study_copy / RUN / "probes.json").read_text())["results"]["gsm8k"]
    assert rows[2].bits_per_byte == stored["bits_per_byte"] and np.isnan(rows[2].accuracy)
    by_hand = [rows[2 + s].bits_per_byte - rows[s].bits_per_byte for s in (0, 1)]
    shown = differences(rows, "random", "natural", "gsm8k")
    assert shown.startswith(f"{np.mean(by_hand):+.4f} ± ")
    half = 12.7062 * np.std(by_hand, ddof=1) / np.sqrt(2)
    assert float(shown.split(" ± ")[1]) == pytest.approx(half, abs=1e-4)
    text = capsys.readouterr().out
    assert shown in text and "minus natural" in text


def test_bad_requests_say_what_to_do(
    study_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = read_study(study_copy)
    with pytest.raises(MixgymError, match=r"'naturall' is no arm.*natural, random"):
        finished_runs(study, study_copy, ["naturall"])
    assert call("probe", str(study_copy), "--probe", "mmmlu", monkeypatch=monkeypatch) == 1
    assert "mmlu" in capsys.readouterr().err
    assert call("probe", str(study_copy), "--items", "0", monkeypatch=monkeypatch) == 1
    assert "at least 1" in capsys.readouterr().err
    (study_copy / "runs").rename(study_copy / "elsewhere")
    with pytest.raises(MixgymError, match="no run folders"):
        finished_runs(study, study_copy)

"""What `mixgym trajectories show` prints."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mixgym.trajectories.show import BehaviourSummary


def test_no_figure_is_cut_off_at_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mixgym.commands.trajectories import print_summary

    row = BehaviourSummary("random-walk", 384, 27_266, 2.8129, 0.0343, 2.8601, 100.0, 0.466)
    monkeypatch.setattr("mixgym.trajectories.show.summarise", lambda data: [row])
    monkeypatch.setenv("COLUMNS", "80")
    cost = {"tokens": 19e6, "seconds": 196.0}
    print_summary(
        SimpleNamespace(dataset_id="set-v0", env="env-v0", corpus_hash="a" * 64, cost=cost)
    )
    output = capsys.readouterr().out
    shown = ("random-walk", "27,266", "2.8129 ± 0.0343", "2.8601", "100.0", "0.466", "movement")
    assert all(text in output for text in shown), output

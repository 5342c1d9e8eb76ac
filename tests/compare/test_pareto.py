"""Pareto fronts and hypervolumes against hand-made values and a Monte-Carlo estimate."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_study import TINY

from mixgym.commands.main import main
from mixgym.compare.pareto import contributions, hypervolume, pareto_front, pareto_set
from mixgym.compare.plan import Comparison, Study
from mixgym.compare.study import StudyResult, read_study
from mixgym.compare.validate import prepare
from mixgym.errors import MissingExtraError, MixgymError
from mixgym.experiment.request import parse_agent
from mixgym.experiment.run import execute_run
from mixgym.files import read_json, write_json
from mixgym.plotting.pareto import pareto_figure
from mixgym.plotting.style import pixels

TERMS = ("progress", "influence", "diversity", "stability")


def dominated(points: np.ndarray, i: int) -> bool:
    others = (tuple(map(float, p)) for p in points)
    own = points[i]
    return any(
        all(a >= b for a, b in zip(p, own, strict=True))
        and any(a > b for a, b in zip(p, own, strict=True))
        for p in others
    )


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_the_front_is_what_nothing_dominates(d: int) -> None:
    points = np.random.default_rng(d).integers(0, 4, (30, d)).astype(float)
    expected = [not dominated(points, i) for i in range(30)]
    assert pareto_front(points).tolist() == expected
    assert any(expected)


@pytest.mark.parametrize(
    ("points", "reference", "volume"),
    [
        ([[2.0, 3.0]], [0.0, 0.0], 6.0),
        ([[2.0, 3.0]], [1.0, 1.0], 2.0),
        # Staircase: 3 x 1, and above it 2 x 1 and 1 x 1.
        ([[3.0, 1.0], [2.0, 2.0], [1.0, 3.0]], [0.0, 0.0], 6.0),
        # A dominated and an equal point add nothing, nor does one not above the reference.
        ([[3.0, 1.0], [3.0, 1.0], [2.0, 0.5], [-1.0, 9.0]], [0.0, 0.0], 3.0),
        # Two boxes of 2 and 3 that share one of 1.
        ([[1.0, 1.0, 2.0], [1.0, 3.0, 1.0]], [0.0, 0.0, 0.0], 4.0),
        ([[2.0] * 5, [1.0, 1.0, 1.0, 1.0, 3.0]], [0.0] * 5, 33.0),
    ],
)
def test_hypervolume_by_hand(points: Any, reference: Any, volume: float) -> None:
    assert hypervolume(points, reference) == pytest.approx(volume)


@pytest.mark.parametrize("d", [2, 3, 4, 5])
def test_hypervolume_is_the_union_of_boxes(d: int) -> None:
    rng = np.random.default_rng(d)
    points = rng.uniform(0.2, 1.0, (6, d))
    # Inclusion and exclusion over all sets of points: exact.
    exact = sum(
        (-1.0) ** (n + 1) * sum(float(np.prod(np.min(group, axis=0))) for group in groups)
        for n in range(1, 7)
        for groups in [[points[list(c)] for c in itertools.combinations(range(6), n)]]
    )
    found = hypervolume(points, np.zeros(d))
    assert found == pytest.approx(exact, rel=1e-12)
    sample = rng.uniform(size=(40_000, 1, d))
    estimate = np.mean(np.any((sample <= points).all(axis=2), axis=1))
    assert found == pytest.approx(estimate, abs=0.012)
    own = contributions(points, np.zeros(d))
    for i in range(6):
        without = hypervolume(np.delete(points, i, axis=0), np.zeros(d))
        assert own[i] == pytest.approx(found - without, abs=1e-12)


def test_no_points_have_no_volume() -> None:
    assert hypervolume(np.zeros((0, 2)), [0.0, 0.0]) == 0.0
    assert contributions(np.zeros((0, 2)), [0.0, 0.0]).shape == (0,)
    assert pareto_front(np.zeros((0, 2))).shape == (0,)


def test_bad_points_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"\(n, d\).*nan"):
        pareto_front([[1.0, float("nan")]])
    with pytest.raises(ValueError, match=r"2 finite numbers.*\[0\.0\]"):
        hypervolume([[1.0, 2.0]], [0.0])
    monkeypatch.setitem(sys.modules, "moocore", None)
    with pytest.raises(MissingExtraError, match=r"mixgym\[mo\]"):
        hypervolume([[1.0, 2.0]], [0.0, 0.0])


def test_the_figure_fills_the_front_and_shades_what_it_dominates() -> None:
    points = np.array([[3.0, 1.0], [1.0, 3.0], [1.0, 1.0]])
    front = pareto_front(points)
    arguments = (points, ["a", "b", "c"], front, ("x", "y"), np.zeros(2), "test")
    figure = pareto_figure(*arguments)
    lines = figure.axes[0].lines
    hollow = [line.get_markerfacecolor() == "white" for line in lines if line.get_marker() == "o"]
    assert hollow == [False, False, True]
    step: Any = next(line for line in lines if line.get_drawstyle() == "steps-post")
    corners = {(0.0, 3.0), (1.0, 1.0), (3.0, 1.0), (3.0, 0.0)}
    assert corners <= {tuple(corner) for corner in step.get_xydata().tolist()}
    assert pixels(figure).std() > 5
    # A reference that nothing is above: points alone.
    assert pixels(pareto_figure(*arguments[:4], np.full(2, 9.0), "test")).std() > 5


# --- a comparison's folder


@pytest.fixture(scope="module")
def vector_study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """A finished comparison on a vector environment, run in this process, and its folder."""
    out = tmp_path_factory.mktemp("pareto")
    arms = tuple(parse_agent(agent) for agent in ("natural", "only=static:{mixture: recipes}"))
    study = Study("s", (Comparison("mo-NanoPretrain-v0", arms, (0, 1), TINY),))
    study = prepare(study)
    write_json(out / "config.json", study.to_json())
    for comparison, request in study.requests():
        folder = out / study.run_directory(comparison, request.agent.label, request.seed)
        execute_run(request, folder, timing_steps=0)
    return study, out


def call(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["mixgym", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def test_a_comparison_of_a_vector_environment_makes_a_front(
    vector_study: tuple[Study, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, out = vector_study
    means = {}
    for label in ("natural", "only"):
        results = [
            json.loads((out / f"runs/{label}/seed-{s}/result.json").read_text()) for s in (0, 1)
        ]
        assert all(tuple(r["term_returns"]) == TERMS for r in results)
        for r in results:
            t = r["term_returns"]
            total = t["progress"] + t["influence"] + 10 * (t["diversity"] + t["stability"])
            assert r["return"] == pytest.approx(total, rel=1e-5)
        means[label] = np.mean([[r["term_returns"][t] for t in TERMS] for r in results], axis=0)
    points = np.array(list(means.values()))
    assert call("pareto", str(out), monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "Hypervolume" in shown and "natural" in shown
    assert (out / "pareto.png").stat().st_size > 1000
    with (out / "pareto.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row, point, on in zip(rows, points, pareto_front(points), strict=True):
        np.testing.assert_allclose([float(row[f"return.{t}"]) for t in TERMS], point)
        assert row["on_front"] == str(bool(on)) and row["seeds"] == "2"


def test_terms_and_reference_can_be_chosen(vector_study: tuple[Study, Path]) -> None:
    study, out = vector_study
    found = pareto_set(study, study.comparisons[0], out, ["stability", "progress"], [-3.0, 0.0])
    assert found.terms == ("stability", "progress")
    points = np.array([arm.returns for arm in found.arms])
    assert found.hypervolume == pytest.approx(hypervolume(points, [-3.0, 0.0])) and (
        found.hypervolume > 0
    )


def test_bad_requests_say_what_to_do(
    vector_study: tuple[Study, Path], finished_study: StudyResult, tmp_path: Path
) -> None:
    study, out = vector_study
    comparison = study.comparisons[0]
    with pytest.raises(MixgymError, match="did you mean 'progress'"):
        pareto_set(study, comparison, out, ["progres", "stability"])
    with pytest.raises(MixgymError, match="two terms"):
        pareto_set(study, comparison, out, ["progress"])
    with pytest.raises(ValueError, match="4 finite numbers"):
        pareto_set(study, comparison, out, reference=[0.0])
    with pytest.raises(MixgymError, match="no finished run"):
        pareto_set(study, comparison, tmp_path)
    other = finished_study.report.parent
    with pytest.raises(MixgymError, match="progress alone"):
        pareto_set(finished_study.study, read_study(other).comparisons[0], other)


Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def changed(vector_study: tuple[Study, Path], tmp_path: Path) -> Callable[[str, Change], Path]:
    """Copies the study's folder and changes the results of one arm."""

    def change(label: str, edit: Change) -> Path:
        out = tmp_path / "out"
        if not out.exists():
            shutil.copytree(vector_study[1], out)
        for path in out.glob(f"runs/{label}/*/result.json"):
            result = read_json(path)
            edit(result)
            write_json(path, result, digest=True)
        return out

    return change


def test_terms_that_all_arms_share_make_the_front(
    vector_study: tuple[Study, Path],
    changed: Callable[[str, Change], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study, comparison = vector_study[0], vector_study[0].comparisons[0]
    out = changed("only", lambda result: result["term_returns"].pop("progress"))
    found = pareto_set(study, comparison, out)
    assert found.terms == TERMS[1:] and found.left_out == {"progress": ("only",)}
    assert call("pareto", str(out), monkeypatch=monkeypatch) == 0
    assert "progress is left out: not measured for only" in capsys.readouterr().out
    with pytest.raises(MixgymError, match="progress was not measured for only: give the compar"):
        pareto_set(study, comparison, out, ["progress", "stability"])
    changed("only", lambda result: result.update(term_returns={}))
    with pytest.raises(MixgymError, match=r"share too few.*stability was not measured for only"):
        pareto_set(study, comparison, out)
    changed("only", lambda result: result.pop("term_returns"))
    with pytest.raises(MixgymError, match="older mixgym"):
        pareto_set(study, comparison, out)


def test_a_diverged_arm_is_not_on_the_front(
    vector_study: tuple[Study, Path], changed: Callable[[str, Change], Path]
) -> None:
    study, comparison = vector_study[0], vector_study[0].comparisons[0]

    def diverge(result: dict[str, Any]) -> None:
        result["diverged"] = True
        result["term_returns"] = dict.fromkeys(TERMS, 100.0)

    found = pareto_set(study, comparison, changed("only", diverge), reference=[-100.0] * 4)
    natural, only = found.arms
    assert (only.on_front, only.contribution, only.diverged) == (False, 0.0, 2)
    assert natural.on_front and natural.contribution == found.hypervolume > 0
    out = changed("natural", lambda result: result.update(diverged=True))
    found = pareto_set(study, comparison, out)
    assert not any(arm.on_front for arm in found.arms) and found.hypervolume == 0


@pytest.mark.parametrize("vector", [False, True], ids=["scalar", "vector"])
def test_a_diverged_run_returns_its_penalty_term_by_term(vector: bool, tmp_path: Path) -> None:
    """The last decision's alone: of the penalty 5, each term bears 5 / (1 + 3)."""
    diverging = {"learning_rate": 1e6, "warmup_steps": 0, "clip": 1e6, "divergence_penalty": 5}
    reward = {"progress": 1.0, "stability": -3.0}
    arms = (parse_agent("natural"),)
    name = "mo-NanoPretrain-v0" if vector else "NanoPretrain-v0"
    arguments = {**TINY, **diverging, "reward": reward, "decisions": 8}
    study = prepare(Study("s", (Comparison(name, arms, (0,), arguments),)))
    _, request = next(iter(study.requests()))
    result: Any = execute_run(request, tmp_path / "run", timing_steps=0)
    assert result["diverged"] and result["decisions"] == 1
    assert result["term_returns"] == {"progress": -1.25, "stability": 1.25}
    assert result["return"] == -5.0


def test_a_run_with_a_vector_reward_replays(vector_study: tuple[Study, Path]) -> None:
    from mixgym.compare import replay_run

    replayed = replay_run(vector_study[1] / "runs/only/seed-1")
    assert replayed.difference is None and replayed.decisions == 2

"""What environments report beyond losses, as rows and as a table."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from small_study import quiet

from mixgym.compare.figures import difference_rows, draw_figures
from mixgym.compare.plan import Comparison, Study
from mixgym.compare.reported import (
    ReportedRow,
    collect_reported,
    quantities,
    reported_cells,
    reported_html,
    reported_tables,
)
from mixgym.compare.summary import read_rows, write_rows
from mixgym.errors import MixgymError
from mixgym.experiment.request import parse_agent

REPORT = {
    "retention": -0.25,
    "source_tokens": 2_000_000,
    "feedback": {"source": -0.5, "target": 1.0},
    "probes": {"sciq": {"purpose": "report", "accuracy": None, "items": 4}},
}


RESULT = {
    **{key: "" for key in ("env", "agent", "worst_domain", "corpus_hash", "version")},
    **{key: 0 for key in ("seed", "decisions", "steps")},
    **{key: None for key in ("return", "objective_test_loss", "worst_domain_test_loss")},
    **{key: None for key in ("overhead", "ms_per_step", "bare_ms_per_step")},
    "final_objective_validation_loss": None,
    "domain_test_loss": {},
    "ledger": {},
    "seconds": 0.0,
    "diverged": False,
}


def study_of(folder: Path) -> Study:
    """Two arms of two seeds whose results are written by hand."""
    arms = (parse_agent("natural"), parse_agent("uniform"))
    study = Study("s", (Comparison("NanoContinual-v0", arms, (0, 1), {}),))
    for comparison, request in study.requests():
        label, seed = request.agent.label, request.seed
        path = folder / study.run_directory(comparison, label, seed)
        path.mkdir(parents=True)
        moved = 0.5 * seed + (0.125 * (1 + seed) if label == "uniform" else 0.0)
        report = {**REPORT, "retention": -0.25 + moved}
        (path / "result.json").write_text(json.dumps({**RESULT, "report": report}))
    return study


def test_reports_become_rows_and_come_back(tmp_path: Path) -> None:
    rows = collect_reported(study_of(tmp_path), tmp_path)
    first = [row for row in rows if row.agent == "natural" and row.seed == 0]
    assert [(row.quantity, row.value) for row in first[:4]] == [
        ("retention", -0.25),
        ("source_tokens", 2e6),
        ("feedback.source", -0.5),
        ("feedback.target", 1.0),
    ]
    assert first[4].quantity == "probes.sciq.accuracy" and math.isnan(first[4].value)
    assert quantities(rows) == ["retention", "source_tokens", "feedback.source", "feedback.target"]
    write_rows(tmp_path / "reported.csv", rows, ReportedRow)
    back = read_rows(tmp_path / "reported.csv", ReportedRow)
    assert [repr(row) for row in back] == [repr(row) for row in rows]


def test_cells_by_hand(tmp_path: Path) -> None:
    rows = collect_reported(study_of(tmp_path), tmp_path)
    # natural -0.25 and 0.25; uniform -0.125 and 0.5: differences 0.125 and 0.25
    assert reported_cells(rows, "natural", "natural", "retention") == ("0.0000", "-")
    half = 12.7062 * np.std([0.125, 0.25], ddof=1) / np.sqrt(2)
    expected = ("0.1875", f"+0.1875 ± {half:.4f}")
    assert reported_cells(rows, "uniform", "natural", "retention") == expected
    assert reported_cells(rows, "uniform", "natural", "source_tokens")[0] == "2.00 M"
    nothing = [ReportedRow("c", "a", 0, "x", math.nan)]
    assert reported_cells(nothing, "a", "b", "x") == ("n/a", "-")


def test_a_diverged_run_is_no_part_of_means(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    (path,) = tmp_path.rglob("uniform/seed-1/result.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "diverged": True}))
    rows = collect_reported(study, tmp_path)
    assert all(math.isnan(row.value) for row in rows if (row.agent, row.seed) == ("uniform", 1))
    assert reported_cells(rows, "uniform", "natural", "retention") == ("-0.1250", "-")


@pytest.mark.parametrize("width", [40, 60, 80, 160])
def test_the_tables_show_every_arm_and_cut_nothing(tmp_path: Path, width: int) -> None:
    study = study_of(tmp_path)
    rows = collect_reported(study, tmp_path)
    console = Console(file=io.StringIO(), width=width)
    tables = reported_tables(study.comparisons[0], rows, width)
    assert len(tables) == {40: 4, 60: 2, 80: 2, 160: 1}[width]
    for table in tables:
        console.print(table)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(name in shown for name in quantities(rows)) and "probes" not in shown
    assert "+0.1875 ± 0.7941" in shown and "…" not in shown
    assert "natural's, paired." in " ".join(shown.split())
    assert reported_tables(study.comparisons[0], [], width) == []


def test_an_arm_without_any_counts_in_the_references_unit() -> None:
    rows = [
        ReportedRow("c", arm, seed, "source_tokens", value)
        for arm, value in (("naive", 0.0), ("natural", 1.5e6))
        for seed in (0, 1)
    ]
    assert reported_cells(rows, "naive", "natural", "source_tokens") == (
        "0.00 M",
        "-1.50 ± 0.00 M",
    )


def test_the_page_and_the_figures_show_it(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    rows = collect_reported(study, tmp_path)
    page = reported_html(study.comparisons[0], rows)
    assert page.count("<tr class=") == 2 and "+0.1875" in page and "probes" not in page
    assert reported_html(study.comparisons[0], []) == ""
    (named,) = draw_figures(study, tmp_path / "half", [], [], rows).values()
    assert named == []  # nothing says what the fields' sum is
    rows += [
        ReportedRow("NanoContinual-v0", arm, seed, "overall", float(seed))
        for arm in ("natural", "uniform")
        for seed in (0, 1)
    ]
    (tmp_path / "drawn").mkdir()
    (named,) = draw_figures(study, tmp_path / "drawn", [], [], rows).values()
    assert [path.name for path, _ in named] == ["balance.png", "overall.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path, _ in named)


def test_differences_by_hand() -> None:
    values = {("a", 0): 1.0, ("a", 1): 3.0, ("b", 0): 0.5, ("b", 1): math.nan, ("c", 7): 0.0}
    (row,) = difference_rows(["a", "b", "c"], "a", values)
    assert row.label == "b" and row.differences[0] == -0.5 and row.note == "1 of 2 seeds"


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "reported.csv").write_text("comparison,agent\na,b\n")
    with pytest.raises(MixgymError, match=r"reported\.csv is not"):
        read_rows(tmp_path / "reported.csv", ReportedRow)


def test_a_comparison_writes_it_and_losses_alone_do_not(
    tmp_path: Path, finished_study: object
) -> None:
    from mixgym.compare import compare
    from mixgym.compare.study import StudyResult, print_tables

    assert isinstance(finished_study, StudyResult)
    assert not finished_study.report.with_name("reported.csv").exists()
    result = compare(
        "NanoContinual-v0",
        ["natural", "naive"],
        out=tmp_path / "out",
        seeds=1,
        env_arguments={
            "decisions": 2,
            "steps_per_decision": 2,
            "report_windows": 2,
            "report_items": 2,
            "feedback_items": 2,
            "base": {"steps": 0},
        },
        workers=1,
        console=quiet(),
    )
    rows = read_rows(tmp_path / "out" / "reported.csv", ReportedRow)
    assert {"retention", "gain", "overall", "source_tokens"} <= set(quantities(rows))
    console = Console(file=io.StringIO(), width=200)
    print_tables(result, console)
    assert "retention" in console.file.getvalue()  # type: ignore[attr-defined]

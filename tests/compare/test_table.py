from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path

import pytest

from mixgym.compare.plan import Comparison
from mixgym.compare.request import AgentSpec
from mixgym.compare.summary import CurveRow, SummaryRow, read_rows, write_rows
from mixgym.compare.table import arms, caption, cells, html_table
from mixgym.errors import MixgymError

COMPARISON = Comparison("mixgym/E-v0", (AgentSpec("a", "x"), AgentSpec("b", "y")), (0, 1, 2))
ROW = SummaryRow(
    env="mixgym/E-v0", agent="a", seed=0, objective_test_loss=1.0, worst_domain_test_loss=2.0,
    worst_domain="noise", bits_per_byte=2.0, worst_bits_per_byte=3.0, perplexity=4.0,
    steps_to_target=100.0, final_objective_validation_loss=1.1, steps=100, train_tokens=1000,
    reward_tokens=200, eval_tokens=230, proxy_tokens=0, agent_tokens=4, train_flops=1e9,
    seconds=5.0, ms_per_step=11.0, bare_ms_per_step=10.0, overhead=1.1, diverged=False,
    corpus_hash="h", version="1", comparison="E-v0",
)  # fmt: skip


def rows() -> list[SummaryRow]:
    reference = [replace(ROW, seed=s, bits_per_byte=2.0 + s) for s in range(3)]
    other = [
        replace(ROW, agent="b", seed=s, bits_per_byte=1.9 + s, steps_to_target=t)
        for s, t in ((0, 50.0), (1, 75.0), (2, math.nan))
    ]
    return reference + other


def test_differences_are_paired_by_seed() -> None:
    reference, other = arms(COMPARISON, list(reversed(rows())))
    assert reference.difference is None and reference.reference
    assert other.difference is not None
    assert other.difference.mean == pytest.approx(-0.1)
    # The seeds differ by 1, the pairs do not differ at all.
    assert other.difference.high - other.difference.low == pytest.approx(0.0, abs=1e-12)
    assert other.loss.high - other.loss.low > 1.0


def test_seeds_that_never_reach_the_target_are_counted() -> None:
    other = arms(COMPARISON, rows())[1]
    assert (other.reached, other.paired) == (2, 3)
    assert other.fewer is not None and other.fewer.mean == pytest.approx(37.5)
    assert "2/3 seeds" in cells(other)[5][1]


def test_only_shared_seeds_are_paired() -> None:
    missing = [row for row in rows() if not (row.agent == "a" and row.seed == 2)]
    other = arms(COMPARISON, missing)[1]
    assert other.seeds == 3 and other.paired == 2


def test_few_seeds_are_labelled_smoke() -> None:
    table = arms(COMPARISON, rows())
    assert caption(COMPARISON, table).startswith("SMOKE: 3 seeds are too few")
    many = [replace(ROW, agent=a, seed=s) for a in "ab" for s in range(5)]
    assert "SMOKE" not in caption(COMPARISON, arms(COMPARISON, many))


def test_diverged_runs_are_shown() -> None:
    bad = [replace(row, diverged=row.seed == 1, bits_per_byte=math.nan) for row in rows()]
    assert "1 diverged" in cells(arms(COMPARISON, bad)[0])[0][1]
    assert cells(arms(COMPARISON, bad)[0])[1][0] == "n/a"


def test_tokens_include_every_account() -> None:
    assert ROW.lm_tokens == 1234


def test_html_escapes_names() -> None:
    nasty = [replace(row, worst_domain="<script>") for row in rows()]
    assert "<script>" not in html_table(COMPARISON, arms(COMPARISON, nasty))


def test_rows_read_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    third = replace(ROW, objective_test_loss=1 / 3, diverged=True, worst_domain='a,"b"')
    write_rows(path, [third], SummaryRow)
    assert read_rows(path, SummaryRow) == [third]
    assert path.read_text().splitlines()[0].split(",")[0] == fields(SummaryRow)[0].name


def test_missing_values_are_empty_fields(tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    write_rows(path, [replace(ROW, steps_to_target=math.nan)], SummaryRow)
    assert ",," in path.read_text()
    assert math.isnan(read_rows(path, SummaryRow)[0].steps_to_target)


def test_a_foreign_csv_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    path.write_text("env,agent\nmixgym/E-v0,a\n")
    with pytest.raises(MixgymError, match="seed"):
        read_rows(path, CurveRow)

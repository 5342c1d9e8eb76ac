from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path

import pytest

from mixgym.compare.figures import difference_rows, final_losses
from mixgym.compare.plan import Comparison
from mixgym.compare.summary import CurveRow, SummaryRow, read_rows, write_rows
from mixgym.compare.table import arms, caption, cells, html_table
from mixgym.errors import MixgymError
from mixgym.experiment.request import AgentSpec

COMPARISON = Comparison("mixgym/E-v0", (AgentSpec("a", "x"), AgentSpec("b", "y")), (0, 1, 2))
ROW = SummaryRow(
    env="mixgym/E-v0", agent="a", seed=0, objective_test_loss=1.0, worst_domain_test_loss=2.0,
    worst_domain="noise", bits_per_byte=2.0, worst_bits_per_byte=3.0, perplexity=4.0,
    steps_to_target=100.0, final_objective_validation_loss=1.1, steps=100, train_tokens=1000,
    reward_tokens=200, eval_tokens=230, proxy_tokens=0, agent_tokens=4, train_flops=1e9,
    seconds=5.0, ms_per_step=11.0, bare_ms_per_step=10.0, overhead=1.1, diverged=False,
    corpus_hash="h", configuration="c", version="1", comparison="E-v0",
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
    assert cells(other)[5][0] == "+37.5%"
    assert cells(other)[5][2:] == ("62 of 100 steps", "2 of 3 seeds")
    assert cells(arms(COMPARISON, rows())[0])[5] == ("reference", "100 steps")


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


def test_a_diverged_seed_neither_spoils_means_nor_hides() -> None:
    # Divergence can leave finite losses, which are as meaningless as infinite ones.
    spoilt = [
        replace(
            row, diverged=True, bits_per_byte=900.0, worst_bits_per_byte=901.0, perplexity=math.inf,
            worst_domain_test_loss=630.0, worst_domain="other", steps_to_target=10.0,
        ) if (row.agent, row.seed) == ("b", 1) else row
        for row in rows()
    ]  # fmt: skip
    reference, other = arms(COMPARISON, spoilt)
    assert other.loss.mean == pytest.approx((1.9 + 3.9) / 2) and other.loss.n == 2
    assert other.perplexity.mean == 4.0 and other.worst.mean == 3.0
    assert other.worst_perplexity.mean == pytest.approx(math.exp(2.0))
    assert other.difference is not None and other.difference.mean == pytest.approx(-0.1)
    assert (other.reached, other.paired, other.worst_domain) == (1, 3, "noise")
    row = cells(other)
    assert row[0][1] == "3 seeds, 1 diverged"
    assert all("2 of 3 seeds" in row[i] for i in (1, 2, 3, 4)) and "1 of 3 seeds" in row[5]
    assert reference.loss.n == 3 and not any("of" in x for cell in cells(reference) for x in cell)
    forest = difference_rows(COMPARISON.labels, COMPARISON.reference, final_losses(spoilt))[0]
    assert forest.mean == pytest.approx(-0.1) and forest.note == "2 of 3 seeds"


def test_without_the_reference_there_is_no_target() -> None:
    lost = [
        replace(row, diverged=True, bits_per_byte=math.nan) if row.agent == "a" else row
        for row in rows()
    ]
    other = arms(COMPARISON, lost)[1]
    assert cells(other)[4:6] == [("n/a", "0 of 3 seeds"), ("n/a",)]


def test_the_worst_domain_has_its_perplexity() -> None:
    assert "perplexity 7.389" in cells(arms(COMPARISON, rows())[0])[3]


def test_the_caption_names_each_columns_interval() -> None:
    many = [
        replace(ROW, agent=a, seed=s, steps_to_target=math.nan if (a, s) == ("b", 3) else 9.0 + s)
        for a in "ab"
        for s in range(10)
    ]
    ten = replace(COMPARISON, seeds=tuple(range(10)))
    assert "worst domain, vs reference by percentile bootstrap; fewer steps by Student's t." in (
        caption(ten, arms(ten, many))
    )
    assert "over seeds, by Student's t." in caption(COMPARISON, arms(COMPARISON, rows()))


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


def test_results_of_before_configurations_were_kept_are_read(tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    write_rows(path, [ROW], SummaryRow)
    header, line = path.read_text().splitlines()
    assert ",corpus_hash,configuration,version," in header and ",h,c,1," in line
    path.write_text(
        header.replace(",configuration", "") + "\n" + line.replace(",h,c,", ",h,") + "\n"
    )
    assert read_rows(path, SummaryRow) == [replace(ROW, configuration="")]


def test_a_foreign_csv_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    path.write_text("env,agent\nmixgym/E-v0,a\n")
    with pytest.raises(MixgymError, match="seed"):
        read_rows(path, CurveRow)

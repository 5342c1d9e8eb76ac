"""The page of results: tables of every suite under benchmarks/results, from its CSV files."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from mixgym.compare.probing import ProbeRow

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results"

RESULTS_HEAD = """# Results

Made from the committed `summary.csv` of each suite; each suite's folder in `benchmarks/results` has
the exact command, the curves and the raw numbers. Losses are nats per byte on the test split, which
no agent and no reward reads. Intervals are 95 % over seeds by Student's t (n below 10); differences
are paired by seed.
"""


def results_page() -> str:
    """Return a table for every suite and environment under benchmarks/results."""
    lines = [RESULTS_HEAD]
    for path in sorted(RESULTS.glob("*/summary.csv")):
        with path.open() as file:
            rows = list(csv.DictReader(file))
        suite = yaml.safe_load(
            (DOCS.parent / f"benchmarks/suites/{path.parent.name}.yml").read_text()
        )
        for comparison in suite["comparisons"]:
            reference = comparison["reference"]
            name = comparison.get("name") or comparison["env"].rpartition("/")[2]
            own = [row for row in rows if row["comparison"] == name]
            if not own:
                continue
            lines += [f"## {path.parent.name}: {name}", ""]
            lines += results_table(own, reference)
            lines.append("")
            lines += reported_lines(path.with_name("reported.csv"), name, reference)
            lines += probe_table(path.with_name("probes.csv"), name, reference)
    return "\n".join(lines).rstrip() + "\n"


def reported_lines(path: Path, name: str, reference: str) -> list[str]:
    """Return a Markdown table of what a comparison reports beyond losses; empty without it."""
    from mixgym.compare.reported import ReportedRow, quantities, reported_cells
    from mixgym.compare.summary import read_rows

    rows = (
        [row for row in read_rows(path, ReportedRow) if row.comparison == name]
        if path.exists()
        else []
    )
    names = quantities(rows)
    if not names:
        return []
    lines = [
        f"What the environment reports beside losses, and its paired difference to {reference}'s "
        "([what each is](environments.md)).",
        "",
        "| agent | " + " | ".join(f"{name} | minus {reference}" for name in names) + " |",
        "|---" * (1 + 2 * len(names)) + "|",
    ]
    for agent in dict.fromkeys(row.agent for row in rows):
        cells = (reported_cells(rows, agent, reference, name) for name in names)
        texts = (f"{mean} | {difference.replace('+', '')}" for mean, difference in cells)
        lines.append(f"| {agent} | {' | '.join(texts)} |")
    return [*lines, ""]


def probe_table(path: Path, name: str, reference: str) -> list[str]:
    """Return a Markdown table of what `mixgym probe` wrote of a comparison; empty without it."""
    from mixgym.compare.probing import ProbeRow, differences
    from mixgym.compare.summary import read_rows

    rows = (
        [row for row in read_rows(path, ProbeRow) if row.comparison == name]
        if path.exists()
        else []
    )
    if not rows:
        return []
    probes = list(dict.fromkeys(row.probe for row in rows))
    bits: dict[str, list[float]] = {}
    for row in rows:
        if row.probe == probes[0]:
            bits.setdefault(row.agent, []).append(row.bits_per_byte)
    errors = ", ".join(
        f"{probe} {max(row.bits_per_byte_error for row in rows if row.probe == probe):.3f}"
        for probe in probes
    )
    lines = [
        "Bits a byte of the right answers of report items (`mixgym probe`), and the paired "
        f"difference to {reference}'s. Standard errors over items: {errors}.",
        "",
        "| agent | seeds | " + " | ".join(f"{p} | minus {reference}" for p in probes) + " |",
        "|---" * (2 + 2 * len(probes)) + "|",
    ]
    for agent in sorted(bits, key=lambda agent: statistics.mean(bits[agent])):
        cells = []
        for probe in probes:
            own = [r.bits_per_byte for r in rows if r.agent == agent and r.probe == probe]
            cells.append(f"{statistics.mean(own):.4f}")
            cells.append(differences(rows, agent, reference, probe).replace("+", ""))
        lines.append(f"| {agent} | {len(bits[agent])} | " + " | ".join(cells) + " |")
    return [*lines, *accuracies(rows), ""]


def accuracies(rows: Sequence[ProbeRow]) -> list[str]:
    """Return a line on the accuracies of probes with choices: the arms', beside chance."""
    lines = []
    for probe in dict.fromkeys(row.probe for row in rows):
        own = [row for row in rows if row.probe == probe and row.accuracy == row.accuracy]
        if own:
            arms = {row.agent for row in own}
            means = [statistics.mean(r.accuracy for r in own if r.agent == arm) for arm in arms]
            lines += [
                "",
                f"Accuracy on {probe}: {min(means):.1%} to {max(means):.1%} over the arms, chance "
                f"{own[0].chance:.1%}, standard error over items {own[0].accuracy_error:.1%}.",
            ]
    return lines


def results_table(rows: list[dict[str, str]], reference: str) -> list[str]:
    """Return a Markdown table of one environment's arms, best first."""
    from mixgym.compare.statistics import mean_interval

    def column(agent: str, name: str) -> dict[str, float]:
        return {
            row["seed"]: float(row[name]) if row[name] else float("nan")
            for row in rows
            if row["agent"] == agent
        }

    def shown(values: list[float], digits: int = 4) -> str:
        interval = mean_interval(values)
        return f"{interval.mean:.{digits}f} ± {interval.high - interval.mean:.{digits}f}"

    names = {row["agent"] for row in rows}
    rivals = [reference, *({"uniform"} & names - {reference})]
    lines = [
        "| agent | test loss | bits/byte | worst domain | "
        + "".join(f"minus {rival} | " for rival in rivals)
        + f"LM steps to {reference}'s final loss | LM tokens: run, rewards, evaluation "
        "| proxies and learning |",
        "|---" * (7 + len(rivals)) + "|",
    ]
    total = {row["seed"]: int(row["steps"]) for row in rows if row["agent"] == reference}

    def tokens(agent: str, *accounts: str) -> str:
        spent = [sum(int(r[a] or 0) for a in accounts) for r in rows if r["agent"] == agent]
        return f"{statistics.mean(spent) / 1e6:.2f} M"

    for agent in sorted(
        names, key=lambda agent: statistics.mean(column(agent, "objective_test_loss").values())
    ):
        loss = column(agent, "objective_test_loss")
        steps = column(agent, "steps_to_target")
        reached = [steps[seed] for seed in steps if steps[seed] == steps[seed]]
        mean_steps = f"{statistics.mean(reached):.0f}" if reached else "-"
        bits = statistics.mean(column(agent, "bits_per_byte").values())
        worst = statistics.mean(column(agent, "worst_domain_test_loss").values())
        differences = []
        for rival in rivals:
            base = column(rival, "objective_test_loss")
            paired = [loss[seed] - base[seed] for seed in loss]
            differences.append("-" if agent == rival else shown(paired))
        lines.append(
            f"| {agent} | {shown(list(loss.values()))} | {bits:.3f} | {worst:.4f} | "
            + "".join(f"{difference} | " for difference in differences)
            + f"{mean_steps} of {next(iter(total.values()))}, {len(reached)} of {len(steps)} seeds "
            f"| {tokens(agent, 'train_tokens', 'eval_tokens')} "
            f"| {tokens(agent, 'proxy_tokens', 'agent_tokens')} |"
        )
    return lines

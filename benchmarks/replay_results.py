"""Run a sample of the committed results again, and compare every number bit for bit.

    python benchmarks/replay_results.py                          # three arms of each suite, seed 0
    python benchmarks/replay_results.py foundation --show        # which runs that is
    python benchmarks/replay_results.py foundation --arm MicroPretrain-v0/natural --seed 1
    python benchmarks/replay_results.py --out runs/new --against runs/old

From the clone's root. Runs go to `OUT/SUITE` and are resumed where they stopped; times are not
compared. Another kind of processor may round otherwise: there, run the older code first, then the
newer one `--against` what it left; `--decisions 4` then suffices for both. The exit code is 1 if a
number differs.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mixgym.compare.plan import Study, read_suite
from mixgym.compare.study import RunsFailed, run_study

HERE = Path(__file__).parent
RESULTS = HERE / "results"

#: suite -> arms, cheap ones of every kind: fixed, online, with gradients, learned before.
SAMPLE: dict[str, tuple[str, ...]] = {
    "foundation": (
        "MicroTarget-v0/related-to-target",
        "MicroPretrain-v0/natural",
        "MicroPretrain-v0/odm-exp3",
    ),
    "micro-target": (
        "MicroTarget-v1/ramp-then-only",
        "MicroTarget-v1/odm-smoothed",
        "MicroTarget-v1/dga",
    ),
    "acodm": ("MicroTarget-v0/doge", "MicroTarget-v0/acodm", "MicroTarget-v0/acodm-released"),
    "hds": (
        "MicroTarget-v0/sac-progress",
        "MicroTarget-v0/tqc-progress",
        "MicroPretrain-v0/sac-online",
    ),
    "dma": ("MicroContinual-v0/uniform", "MicroContinual-v0/cql", "MicroContinual52-v0/acodm"),
    "dma-generalisation": ("other-source/natural", "other-source/heuristic", "other-source/cql"),
}
FILES = ("summary.csv", "curves.csv", "reported.csv")
#: Columns that no replay repeats: times, the code's version, and what another arm decides.
VARYING = (
    "seconds",
    "ms_per_step",
    "bare_ms_per_step",
    "overhead",
    "version",
    "steps_to_target",
)


def part_of(study: Study, arms: tuple[str, ...], seed: int, decisions: int | None) -> Study:
    """Return the study of some `COMPARISON/LABEL` arms and one seed, shortened to `decisions`.

    Raises:
        SystemExit: an arm that the suite does not have, naming those it has.
    """
    every = [f"{x.name}/{label}" for x in study.comparisons for label in x.labels]
    for arm in arms:
        if arm not in every:
            sys.exit(f"suite {study.name} has no arm {arm}; it has {', '.join(every)}")
    comparisons = []
    for comparison in study.comparisons:
        agents = tuple(x for x in comparison.agents if f"{comparison.name}/{x.label}" in arms)
        if agents:
            reference = agents[0].label
            part = replace(comparison, agents=agents, seeds=(seed,), reference=reference)
            if decisions is not None:
                arguments = {**part.env_arguments, "decisions": decisions}
                part = replace(part, env_arguments=arguments)
            comparisons.append(part)
    return replace(study, comparisons=tuple(comparisons), suite=True)


def numbers(folder: Path, comparison: str, arm: str, seed: int) -> Iterator[tuple[str, str]]:
    """Yield where and what: every value of a run in the folder's CSV files."""
    for name in FILES:
        if not (folder / name).is_file():
            continue
        with (folder / name).open(newline="") as file:
            for row in csv.DictReader(file):
                if (row["comparison"], row["agent"], row["seed"]) != (comparison, arm, str(seed)):
                    continue
                place = row.get("quantity") or (name == "curves.csv" and f"step {row['step']}")
                for column, value in row.items():
                    if column not in VARYING:
                        where = " ".join((name, *([str(place)] if place else []), column))
                        yield where, value


def difference(stored: dict[str, str], found: dict[str, str]) -> str:
    """Return the first difference between two runs' values, "" if there is none."""
    for where in stored.keys() | found.keys():
        if where not in stored or where not in found:
            return f"{where} is in one of them only"
    for where, value in stored.items():
        if found[where] != value:
            return f"{where}: {value}, now {found[where]}"
    return ""


def replay(suite: str, options: argparse.Namespace, table: Table) -> bool:
    """Run a suite's part, add a row an arm to the table, and return whether all is equal."""
    arms = tuple(options.arm) or SAMPLE[suite]
    whole = read_suite(HERE / "suites" / f"{suite}.yml")
    study = part_of(whole, arms, options.seed, options.decisions)
    pairs = [(x.name, label) for x in study.comparisons for label in x.labels]
    if options.show:
        for pair in pairs:
            table.add_row(suite, "/".join(pair), "", "")
        return True
    out = options.out / suite
    try:
        run_study(study, out, workers=options.workers, resume=True, timing_steps=0)
    except RunsFailed as error:
        print(error, file=sys.stderr)
    against = (options.against or RESULTS) / suite
    equal = True
    for comparison, label in pairs:
        stored = dict(numbers(against, comparison, label, options.seed))
        found = dict(numbers(out, comparison, label, options.seed))
        verdict = difference(stored, found) if stored and found else "no such run to compare"
        equal &= not verdict
        table.add_row(suite, f"{comparison}/{label}", str(len(found)), verdict or "equal")
    return equal


def main() -> None:
    """Run and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suites", nargs="*", help=f"of {', '.join(SAMPLE)}; all by default")
    parser.add_argument("--arm", action="append", default=[], help="COMPARISON/LABEL of one suite")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--decisions", type=int, help="shorten the episodes; needs --against")
    parser.add_argument("--out", type=Path, default=Path("runs/replayed"))
    parser.add_argument("--against", type=Path, help="another --out, instead of what is committed")
    parser.add_argument("--workers", type=int, help="processes; one a CPU by default")
    parser.add_argument("--show", action="store_true", help="only say which runs")
    options = parser.parse_args()
    for suite in options.suites:
        if suite not in SAMPLE:
            parser.error(f"no suite {suite!r} with committed results; there are {list(SAMPLE)}")
    suites = options.suites or list(SAMPLE)
    if options.arm and len(suites) != 1:
        parser.error("--arm goes with one suite")
    table = Table("suite", "arm", "values", "bit for bit")
    equal = [replay(suite, options, table) for suite in suites]
    Console().print(table)
    sys.exit(not all(equal))


if __name__ == "__main__":
    main()

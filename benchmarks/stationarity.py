"""Does the best schedule beat the best static mixture, and by how many times the seed noise?

    python benchmarks/stationarity.py benchmarks/results/foundation/summary.csv
    python benchmarks/stationarity.py benchmarks/results/micro-target/summary.csv

The suite and its MicroTarget environment follow from the folder's name. The best of each kind
is chosen by its mean final *validation* objective; the gap is reported on test, seed by seed (arms
of a seed share initial weights and data order). Two measures of noise stand beside it: the standard
deviation over seeds of an arm's final loss, pooled over the arms compared, and that of the paired
differences.
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path
from statistics import mean, stdev, variance

import yaml

from mixgym.compare.statistics import mean_interval

SUITES = Path(__file__).parent / "suites"
KINDS = {"schedule": ("schedule",), "static": ("static", "uniform", "natural")}


def kinds(suite: str) -> tuple[str, dict[str, str]]:
    """Return the suite's MicroTarget environment, and label -> kind of its arms of either kind."""
    content = yaml.safe_load((SUITES / f"{suite}.yml").read_text())
    (comparison,) = (c for c in content["comparisons"] if "/MicroTarget-" in c["env"])
    agents = {a.get("label", a["agent"]): a["agent"] for a in comparison["agents"]}
    kind = {agent: kind for kind, agents in KINDS.items() for agent in agents}
    return comparison["env"], {k: kind[v] for k, v in agents.items() if v in kind}


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("summary", type=Path, help="summary.csv of a suite with MicroTarget")
    options = parser.parse_args()
    env, arms = kinds(options.summary.resolve().parent.name)
    validation: dict[str, list[float]] = {}
    test: dict[str, dict[int, float]] = {}
    with options.summary.open() as file:
        for row in csv.DictReader(file):
            if row["env"] == env and row["agent"] in arms:
                label = row["agent"]
                validation.setdefault(label, []).append(
                    float(row["final_objective_validation_loss"])
                )
                test.setdefault(label, {})[int(row["seed"])] = float(row["objective_test_loss"])
    best = {
        kind: min(
            (label for label in validation if arms[label] == kind),
            key=lambda label: mean(validation[label]),
        )
        for kind in KINDS
    }
    static, schedule = test[best["static"]], test[best["schedule"]]
    gaps = [static[seed] - schedule[seed] for seed in sorted(static)]
    interval = mean_interval(gaps)
    pooled = math.sqrt(mean([variance(static.values()), variance(schedule.values())]))
    print(f"best schedule: {best['schedule']:22} {mean(schedule.values()):.4f} nats/byte (test)")
    print(f"best static:   {best['static']:22} {mean(static.values()):.4f} nats/byte (test)")
    print(f"gap by seed:   {', '.join(f'{gap:.4f}' for gap in gaps)}")
    print(
        f"gap:           {mean(gaps):.4f}, 95 % interval [{interval.low:.4f}, {interval.high:.4f}]"
    )
    for what, noise in (("an arm", pooled), ("paired differences", stdev(gaps))):
        print(f"seed noise of {what}: sd {noise:.4f}; the gap is {mean(gaps) / noise:.1f} times it")


if __name__ == "__main__":
    main()

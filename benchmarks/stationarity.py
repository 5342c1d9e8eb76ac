"""Does the best schedule beat the best static mixture, and by how many times the seed noise?

    python benchmarks/stationarity.py benchmarks/results/foundation/summary.csv

The best of each kind is chosen by its mean final *validation* objective; the gap is reported on
test, seed by seed (arms of a seed share initial weights and data order). Two measures of noise
stand beside it: the standard deviation over seeds of an arm's final loss, pooled over the arms
compared, and that of the paired differences.
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path
from statistics import mean, stdev, variance

import yaml

from mixgym.compare.statistics import mean_interval

SUITE = Path(__file__).parent / "suites" / "foundation.yml"
ENV = "mixgym/MicroTarget-v0"


def kinds() -> dict[str, str]:
    """Return label -> agent of the suite's MicroTarget arms."""
    suite = yaml.safe_load(SUITE.read_text())
    (comparison,) = (c for c in suite["comparisons"] if c["env"] == ENV)
    return {a.get("label", a["agent"]): a["agent"] for a in comparison["agents"]}


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("summary", type=Path)
    options = parser.parse_args()
    agents = kinds()
    validation: dict[str, list[float]] = {}
    test: dict[str, dict[int, float]] = {}
    with options.summary.open() as file:
        for row in csv.DictReader(file):
            if row["env"] == ENV and row["agent"] in agents:
                label = row["agent"]
                validation.setdefault(label, []).append(
                    float(row["final_objective_validation_loss"])
                )
                test.setdefault(label, {})[int(row["seed"])] = float(row["objective_test_loss"])
    schedules = [label for label in validation if agents[label] == "schedule"]
    statics = [label for label in validation if agents[label] != "schedule"]
    best = {
        kind: min(labels, key=lambda label: mean(validation[label]))
        for kind, labels in (("schedule", schedules), ("static", statics))
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

"""How much does a schedule gain on MicroTarget's idea, by scarcity, horizon and learning rate?

    python benchmarks/scarcity.py --limit 3000 --steps 2400 --set batch_size=16 --seeds 0 1 \
        --static 0.15 0.35 --hold 24:0.3 26:0.3 --ramp 0.4:0.85
    python benchmarks/scarcity.py --version 1 --limit 3000 --steps 2400 --seeds 0 1 \
        --set context=16 batch_size=64 final_decay=0.04 --static 0.3 0.4 --spike 0.15:29:1

Every arm is a share of the targets, the rest on the related domains: constant (`--static S`); none
until decision D of 30, then S (`--hold D:S`, forked from one run); rising linearly from none at a
share F of the run to S at its end (`--ramp F:S`); or a constant C until decision D, then S
(`--spike C:D:S`, forked from the constant run, whose own end is a row too). The targets and the
related domains are those of a version of MicroTarget (`--version`). Losses are the targets' mean on
validation, in nats per byte. Rows are appended to --out as they come; arms found there are not
repeated.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from mixgym.corpus import load_corpus
from mixgym.envs import micro_target, micro_target_v1
from mixgym.lm.settings import PRESETS
from mixgym.lm.training import TrainingRun

DECISIONS = 30
BYTES = 32_768  # of each target's validation text, in windows of the context; at least 512
GROUPS = (micro_target.GROUPS, micro_target_v1.GROUPS)
COLUMNS = ["version", "model", "limit", "steps", "settings", "seed", "arm", "validation_loss"]
OUT = Path(__file__).parent / "results" / "scarcity" / "scarcity.csv"

Mixture = NDArray[np.float64]


class Experiment:
    """One setting: targets, model, scarcity, horizon, training arguments."""

    def __init__(
        self, version: int, model: str, limit: int, steps: int, settings: dict[str, Any]
    ) -> None:
        self.row = {
            "version": str(version),
            "model": model,
            "limit": str(limit),
            "steps": str(steps),
            "settings": json.dumps(settings, sort_keys=True),
        }
        self.steps = steps // DECISIONS
        self.model = model
        self.settings = PRESETS[model].settings.updated(settings)
        self.groups = GROUPS[version]
        targets = self.groups["target"]
        self.corpus = load_corpus("core19", limit=dict.fromkeys(targets, limit))
        self.targets = np.array([self.corpus.names.index(name) for name in targets])
        self.windows = max(512, BYTES // self.settings.context)

    def run(self, seed: int) -> TrainingRun:
        """Return a fresh training run."""
        return TrainingRun(
            self.corpus,
            self.model,
            total_steps=self.steps * DECISIONS,
            seed=seed,
            settings=self.settings,
        )

    def mixture(self, target: float) -> Mixture:
        """Return the mixture with a share of the targets and the rest on the related domains."""
        weights = np.zeros(self.corpus.K)
        for group, share in (("target", target), ("related", 1 - target)):
            for name in self.groups[group]:
                weights[self.corpus.names.index(name)] = share / len(self.groups[group])
        return weights

    def go(
        self, run: TrainingRun, share: Callable[[int], float], first: int, last: int
    ) -> TrainingRun:
        """Take decisions `first` to `last` with the targets' share at each."""
        for decision in range(first, last):
            run.advance(self.mixture(share(decision)), self.steps)
        return run

    def loss(self, run: TrainingRun) -> float:
        """Mean validation loss of the targets."""
        loss = run.evaluate("validation", domains=self.targets, windows=self.windows)
        return float(loss[self.targets].mean())


def main() -> None:
    """Run the arms that are not in --out yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", type=int, default=0, choices=range(len(GROUPS)))
    parser.add_argument("--model", default="micro", choices=sorted(PRESETS))
    parser.add_argument("--limit", type=int, required=True, help="bytes of each target domain")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=YAML", help="training argument"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--static", type=float, nargs="*", default=[])
    parser.add_argument("--hold", nargs="*", default=[], metavar="DECISION:SHARE")
    parser.add_argument("--ramp", nargs="*", default=[], metavar="FROM:SHARE")
    parser.add_argument("--spike", nargs="*", default=[], metavar="SHARE:DECISION:SHARE")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    settings = {key: yaml.safe_load(value) for key, value in (s.split("=", 1) for s in options.set)}
    experiment = Experiment(options.version, options.model, options.limit, options.steps, settings)
    done = _done(options.out)

    def wanted(seed: int, arm: str) -> bool:
        return tuple([*experiment.row.values(), str(seed), arm]) not in done

    def record(seed: int, arm: str, run: TrainingRun) -> None:
        row = {**experiment.row, "seed": seed, "arm": arm, "validation_loss": experiment.loss(run)}
        _append(options.out, row)
        print(f"seed {seed}  {arm:20} {row['validation_loss']:.4f}", flush=True)

    for seed in options.seeds:
        for share in options.static:
            if wanted(seed, f"static {share:g}"):
                run = experiment.go(experiment.run(seed), lambda _, s=share: s, 0, DECISIONS)
                record(seed, f"static {share:g}", run)
        for start, share in (map(float, pair.split(":")) for pair in options.ramp):

            def rising(decision: int, start: float = start, share: float = share) -> float:
                done = (decision / (DECISIONS - 1) - start) / (1 - start)
                return share * min(max(done, 0.0), 1.0)

            if wanted(seed, f"ramp {start:g}:{share:g}"):
                run = experiment.go(experiment.run(seed), rising, 0, DECISIONS)
                record(seed, f"ramp {start:g}:{share:g}", run)
        ends: dict[float, list[tuple[int, float, str]]] = {}
        for decision, share in (pair.split(":") for pair in options.hold):
            arm = f"hold {int(decision)}:{float(share):g}"
            ends.setdefault(0.0, []).append((int(decision), float(share), arm))
        for constant, decision, share in (text.split(":") for text in options.spike):
            constant = float(constant)
            arm = f"spike {constant:g}:{int(decision)}:{float(share):g}"
            own = ends.setdefault(constant, [(DECISIONS, constant, f"static {constant:g}")])
            own.append((int(decision), float(share), arm))
        for constant, arms in ends.items():
            arms = sorted(end for end in arms if wanted(seed, end[2]))
            trunk, at = experiment.run(seed), 0
            for decision, share, arm in arms:
                experiment.go(trunk, lambda _, c=constant: c, at, decision)
                at = decision
                run = experiment.go(trunk.fork(), lambda _, s=share: s, decision, DECISIONS)
                record(seed, arm, run)


def _done(file: Path) -> set[tuple[str, ...]]:
    if not file.exists():
        return set()
    with file.open() as rows:
        return {tuple(row[name] for name in COLUMNS[:-1]) for row in csv.DictReader(rows)}


def _append(file: Path, row: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = not file.exists()
    with file.open("a", newline="") as output:
        writer = csv.DictWriter(output, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    main()

"""Probe columns of a comparison: every run's final model, measured on benchmark items.

Runs keep their actions, not their models. A run is trained again from its seed and actions, without
what its rewards and observations measured, checked against its stored training losses, and then
measured on report items, which nothing that steers a run ever reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import TypedDict

from mixgym.compare.plan import Comparison, Study
from mixgym.compare.statistics import mean_interval, paired_differences
from mixgym.errors import MixgymError
from mixgym.experiment.csvtext import number
from mixgym.experiment.request import RunRequest
from mixgym.experiment.runfolder import (
    is_finished,
    plain,
    read_actions,
    read_config,
    read_metrics,
    read_result,
)
from mixgym.files import read_json, write_json

PROBES_FILE = "probes.json"
TABLE = "probes.csv"
#: What leaves the training as it was and measures nothing while it goes on.
_BARE: dict[str, Any] = {
    "reward": {},
    "observation": {"domain": ["mixture"], "layer": [], "scalar": ["remaining"]},
}

OnDecision = Callable[[int, int, int], None]


@dataclass(frozen=True)
class ProbeRequest:
    """Which probes, and how many report items of each at most."""

    probes: tuple[str, ...]
    items: int

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {"probes": list(self.probes), "items": self.items}


class ProbesFile(TypedDict):
    """A run's probes.json."""

    probes: list[str]
    items: int
    results: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class ProbeRow:
    """One run on one probe; the fields of `mixgym.probes.measure.ProbeResult`."""

    comparison: str
    agent: str
    seed: int
    probe: str
    items: int
    log_probability: float
    bits_per_byte: float
    bits_per_byte_error: float
    accuracy: float
    accuracy_error: float
    chance: float


def probe_run(
    directory: Path, asked: ProbeRequest, on_decision: OnDecision | None = None
) -> dict[str, Any]:
    """Train the finished run in `directory` again, measure its final model, write probes.json.

    `on_decision` is called with decisions done, decisions, and LM steps after each. Returns
    {probe: fields of its result}.

    Raises:
        MixgymError: no finished run, another corpus or configuration, or this machine trains it to
            other numbers.
        UnknownNameError: no such probe.
    """
    from mixgym.experiment.environment import Wanted, make_environment
    from mixgym.experiment.rollout import Replayed, Step, rollout
    from mixgym.experiment.run import check_configuration, check_corpus
    from mixgym.probes.measure import measure

    result = read_result(directory)
    config = read_config(directory, result)
    request = RunRequest.from_json(config)
    actions, metrics = read_actions(directory, result), read_metrics(directory, result)
    wanted = Wanted(config.get("action_map"), config.get("agent_env_arguments") or {})
    env = make_environment(request.env, request.env_arguments, wanted)
    try:
        check_corpus(env, request)
        check_configuration(env, request)
    finally:
        env.close()
    # Of what the agent wanted only this decides what its actions mean.
    meaning = {k: v for k, v in wanted.env_arguments.items() if k == "action_arguments"}
    env = make_environment(
        request.env, {**request.env_arguments, **_BARE}, Wanted(wanted.action_map, meaning)
    )
    try:
        step = Step(0, None, {})
        for step in rollout(env, Replayed(actions), request.seed, decisions=len(actions)):
            if step.decision and on_decision is not None:
                on_decision(step.decision, len(actions), int(step.info["step"]))
        losses = np.array([float(number(x) or "nan") for x in step.info["train_loss"]])
        if not np.array_equal(losses, metrics.train_loss[-1], equal_nan=True):
            raise MixgymError(
                f"{directory}: its actions train another model on this machine or version (last "
                f"training losses {losses}, stored {metrics.train_loss[-1]}): make the comparison "
                "here, then probe it"
            )
        run: Any = env.unwrapped.run  # type: ignore[attr-defined]
        found = measure(run, asked.probes, "report", items=asked.items)
    finally:
        env.close()
    values = {name: plain(result.to_json()) for name, result in found.items()}
    write_json(directory / PROBES_FILE, {**asked.to_json(), "results": values}, digest=True)
    return values


def probed(directory: Path, asked: ProbeRequest) -> dict[str, Any] | None:
    """What `probe_run` wrote for an equal request; None if it is missing or of another."""
    path = directory / PROBES_FILE
    if not path.exists():
        return None
    remedy = "delete it and run mixgym probe again"
    stored: ProbesFile = read_json(path, ProbesFile, remedy=remedy)
    if (tuple(stored["probes"]), stored["items"]) != (asked.probes, asked.items):
        return None
    return stored["results"]


def finished_runs(
    study: Study, out: Path, arms: Sequence[str] = (), seeds: int | None = None
) -> list[tuple[Comparison, RunRequest, Path]]:
    """Return the finished runs of a study with their folders; diverged ones have no model to probe.

    Args:
        study, out: a comparison and its folder.
        arms: labels; all if empty.
        seeds: how many of each arm, from the first; all if None.

    Raises:
        MixgymError: no run folders (committed results have none), or a label that is no arm's.
    """
    if not (out / "runs").is_dir():
        raise MixgymError(f"{out} has no run folders: run the comparison here first")
    known = {label for comparison in study.comparisons for label in comparison.labels}
    for label in arms:
        if label not in known:
            raise MixgymError(
                f"{label!r} is no arm of {out}; there are: {', '.join(sorted(known))}"
            )
    found = []
    for comparison, request in study.requests():
        directory = out / study.run_directory(comparison, request.agent.label, request.seed)
        wanted = not arms or request.agent.label in arms
        if seeds is not None and request.seed not in comparison.seeds[:seeds]:
            wanted = False
        if not wanted or not is_finished(directory):
            continue
        if not read_result(directory)["diverged"]:
            found.append((comparison, request, directory))
    return found


def probe_rows(
    runs: Sequence[tuple[Comparison, RunRequest, Path]], asked: ProbeRequest
) -> list[ProbeRow]:
    """Gather the rows of the runs that have been probed."""
    names = [f.name for f in fields(ProbeRow)][4:]
    rows = []
    for comparison, request, directory in runs:
        for probe, result in (probed(directory, asked) or {}).items():
            values: dict[str, Any] = {
                k: math.nan if result[k] is None else result[k] for k in names
            }
            rows.append(
                ProbeRow(comparison.name, request.agent.label, request.seed, probe, **values)
            )
    return rows


def differences(rows: Sequence[ProbeRow], arm: str, reference: str, probe: str) -> str:
    """Return the arm's paired difference to the reference in bits a byte, with its interval.

    "-" for the reference itself and where they share fewer than two seeds.
    """
    bits = {
        label: {r.seed: r.bits_per_byte for r in rows if r.agent == label and r.probe == probe}
        for label in (arm, reference)
    }
    seeds = sorted(bits[arm].keys() & bits[reference].keys())
    if arm == reference or len(seeds) < 2:
        return "-"
    interval = mean_interval(
        paired_differences([bits[arm][s] for s in seeds], [bits[reference][s] for s in seeds])
    )
    return f"{interval.mean:+.4f} ± {(interval.high - interval.low) / 2:.4f}"

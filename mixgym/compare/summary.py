"""summary.csv and curves.csv: a study's results as rows, gathered from its run folders."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from mixgym.compare.plan import Comparison, Study
from mixgym.compare.statistics import bits_per_byte, perplexity_per_byte, steps_to_target
from mixgym.errors import MixgymError
from mixgym.experiment.csvtext import cell, text
from mixgym.experiment.request import RunRequest
from mixgym.experiment.runfolder import RunResult, finished_result, read_metrics
from mixgym.files import atomic_path

SUMMARY = "summary.csv"
CURVES = "curves.csv"


@dataclass(frozen=True)
class SummaryRow:
    """One run. Losses are nats a byte, NaN if the run has none; `agent` is the arm's label.

    `steps_to_target` is the first evaluated LM step at which the validation objective is at most
    the reference arm's final one of the same seed; NaN (an empty field) if it never was, or if
    the reference's run is not finished. `eval_tokens` counts every evaluation, for rewards and
    for reports; `reward_tokens` is the rewards' part of it.
    """

    env: str
    agent: str
    seed: int
    objective_test_loss: float
    worst_domain_test_loss: float
    worst_domain: str
    bits_per_byte: float
    worst_bits_per_byte: float
    perplexity: float
    steps_to_target: float
    final_objective_validation_loss: float
    steps: int
    train_tokens: int
    reward_tokens: int
    eval_tokens: int
    proxy_tokens: int
    agent_tokens: int
    train_flops: float
    seconds: float
    ms_per_step: float
    bare_ms_per_step: float
    overhead: float
    diverged: bool
    corpus_hash: str
    configuration: str
    version: str
    comparison: str

    @property
    def lm_tokens(self) -> int:
        """Every LM token the run cost: training, rewards, evaluation, proxies, learning."""
        return self.train_tokens + self.eval_tokens + self.proxy_tokens + self.agent_tokens


@dataclass(frozen=True)
class CurveRow:
    """One evaluation of one run: validation loss of the objective, nats a byte, at an LM step."""

    env: str
    agent: str
    seed: int
    step: int
    objective_validation_loss: float
    comparison: str


Row = TypeVar("Row")


def collect(study: Study, out: Path) -> tuple[list[SummaryRow], list[CurveRow]]:
    """Rows of every finished run under `out`, in the study's order."""
    summary: list[SummaryRow] = []
    curves: list[CurveRow] = []
    results: dict[tuple[str, str, int], tuple[RunResult, list[CurveRow]]] = {}
    for comparison, request in study.requests():
        found = _read_run(study, comparison, request, out)
        if found is not None:
            results[comparison.name, request.agent.label, request.seed] = found
    for comparison, request in study.requests():
        key = (comparison.name, request.agent.label, request.seed)
        if key not in results:
            continue
        result, curve = results[key]
        reference = results.get((comparison.name, comparison.reference, request.seed))
        target = _real(reference[0]["final_objective_validation_loss"]) if reference else math.nan
        reached = steps_to_target(
            [row.step for row in curve], [row.objective_validation_loss for row in curve], target
        )
        summary.append(_summary_row(result, comparison.name, reached))
        curves += curve
    return summary, curves


def _read_run(
    study: Study, comparison: Comparison, request: RunRequest, out: Path
) -> tuple[RunResult, list[CurveRow]] | None:
    label, seed = request.agent.label, request.seed
    directory = out / study.run_directory(comparison, label, seed)
    result = finished_result(directory, request)
    if result is None:
        return None
    metrics = read_metrics(directory, result)
    curve = [
        CurveRow(request.env, label, seed, int(step), float(loss), comparison.name)
        for step, loss in zip(metrics.step, metrics.objective, strict=True)
        if math.isfinite(loss)
    ]
    return result, curve


def _summary_row(result: RunResult, comparison: str, reached: float) -> SummaryRow:
    loss = _real(result["objective_test_loss"])
    worst = _real(result["worst_domain_test_loss"])
    ledger = result["ledger"]
    return SummaryRow(
        env=result["env"],
        agent=result["agent"],
        seed=result["seed"],
        objective_test_loss=loss,
        worst_domain_test_loss=worst,
        worst_domain=result["worst_domain"] or "",
        bits_per_byte=bits_per_byte(loss),
        worst_bits_per_byte=bits_per_byte(worst),
        perplexity=perplexity_per_byte(loss),
        steps_to_target=reached,
        final_objective_validation_loss=_real(result["final_objective_validation_loss"]),
        steps=result["steps"],
        train_tokens=ledger["train"]["tokens"],
        reward_tokens=ledger["reward"]["tokens"],
        eval_tokens=ledger["reward"]["tokens"] + ledger["evaluation"]["tokens"],
        proxy_tokens=ledger["proxy"]["tokens"],
        agent_tokens=ledger["agent"]["tokens"],
        train_flops=ledger["train"]["flops"],
        seconds=result["seconds"],
        ms_per_step=_real(result["ms_per_step"]),
        bare_ms_per_step=_real(result["bare_ms_per_step"]),
        overhead=_real(result["overhead"]),
        diverged=result["diverged"],
        corpus_hash=result["corpus_hash"],
        configuration=result.get("configuration", ""),
        version=result["version"],
        comparison=comparison,
    )


def _real(value: float | None) -> float:
    return math.nan if value is None else float(value)


def write_rows(path: Path, rows: Iterable[Row], kind: type[Row]) -> None:
    """Write rows, dataclasses of kind `kind`, as CSV, atomically.

    A header, exact numbers, empty fields for NaN and infinity.
    """
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for row in rows:
            writer.writerow([cell(getattr(row, name)) for name in names])


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """Read what `write_rows` wrote; further columns are ignored.

    A missing `comparison` column means the environment's short name, a missing `configuration`
    one an older mixgym. Raises `MixgymError` if the file or another column is missing, or a value
    is not of its column's type.
    """
    types = get_type_hints(kind)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = []
            reader = csv.DictReader(file)
            if not reader.fieldnames:
                raise ValueError("it is empty")
            for record in reader:
                if None in record.values():
                    raise ValueError(f"line {reader.line_num} has too few fields")
                if "comparison" not in record:
                    record["comparison"] = record["env"].rpartition("/")[2]
                record.setdefault("configuration", "")
                rows.append(kind(**{name: _parse(record[name], t) for name, t in types.items()}))
            return rows
    except (OSError, KeyError, ValueError) as error:
        raise MixgymError(
            f"{path} is not a {path.name} of mixgym ({error!r}): restore it from a copy, or "
            "draw it again where the runs are"
        ) from error


def _parse(field: str, kind: type[Any]) -> Any:
    if kind is bool:
        if field not in ("True", "False"):
            raise ValueError(f"{field!r} is neither True nor False")
        return field == "True"
    if kind is float and not field:
        return math.nan
    return text(field) if kind is str else kind(field)

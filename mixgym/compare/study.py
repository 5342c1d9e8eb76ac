"""Running a study: check everything, execute what is missing, write tables, plots and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired

from rich.console import Console
from typing_extensions import TypedDict

from mixgym.compare.plan import Comparison, Study, merge, seed_range
from mixgym.compare.reported import REPORTED, ReportedRow, collect_reported, reported_tables
from mixgym.compare.summary import (
    CURVES,
    SUMMARY,
    CurveRow,
    SummaryRow,
    collect,
    read_rows,
    write_rows,
)
from mixgym.compare.table import arms, rich_tables
from mixgym.errors import DamagedFileError, MixgymError
from mixgym.experiment.outfolder import CONFIG, is_empty, out_folder
from mixgym.experiment.pool import Failure, Job, check_workers, run_pool
from mixgym.experiment.progress import JobsProgress
from mixgym.experiment.request import AgentSpec
from mixgym.experiment.run_worker import run_job
from mixgym.experiment.runfolder import finished_result, is_finished
from mixgym.files import read_json, write_json

TIMING_STEPS = 8


class StudyFile(TypedDict):
    """A study's config.json: one comparison, or the comparisons of a suite."""

    name: NotRequired[str]
    version: NotRequired[str]
    comparisons: NotRequired[list[dict[str, Any]]]
    env: NotRequired[str]
    env_arguments: NotRequired[dict[str, Any]]
    agents: NotRequired[list[dict[str, Any]]]
    seeds: NotRequired[list[int]]
    reference: NotRequired[str]
    corpus_hash: NotRequired[str]
    resolved: NotRequired[dict[str, Any]]


class StudyInterrupted(MixgymError):
    """Ctrl-C: finished runs are kept, the message says how to go on."""


class RunsFailed(MixgymError):
    """Some runs failed; the message names each with its error. The others are in the report."""


@dataclass(frozen=True)
class StudyResult:
    """What a study produced: its definition, its rows, and where the report is."""

    study: Study
    summary: list[SummaryRow]
    curves: list[CurveRow]
    report: Path


def compare(
    env: str,
    agents: Sequence[str | AgentSpec | Mapping[str, Any]],
    *,
    out: str | Path,
    seeds: int | Sequence[int] = 3,
    env_arguments: Mapping[str, Any] | None = None,
    reference: str | None = None,
    workers: int | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> StudyResult:
    """Compare agents on one environment with paired seeds; the Python form of `mixgym compare`.

    Args:
        env: environment id; `mixgym/` may be left out.
        agents: names, `LABEL=NAME:{...}` texts, mappings (`label`, `agent`, `arguments`) or
            `AgentSpec`s.
        out: folder for everything; must be empty or missing unless `resume`.
        seeds: number of seeds (0, 1, ...) or the seeds.
        env_arguments: JSON-plain keyword arguments of the environment.
        reference: label the others are compared to; the first agent if left out.
        workers: processes; one a CPU if left out.
        resume: go on with the study in `out`. Agents and seeds may be added.
        console: where progress goes; standard error if left out.

    Raises:
        MixgymError: bad input (before anything runs), a folder in use or of another study,
            failed runs (`RunsFailed`, after the report is written), Ctrl-C (`StudyInterrupted`).
    """
    specs = tuple(
        agent if isinstance(agent, AgentSpec) else AgentSpec.from_json(agent) for agent in agents
    )
    asked = Comparison(
        env, specs, seed_range(seeds), dict(env_arguments or {}), reference=reference or ""
    )
    study = Study(asked.name, (asked,))
    return run_study(
        study,
        out,
        workers=workers,
        resume=resume,
        keep_reference=reference is None,
        console=console,
    )


def run_study(
    study: Study,
    out: str | Path,
    *,
    workers: int | None = None,
    resume: bool = False,
    keep_reference: bool = False,
    timing_steps: int = TIMING_STEPS,
    console: Console | None = None,
) -> StudyResult:
    """Execute what is missing of `study` in `out`, then write its tables, plots and report.

    See `compare` for the arguments; `keep_reference` keeps a resumed study's reference.
    """
    console = console or Console(stderr=True)
    check_workers(workers)
    with out_folder(out, "mixgym compare", resume=resume) as out:
        stored = None if is_empty(out) else read_study(out)
        study = _prepared(study, console)
        if stored is not None:
            study = merge(stored, study, keep_reference)
            # Arms that only the stored study has must still be able to start on this machine.
            study = _prepared(study, console) if study != stored else study
        write_json(out / CONFIG, study.to_json(), digest=True)
        failures = _execute(study, out, workers, timing_steps, console)
        result = redraw(out)
    if failures:
        listed = "\n\n".join(_describe(failure) for failure in failures)
        raise RunsFailed(
            f"{len(failures)} of {len(study.requests())} runs failed:\n\n{listed}\n\n"
            f"The others are in {result.report}. Mend the cause and rerun with --resume."
        )
    return result


def _prepared(study: Study, console: Console) -> Study:
    from mixgym.compare.validate import prepare

    return prepare(study, lambda text: console.print(text, style="dim", highlight=False))


def read_study(out: str | Path) -> Study:
    """The study whose folder `out` is; `MixgymError` if it is none, or its config.json damaged."""
    path = Path(out) / CONFIG
    remedy = "restore it from a copy, or compare anew in another folder"
    try:
        return Study.from_json(read_json(path, StudyFile, remedy=remedy))
    except FileNotFoundError:
        raise MixgymError(
            f"{out} has no {CONFIG}, so it is not the --out of a comparison; choose another folder"
        ) from None
    except DamagedFileError:
        raise
    except (MixgymError, ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(f"{path} is damaged ({error}): {remedy}") from error


def _execute(
    study: Study, out: Path, workers: int | None, timing_steps: int, console: Console
) -> list[Failure]:
    jobs: list[Job] = []
    waiting: list[Path] = []
    done = 0
    for comparison, request in study.requests():
        directory = out / study.run_directory(comparison, request.agent.label, request.seed)
        if finished_result(directory, request) is None:
            jobs.append(run_job(request, directory, timing_steps))
            waiting.append(directory)
        else:
            done += 1
    total = done + len(jobs)
    if not jobs:
        console.print(f"all {total} runs are finished already", style="dim", highlight=False)
        return []
    try:
        with JobsProgress(console, total, done) as progress:
            return run_pool(jobs, workers, progress)
    except KeyboardInterrupt:
        finished = done + sum(map(is_finished, waiting))
        raise StudyInterrupted(
            f"interrupted: {finished} of {total} runs are finished and kept in {out}; "
            "rerun the same command with --resume to go on"
        ) from None


def redraw(out: str | Path) -> StudyResult:
    """Write summary.csv, curves.csv, figures and report.html anew from what `out` holds.

    Without run folders (as in committed results) the CSV files are read instead of written.
    """
    from mixgym.compare.figures import draw_figures
    from mixgym.compare.report import write_report

    out = Path(out)
    study = read_study(out)
    if (out / "runs").is_dir():
        summary, curves = collect(study, out)
        write_rows(out / SUMMARY, summary, SummaryRow)
        write_rows(out / CURVES, curves, CurveRow)
        if reported := collect_reported(study, out):
            write_rows(out / REPORTED, reported, ReportedRow)
    else:
        summary = read_rows(out / SUMMARY, SummaryRow)
        curves = read_rows(out / CURVES, CurveRow)
        path = out / REPORTED
        reported = read_rows(path, ReportedRow) if path.exists() else []
    figures = draw_figures(study, out, summary, curves, reported)
    report = write_report(study, out, summary, figures, reported)
    return StudyResult(study, summary, curves, report)


def print_tables(result: StudyResult, console: Console) -> None:
    """Print each comparison's table."""
    for comparison in result.study.comparisons:
        table = arms(comparison, result.summary)
        if table:
            for part in rich_tables(comparison, table, console.width):
                console.print(part)
        reported = result.report.with_name(REPORTED)
        if reported.exists():
            rows = read_rows(reported, ReportedRow)
            for part in reported_tables(comparison, rows, console.width):
                console.print(part)


def _describe(failure: Failure) -> str:
    return f"{failure.job.title}: {failure.error.strip()}"

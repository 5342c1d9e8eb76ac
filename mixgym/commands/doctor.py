"""`mixgym doctor`: what is there, what is missing, and whether a tiny run works."""

from __future__ import annotations

import importlib.util
import os
import platform
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from mixgym.commands.base import stdout
from mixgym.errors import MixgymError

#: Optional libraries by the extra that installs them.
EXTRAS = {
    "sb3": "stable_baselines3",
    "swarm": "lightgbm",
    "tune": "optuna",
    "parquet": "pyarrow",
    "tensorboard": "tensorboard",
}
_REQUIRED = ("torch", "transformers", "gymnasium", "numpy", "matplotlib", "tokenizers")
_SMOKE = {
    "domains": ["recipes", "python"],
    "limit": None,
    "decisions": 1,
    "steps_per_decision": 2,
    "evaluation_windows": 2,
    "report_windows": 2,
}


@dataclass(frozen=True)
class Check:
    """One finding: `state` is "ok", "note" or "problem", `remedy` what to do about it."""

    name: str
    state: str
    detail: str
    remedy: str = ""


def doctor(
    smoke: Annotated[
        bool, typer.Option("--smoke/--no-smoke", help="Train two real steps at the end.")
    ] = True,
) -> None:
    """Check this installation; exit code 1 if something is wrong, with what to do about it."""
    console = stdout()
    colours = {"ok": "green", "note": "yellow", "problem": "red"}
    problems = 0
    for check in examine(smoke):
        problems += check.state == "problem"
        state = f"[{colours[check.state]}]{check.state:<7}[/]"
        console.print(f"{state} {escape(f'{check.name}: {check.detail}')}", highlight=False)
        if check.remedy:
            console.print(f"        {escape(check.remedy)}", style="dim", highlight=False)
    if problems:
        raise MixgymError(f"{problems} problem{'s' if problems > 1 else ''} found, see above")
    console.print("everything works", style="green")


def examine(smoke: bool = True) -> Iterator[Check]:
    """Make every check in turn, cheap ones first; with `smoke` end by really training two steps."""
    yield Check("python", "ok", platform.python_version())
    for name in _REQUIRED:
        yield _library(name)
    yield _agents()
    yield _threads()
    yield from _extras()
    cache = _cache()
    yield cache
    yield from _corpora()
    if smoke and cache.state != "problem":
        yield _smoke()


def _library(name: str) -> Check:
    try:
        return Check(name, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, "problem", "not installed", f"pip install {name}")


def _agents() -> Check:
    from mixgym.agents import list_agents

    found = list_agents()
    if not found:
        remedy = "install mixgym (pip install -e . in the clone): agents are entry points"
        return Check("agents", "problem", "none found", remedy)
    return Check("agents", "ok", ", ".join(found))


def _threads() -> Check:
    from mixgym.experiment.pool import available_cpus

    cpus = available_cpus()
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    detail = f"{cpus} CPUs, so {cpus} workers by default, one thread each"
    return Check("threads", "ok", f"{detail} (OMP_NUM_THREADS here: {threads})")


def _extras() -> Iterator[Check]:
    for extra, module in EXTRAS.items():
        if importlib.util.find_spec(module) is None:
            yield Check(f"extra {extra}", "note", "not installed", f"pip install 'mixgym[{extra}]'")
        else:
            yield Check(f"extra {extra}", "ok", "installed")


def _cache() -> Check:
    from mixgym.corpus.cache import cache_root

    root = cache_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        remedy = "set MIXGYM_CACHE to a folder you can write to"
        return Check("cache", "problem", f"{root}: {error.strerror}", remedy)
    return Check("cache", "ok", f"{root} is writable")


def _corpora() -> Iterator[Check]:
    from mixgym.corpus import CORPORA, load_corpus
    from mixgym.corpus.cache import cache_root

    for name in CORPORA:
        if not list((cache_root() / "corpora").glob(f"{name}-*/manifest.json")):
            remedy = f"mixgym data build {name}, or just use it: it is built when first needed"
            yield Check(f"corpus {name}", "note", "not built yet", remedy)
            continue
        try:
            corpus = load_corpus(name, progress=True)
            corpus.verify()
        except (MixgymError, OSError) as error:
            yield Check(f"corpus {name}", "problem", str(error), f"mixgym data build {name}")
        else:
            yield Check(f"corpus {name}", "ok", f"{corpus.K} domains, hash {corpus.hash[:12]}")


def _smoke() -> Check:
    from mixgym.compare.plan import Comparison, Study
    from mixgym.compare.validate import prepare
    from mixgym.experiment.request import AgentSpec
    from mixgym.experiment.run import execute_run

    name = "tiny run"
    try:
        comparison = Comparison("NanoPretrain-v0", (AgentSpec("uniform", "uniform"),), (0,), _SMOKE)
        _, request = prepare(Study("doctor", (comparison,))).requests()[0]
        with tempfile.TemporaryDirectory() as folder:
            result = execute_run(request, Path(folder), timing_steps=2)
    except MixgymError as error:
        return Check(name, "problem", str(error), "do what the message says")
    except Exception:  # whatever it is, finding it is a doctor's job
        return Check(name, "problem", traceback.format_exc(), "please report this as an issue")
    milliseconds = result["ms_per_step"]
    return Check(name, "ok", f"trained {result['steps']} steps at {milliseconds:.0f} ms each")

"""What the tests of runs share: the arguments of a tiny study and looks into its folder."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from mixgym.experiment.request import RunRequest

RUN = "runs/random/seed-0"
TINY = {
    "domains": ["recipes", "python"],
    "limit": None,
    "decisions": 2,
    "steps_per_decision": 2,
    "evaluation_windows": 2,
    "report_windows": 2,
}


def quiet() -> Console:
    return Console(file=io.StringIO(), width=120)


def stamps(out: Path) -> dict[str, int]:
    return {str(p.parent): p.stat().st_mtime_ns for p in out.glob("runs/**/result.json")}


def request_of(directory: Path, **changes: object) -> RunRequest:
    config = json.loads((directory / "config.json").read_text())
    return RunRequest.from_json({**config, **changes})

"""What the tests of runs share: the arguments of a tiny study and looks into its folder."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from mixgym.experiment.request import RunRequest
from mixgym.experiment.runfolder import is_finished, write_result
from mixgym.files import DIGEST, read_json, write_json
from tests.tiny import TWO

RUN = "runs/random/seed-0"
TINY = {**TWO, "decisions": 2}


def quiet() -> Console:
    return Console(file=io.StringIO(), width=120)


def stamps(out: Path) -> dict[str, int]:
    return {str(p.parent): p.stat().st_mtime_ns for p in out.glob("runs/**/result.json")}


def spoil(path: Path, **changes: object) -> None:
    """Change a file as one who knows of digests would; a run's result has those of its others."""
    write_json(path, {**read_json(path), **changes}, digest=True)
    resign(path.parent)


def resign(directory: Path) -> None:
    """Make the digests of a run's folder right again."""
    if is_finished(directory):
        write_result(directory, read_json(directory / "result.json"))


def undated(directory: Path) -> None:
    """Make a run's result one of a version that wrote no digests."""
    path = directory / "result.json"
    if path.exists():
        result = json.loads(path.read_text())
        kept = {key: value for key, value in result.items() if key not in ("files", DIGEST)}
        path.write_text(json.dumps(kept))


def request_of(directory: Path, **changes: object) -> RunRequest:
    config = json.loads((directory / "config.json").read_text())
    return RunRequest.from_json({**config, **changes})

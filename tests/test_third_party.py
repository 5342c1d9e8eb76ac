"""The examples of docs/extending.md, in processes that know only the name of their module."""

from __future__ import annotations

import csv
import doctest
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
DEFINITIONS = ("from ", "import ", "class ", "@dataclass", "gym.register", "REWARD_TERMS.register")


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the page's definitions as third_party.py."""
    folder = tmp_path_factory.mktemp("third_party")
    examples = doctest.DocTestParser().get_examples(PAGE.read_text(encoding="utf-8"))
    parts = [x.source for x in examples if x.source.startswith(DEFINITIONS)]
    text = "\n".join(parts).replace('-v0", PowerLawEnv', '-v0", "third_party:PowerLawEnv"')
    (folder / "third_party.py").write_text(text, encoding="utf-8")
    return folder


def compare(module: Path, out: str, *arguments: str) -> list[dict[str, str]]:
    """Run `mixgym compare` in a fresh process and return the rows of its summary."""
    main = "from mixgym.commands.main import main; main()"
    command = [sys.executable, "-P", "-c", main, "compare", *arguments]
    command += ["--agent", "natural", "--agent", "uniform", "--seeds", "1", "--out", out]
    environment = {**os.environ, "PYTHONPATH": str(module)}
    done = subprocess.run(
        command, cwd=module, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with (module / out / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_environment_around_a_run_of_its_own_is_compared(module: Path) -> None:
    rows = compare(module, "power-law", "third_party:my/PowerLaw-v0")
    losses = {row["agent"]: float(row["objective_test_loss"]) for row in rows}
    assert losses["uniform"] < losses["natural"]  # more of prose and code, which count


def test_a_reward_term_reaches_the_workers_by_the_name_of_its_module(module: Path) -> None:
    given = ["--env-arg", "reward={coverage: 1}", "--env-arg", "decisions=2"]
    rows = compare(module, "coverage", "third_party:mixgym/NanoPretrain-v0", *given)
    assert [row["agent"] for row in rows] == ["natural", "uniform"]
    result = json.loads((module / "coverage/runs/uniform/seed-0/result.json").read_text())
    assert result["term_returns"] == {"coverage": 2.0}

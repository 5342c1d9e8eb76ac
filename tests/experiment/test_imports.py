"""Who may import whom: a comparison is made of experiments, nothing is made of comparisons."""

from __future__ import annotations

import ast
from pathlib import Path

import mixgym

PACKAGE = Path(mixgym.__file__).parent
#: The command line, and the package's own face.
MAY = ("compare/", "commands/", "__init__.py")


def imported(path: Path) -> set[str]:
    """Modules that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found


def test_nothing_but_commands_imports_comparisons() -> None:
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(MAY):
            modules = {m for m in imported(path) if m.startswith("mixgym.compare")}
            assert not modules, f"{name} imports {modules}"


def test_experiments_know_no_kind_of_job() -> None:
    above = ("mixgym.compare", "mixgym.trajectories", "mixgym.train", "mixgym.tune")
    for path in (PACKAGE / "experiment").glob("*.py"):
        modules = {m for m in imported(path) if m.startswith((*above, "mixgym.commands"))}
        assert not modules, f"{path.name} imports {modules}"


def test_no_class_of_environments_is_asked_for() -> None:
    for folder in ("experiment", "compare", "trajectories", "train", "tune"):
        for path in (PACKAGE / folder).glob("*.py"):
            assert "PretrainEnv" not in path.read_text(encoding="utf-8"), path

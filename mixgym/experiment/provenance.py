"""Which code and libraries produced a result."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

import mixgym

LIBRARIES = ("mixgym", "torch", "transformers", "gymnasium", "numpy", "tokenizers", "matplotlib")


def code_version() -> str:
    """The version of mixgym that results carry and that unequal results refuse to mix."""
    declared = getattr(mixgym, "__version__", None)
    if declared is not None:
        return str(declared)
    try:
        return metadata.version("mixgym")
    except metadata.PackageNotFoundError:
        return "0+unknown"


@cache
def library_versions() -> dict[str, str]:
    """Python's and the installed libraries' versions; nothing is imported."""
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    versions["mixgym"] = code_version()
    return versions


def git_revision() -> str | None:
    """Commit of the clone mixgym runs from ("+changes" if it was edited), None if no clone.

    None too while git is not to be had, which is no part of what results are compared by.
    """
    root = Path(mixgym.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        return _revision(root)
    except (OSError, subprocess.SubprocessError):
        return None


@cache  # but not of a failure, which may be over by the next run
def _revision(root: Path) -> str:
    head = _git(root, "rev-parse", "HEAD")
    return head + ("+changes" if _git(root, "status", "--porcelain", "-uno") else "")


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()

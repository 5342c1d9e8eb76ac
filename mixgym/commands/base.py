"""What the commands share: consoles, options, and how a result or an error is printed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from mixgym.errors import MixgymError

HELP: dict[str, Any] = {"help_option_names": ["-h", "--help"]}

Env = Annotated[str, typer.Argument(help="Environment; mixgym/ may be left out.", metavar="ENV")]
EnvOption = Annotated[str, typer.Option("--env", help="Environment; mixgym/ may be left out.")]
EnvArguments = Annotated[
    list[str] | None,
    typer.Option(
        "--env-arg",
        metavar="KEY=YAML",
        help="Argument of the environment, e.g. decisions=10 or 'limit={recipes: 40000}'. Repeat.",
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Folder for everything; new or empty.")]
ComparisonFolder = Annotated[Path, typer.Argument(help="The --out of a comparison.")]
Policy = Annotated[Path, typer.Argument(help="The --out of mixgym train.", metavar="POLICY")]
Workers = Annotated[int | None, typer.Option("--workers", help="Processes \\[default: one a CPU].")]
FirstSeed = Annotated[int, typer.Option("--first-seed", help="The first of them.")]


def stdout() -> Console:
    """Console for results."""
    return Console()


def stderr() -> Console:
    """Console for progress, notes and errors."""
    return Console(stderr=True)


def say(text: str, console: Console | None = None) -> None:
    """Print a line as it is, whatever its length: no markup, no colours, no breaks."""
    (console or stdout()).print(text, markup=False, highlight=False, soft_wrap=True)


def assignments(texts: list[str] | None) -> dict[str, Any]:
    """The values of KEY=YAML options by key.

    Raises:
        MixgymError: one is not of that form.
    """
    from mixgym.experiment.request import parse_assignment

    return dict(parse_assignment(text) for text in texts or [])


@contextmanager
def resumable(
    out: Path, kept: str = "finished episodes are", *, flag: str = " with --resume"
) -> Iterator[None]:
    """Turn Ctrl-C into an error that says what is kept in `out`, and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise MixgymError(
            f"interrupted: {kept} kept in {out}; rerun the same command{flag} to go on"
        ) from None

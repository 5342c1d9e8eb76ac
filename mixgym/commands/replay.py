"""`mixgym replay`; nothing heavy is imported before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mixgym.commands.base import say, stderr
from mixgym.errors import MixgymError


def replay(
    run: Annotated[Path, typer.Argument(help="A run's folder, as OUT/runs/natural/seed-0.")],
) -> None:
    """Re-execute a run from its seed and actions; fail unless every number is the same.

    Mixtures, losses and rewards of each decision and the final test losses are compared bit for
    bit. Exit code 1 says where they first differ, or that the corpus is another one.

    \b
    mixgym replay out/runs/natural/seed-0
    """
    from mixgym.experiment.replay import replay_run

    result = replay_run(run)
    if result.note:
        say(f"note: {result.note}", stderr())
    if result.difference is not None:
        raise MixgymError(f"{run} does not replay: {result.difference}")
    say(
        f"{run}: {result.decisions} decisions replayed, objective test loss "
        f"{result.objective_test_loss!r} nats/byte, all equal"
    )

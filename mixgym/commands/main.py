"""The `mixgym` command: its commands put together, and what is done about an error."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mixgym.commands.base import HELP, say, stderr
from mixgym.commands.collect import collect
from mixgym.commands.compare import compare
from mixgym.commands.data import data
from mixgym.commands.doctor import doctor
from mixgym.commands.evaluate import evaluate
from mixgym.commands.info import info
from mixgym.commands.list import list_everything
from mixgym.commands.pareto import pareto
from mixgym.commands.plot import plot
from mixgym.commands.probe import probe
from mixgym.commands.replay import replay
from mixgym.commands.train import train
from mixgym.commands.trajectories import trajectories
from mixgym.commands.tune import tune
from mixgym.errors import MixgymError


class _Commands(TyperGroup):
    """Lets an end of file be an error like others, where click would say "Aborted." alone."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EOFError as error:
            raise MixgymError(
                f"a file ends too early ({error or 'it is empty'}); --debug shows which"
            ) from error


app = typer.Typer(
    cls=_Commands,
    name="mixgym",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings=HELP,
)
app.command("list")(list_everything)
for command in (info, compare, plot, replay, pareto, probe, train, evaluate, tune, collect):
    app.command()(command)
app.add_typer(trajectories, name="trajectories")
app.add_typer(data, name="data")
app.command()(doctor)


def main() -> None:
    """Entry point: bad input is one message and exit code 1; `--debug` shows the traceback."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    try:
        app(args=[x for x in arguments if x != "--debug"], prog_name="mixgym")
    except (MixgymError, ValueError, TypeError, OSError) as error:
        if debug:
            raise
        # A TypeError comes from a value of the wrong kind and does not say which.
        hint = " (a value of the wrong type? --debug shows where)"
        text = f"error: {error}{hint if type(error) is TypeError else ''}"
        stderr().print(text, style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(130 if type(error).__name__ == "StudyInterrupted" else 1)


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; works anywhere.")
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Steer the data mixture of a real language-model training run.

    [bold]Start here[/bold]

    \b
    mixgym list                        what there is to combine
    mixgym info NanoPretrain-v0        one environment in full
    mixgym compare NanoPretrain-v0 --agent natural --agent uniform --out out

    Every command explains itself: mixgym COMMAND --help.
    """
    if version:
        from mixgym import __version__

        say(__version__)
        raise typer.Exit


if __name__ == "__main__":
    main()

"""`mixgym plot`; nothing heavy is imported before it runs."""

from __future__ import annotations

from mixgym.commands.base import ComparisonFolder, say, stdout


def plot(
    out: ComparisonFolder,
) -> None:
    """Draw a comparison's tables, plots and report anew from its CSV files.

    \b
    mixgym plot out
    """
    from mixgym.compare.study import print_tables, redraw

    result = redraw(out)
    print_tables(result, stdout())
    say(f"report: {result.report}")

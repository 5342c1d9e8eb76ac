"""Errors that name the offending value and say what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MixgymError(Exception):
    """Base of every error mixgym raises on purpose."""


class UnknownNameError(MixgymError, ValueError):
    """A name (corpus, domain, agent, model, argument, ...) that nothing is registered under."""


class UnknownArgumentError(UnknownNameError, TypeError):
    """A keyword that is no argument. A `TypeError` too, since callers try keywords out by it."""


class CorpusError(MixgymError):
    """A corpus could not be built, found or trusted."""


class CheckpointError(MixgymError):
    """A checkpoint is damaged, or belongs to another corpus or configuration."""


class DamagedFileError(MixgymError, ValueError):
    """A file is not what was written: the message names it, what is wrong, and the remedy."""


class UnreadableFileError(DamagedFileError, OSError):
    """A file cannot be read, for a reason that the operating system gave."""

    def __str__(self) -> str:
        return str(self.args[0])  # an OSError would write its errno and file's name in front


class MissingFileError(UnreadableFileError, FileNotFoundError):
    """A file that should be there is not."""


class UnwritableFileError(MixgymError, OSError):
    """A file could not be written: the disk is full, or the place does not take it."""

    def __str__(self) -> str:
        return str(self.args[0])


class MissingExtraError(MixgymError, ImportError):
    """An optional library is needed; the message names the extra that installs it."""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> UnknownNameError:
    """Build the error for an unregistered `name`, suggesting the closest known one.

    >>> print(unknown_name("agent", "unifrom", ["uniform", "natural"]))
    unknown agent 'unifrom': did you mean 'uniform'? Known: natural, uniform
    """
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return UnknownNameError(f"unknown {kind} {name!r}: {hint}Known: {', '.join(names) or 'none'}")


def unknown_argument(what: str, name: str, known: Iterable[str]) -> UnknownArgumentError:
    """Build the error for a keyword that `what` does not take, in Python's own words.

    >>> print(unknown_argument("f()", "decision", ["decisions"]))
    f() got an unexpected keyword argument 'decision': did you mean 'decisions'? Known: decisions
    """
    hint = str(unknown_name("argument", name, known)).partition(": ")[2]
    return UnknownArgumentError(f"{what} got an unexpected keyword argument {name!r}: {hint}")


def missing_extra(library: str, extra: str, purpose: str) -> MissingExtraError:
    """Build the error for an optional `library` that is not installed."""
    return MissingExtraError(
        f"{purpose} needs {library}, which is not installed: pip install 'mixgym[{extra}]'"
    )

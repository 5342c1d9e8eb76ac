"""`mixgym data base`: the base checkpoint that a continual environment starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mixgym.commands.base import EnvArguments, assignments, say
from mixgym.errors import MixgymError


def base(
    env: Annotated[
        str, typer.Argument(help="Continual environment; mixgym/ may be left out.", metavar="ENV")
    ] = "MicroContinual-v0",
    env_arg: EnvArguments = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Throw away what is there.")] = False,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder for bases \\[default: $MIXGYM_CACHE or the platform's cache]."),
    ] = None,
) -> None:
    """Pretrain an environment's base checkpoint, once. Interrupted, it continues where it stopped.

    \b
    mixgym data base
    mixgym data base NanoContinual-v0
    mixgym data base MicroContinual-v0 --env-arg source=documents
    """
    from mixgym.corpus.progress import reporter
    from mixgym.experiment.environment import environment_class, environment_id
    from mixgym.lm.base import ensure_base

    defaults: Any = getattr(environment_class(environment_id(env)), "DEFAULTS", None)
    if not hasattr(defaults, "base_spec"):
        raise MixgymError(f"{env} starts from a fresh model and has no base")
    arguments = defaults.updated(assignments(env_arg))
    spec = arguments.base_spec(arguments.training_settings())
    if spec is None:
        raise MixgymError("base={'steps': 0} is no base: leave it out, or give a number of steps")
    with reporter(True) as report:
        found = ensure_base(spec, cache, report, rebuild=rebuild)
    seconds = found.record["ledger"]["train"]["seconds"]
    say(
        f"{spec.steps} steps on {', '.join(spec.domains)} of {spec.corpus} in {seconds:.0f} s, "
        f"validation loss {found.record['natural_loss']:.4f} nats/byte"
    )
    say(f"hash {found.hash}\n{found.folder}")

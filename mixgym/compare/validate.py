"""Finding out before the first training step whether a study can run at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

from mixgym.agents import make_agent
from mixgym.compare.plan import Comparison, Study
from mixgym.errors import MixgymError
from mixgym.experiment.configuration import absolute_paths, resolved_configuration
from mixgym.experiment.environment import (
    Wanted,
    environment_arguments,
    environment_id,
    make_environment,
    mixing_environment,
    prepare_environment,
)
from mixgym.experiment.provenance import code_version


def prepare(study: Study, say: Callable[[str], None] = lambda text: None) -> Study:
    """Check every part of `study` for real, build its corpora, and fill in what it runs with.

    That is each comparison's corpus hash, resolved configuration and absolute paths, and the
    version. Files of the corpora are hashed again, once each.

    Each environment is built and reset once for every way in which its agents want it, and every
    agent is started on it, so that a misspelt domain in the last arm's schedule fails now and
    not in an hour. Raises `MixgymError` or `ValueError` naming what is wrong.
    """
    comparisons = [
        replace(c, env=environment_id(c.env), env_arguments=absolute_paths(c.env_arguments))
        for c in study.comparisons
    ]
    for comparison in comparisons:
        with _naming(f"{comparison.env} with {comparison.env_arguments}"):
            prepare_environment(comparison.env, comparison.env_arguments)
        for spec in comparison.agents:
            with _naming(f"agent {spec.label!r}", ValueError):
                make_agent(spec.agent, **spec.arguments)
    checked = []
    verified: set[str] = set()
    for comparison in comparisons:
        say(f"checking {comparison.env} with {', '.join(comparison.labels)}")
        checked.append(_try_out(comparison, verified))
    return replace(study, comparisons=tuple(checked), version=code_version())


def _try_out(comparison: Comparison, verified: set[str]) -> Comparison:
    """Start every agent of a comparison on a fresh environment; fill in what that shows.

    A corpus is verified unless its hash is among `verified`, to which it is then added.
    """
    agents = {spec.label: make_agent(spec.agent, **spec.arguments) for spec in comparison.agents}
    # A dict keeps the order, so that errors come in the order of the arms.
    wishes = {
        label: (agent.action_map, json.dumps(dict(agent.env_arguments), sort_keys=True))
        for label, agent in agents.items()
    }
    for wish in dict.fromkeys(wishes.values()):
        wanted = Wanted(wish[0], json.loads(wish[1]))
        what = f"{comparison.env} with {environment_arguments(comparison.env_arguments, wanted)}"
        with _naming(what):
            try:
                env = make_environment(comparison.env, comparison.env_arguments, wanted)
            except TypeError:
                # One of another kind does not know what the agent wants of it: say that first.
                with closing(make_environment(comparison.env)) as plain:
                    mixing_environment(plain)
                raise
        try:
            inner = mixing_environment(env)
            if inner.corpus_hash not in verified:
                inner.verify()
                verified.add(inner.corpus_hash)
            comparison = replace(
                comparison,
                corpus_hash=inner.corpus_hash,
                resolved=resolved_configuration(env, comparison.env_arguments),
            )
            with _naming(what):
                env.reset(seed=comparison.seeds[0])
            for label, agent in agents.items():
                if wishes[label] == wish:
                    with _naming(f"agent {label!r}", MixgymError, ValueError):
                        agent.start(env, comparison.seeds[0])
        finally:
            env.close()
    return comparison


@contextmanager
def _naming(what: str, *kinds: type[Exception]) -> Iterator[None]:
    """Say of `what` an error is: of TypeErrors, which name nothing, and of the given `kinds`.

    Mixgym's own errors are let through as they are, unless they are among the kinds.
    """
    try:
        yield
    except MixgymError as error:
        if MixgymError not in kinds:
            raise
        raise MixgymError(f"{what}: {error}") from error
    except (TypeError, *kinds) as error:
        raise MixgymError(f"{what}: {error}") from error

"""Finding out before the first training step whether a study can run at all."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

import mixgym  # noqa: F401  (registers the environments)
from mixgym.agents import make_agent
from mixgym.compare.plan import Comparison, Study
from mixgym.envs.arguments import with_wanted
from mixgym.errors import MixgymError, unknown_name
from mixgym.experiment.configuration import absolute_paths, resolved_configuration
from mixgym.experiment.provenance import code_version


def environment_id(name: str) -> str:
    """A registered id; `mixgym/` may be left out. `module:id` imports the module first.

    Raises `UnknownNameError` with the closest of mixgym's ids.
    """
    module, colon, rest = name.rpartition(":")
    if colon:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise MixgymError(
                f"environment {name!r}: cannot import {module!r} ({error})"
            ) from error
    for candidate in (rest, f"mixgym/{rest}"):
        if candidate in gym.registry:
            return f"{module}:{candidate}" if colon else candidate
    known = [name for name in gym.registry if name.startswith("mixgym/")]
    short = rest if "/" in rest else f"mixgym/{rest}"
    raise unknown_name("environment", short, known)


def environment_class(env_id: str) -> Any:
    """The callable an environment is made with; imports its module."""
    creator = gym.registry[env_id.rpartition(":")[2]].entry_point
    return load_env_creator(creator) if isinstance(creator, str) else creator


def build_corpus(env_id: str, arguments: Mapping[str, Any]) -> None:
    """Check an environment's arguments and build its corpus, showing progress if it is missing.

    mixgym's own environments know their arguments; of others only the signature is checked.
    Raises `UnknownNameError` for an unknown argument, `CorpusError` if the corpus cannot be built.
    """
    from mixgym.corpus import load_corpus
    from mixgym.envs.pretrain import PretrainEnv

    creator = environment_class(env_id)
    if inspect.isclass(creator) and issubclass(creator, PretrainEnv):
        a = creator.DEFAULTS.updated({k: v for k, v in arguments.items() if k != "render_mode"})
        load_corpus(
            a.corpus_name, tokenizer=a.tokenizer, domains=a.domains, limit=a.limit, progress=True
        )
        return
    parameters = inspect.signature(creator).parameters
    if not any(x.kind is inspect.Parameter.VAR_KEYWORD for x in parameters.values()):
        for key in arguments:
            if key not in parameters:
                raise unknown_name(f"argument of {env_id}", key, parameters)


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
            build_corpus(comparison.env, comparison.env_arguments)
            _prepare_environment(comparison)
        for spec in comparison.agents:
            with _naming(f"agent {spec.label!r}"):
                make_agent(spec.agent, **spec.arguments)
    checked = []
    verified: set[str] = set()
    for comparison in comparisons:
        say(f"checking {comparison.env} with {', '.join(comparison.labels)}")
        checked.append(_try_out(comparison, verified))
    return replace(study, comparisons=tuple(checked), version=code_version())


def _prepare_environment(comparison: Comparison) -> None:
    """Build, with progress, what an environment needs besides its corpus."""
    from mixgym.envs.pretrain import PretrainEnv

    creator = environment_class(comparison.env)
    if inspect.isclass(creator) and issubclass(creator, PretrainEnv):
        creator.prepare(comparison.env_arguments)


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
        arguments = with_wanted(comparison.env_arguments, json.loads(wish[1]))
        if wish[0] is not None:
            arguments["action_map"] = wish[0]
        with _naming(f"{comparison.env} with {arguments}"):
            env = gym.make(comparison.env, disable_env_checker=True, **arguments)
        try:
            corpus = env.unwrapped.corpus  # type: ignore[attr-defined]
            if corpus.hash not in verified:
                corpus.verify()
                verified.add(corpus.hash)
            comparison = replace(
                comparison,
                corpus_hash=corpus.hash,
                resolved=resolved_configuration(env, comparison.env_arguments),
            )
            with _naming(f"{comparison.env} with {arguments}"):
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
    """Say of `what` an error is: of TypeErrors, which name nothing, and of the given `kinds`."""
    try:
        yield
    except (TypeError, *kinds) as error:
        raise MixgymError(f"{what}: {error}") from error

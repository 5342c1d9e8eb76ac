"""What a study consists of: comparisons, their arms and seeds, as plain data.

`mixgym compare ENV ...` is a study of one comparison, a suite file a study of several; everything
after this module treats them alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from mixgym.errors import MixgymError, UnknownNameError, unknown_name
from mixgym.experiment.configuration import configuration_differences
from mixgym.experiment.request import AgentSpec, RunRequest, check_name, check_plain
from mixgym.experiment.yamltext import load_yaml
from mixgym.files import DIGEST

#: Most seeds of a comparison; a run each and arm.
MAX_SEEDS = 10_000
_COMPARISON_KEYS = (
    "name",
    "env",
    "arguments",
    "env_arguments",
    "seeds",
    "first_seed",
    "reference",
    "agents",
    "corpus_hash",
    "resolved",
)


@dataclass(frozen=True)
class Comparison:
    """Arms that are run on one environment with one set of seeds.

    `reference` is the label of the arm the others are compared to ("" means the first);
    `corpus_hash` and `resolved` (see `RunRequest`) are empty until the environment has been built.
    """

    env: str
    agents: tuple[AgentSpec, ...]
    seeds: tuple[int, ...]
    env_arguments: dict[str, Any] = field(default_factory=dict)
    reference: str = ""
    name: str = ""
    corpus_hash: str = ""
    resolved: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.agents:
            raise MixgymError(f"no agents to compare on {self.env}: give at least one --agent")
        labels = [agent.label for agent in self.agents]
        if label := _repeated(labels):
            raise MixgymError(
                f"two agents are labelled {label!r}: give one another label, "
                f"as in other={label}:{{...}}"
            )
        if not self.seeds:
            raise MixgymError(f"no seeds for {self.env}: give --seeds 1 or more")
        for seed in self.seeds:
            if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
                raise MixgymError(f"seed {seed!r} is not a whole number of 0 or more")
        if len(set(self.seeds)) < len(self.seeds):
            raise MixgymError(f"seeds {list(self.seeds)} repeat: give each seed once")
        check_plain(self.env_arguments, f"arguments of {self.env}")
        reference = self.reference or labels[0]
        if reference not in labels:
            raise unknown_name("reference", reference, labels)
        object.__setattr__(self, "reference", reference)
        object.__setattr__(self, "name", self.name or self.env.rpartition("/")[2])
        check_name(self.name, "comparison name")

    @property
    def labels(self) -> tuple[str, ...]:
        """The arms' labels, in order."""
        return tuple(agent.label for agent in self.agents)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "name": self.name,
            "env": self.env,
            "env_arguments": self.env_arguments,
            "agents": [agent.to_json() for agent in self.agents],
            "seeds": list(self.seeds),
            "reference": self.reference,
            "corpus_hash": self.corpus_hash,
            "resolved": self.resolved,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Comparison:
        """From `to_json`'s form or a suite's entry (`arguments`; `seeds` a number or a list)."""
        for key in value:
            if key not in _COMPARISON_KEYS:
                raise unknown_name("key of a comparison", key, _COMPARISON_KEYS)
        for key in ("env", "agents", "seeds"):
            if key not in value:
                raise MixgymError(f"a comparison lacks the key {key}: {dict(value)!r}")
        arguments = value.get("arguments") or value.get("env_arguments") or {}
        if not isinstance(arguments, Mapping):
            raise MixgymError(f"arguments of {value['env']} are {arguments!r}, not a mapping")
        if not isinstance(value["agents"], list | tuple):
            raise MixgymError(f"agents of {value['env']} are {value['agents']!r}: give a list")
        return cls(
            env=str(value["env"]),
            agents=tuple(AgentSpec.from_json(agent) for agent in value["agents"]),
            seeds=seed_range(value["seeds"], value.get("first_seed", 0)),
            env_arguments=dict(arguments),
            reference=str(value.get("reference") or ""),
            name=str(value.get("name") or ""),
            corpus_hash=str(value.get("corpus_hash") or ""),
            resolved=dict(value.get("resolved") or {}),
        )


def _repeated(names: Sequence[str]) -> str | None:
    return next((name for name in names if names.count(name) > 1), None)


def seed_range(seeds: int | Sequence[int], first: int = 0) -> tuple[int, ...]:
    """`seeds` seeds from `first` on if it is a number, else the given ones.

    Raises:
        MixgymError: neither a number of 1 to `MAX_SEEDS` nor so many seeds.
    """
    if isinstance(seeds, bool | str) or not isinstance(seeds, int | Sequence):
        raise MixgymError(f"seeds is {seeds!r}: give a whole number, or a list of them")
    if isinstance(first, bool) or not isinstance(first, int):
        raise MixgymError(f"first_seed is {first!r}: give a whole number")
    count = seeds if isinstance(seeds, int) else len(seeds)
    if count > MAX_SEEDS or (count < 1 and isinstance(seeds, int)):
        raise MixgymError(f"seeds is {count}: give at least 1 and at most {MAX_SEEDS:,}")
    return tuple(range(first, first + seeds)) if isinstance(seeds, int) else tuple(seeds)


@dataclass(frozen=True)
class Study:
    """Comparisons that share an output folder and a version of the code.

    A `suite` keeps each comparison's runs in a folder of its own; several comparisons always are
    one.
    """

    name: str
    comparisons: tuple[Comparison, ...]
    version: str = ""
    suite: bool = False

    def __post_init__(self) -> None:
        if not self.comparisons:
            raise MixgymError(f"study {self.name!r} has no comparisons; add one to the suite")
        names = [comparison.name for comparison in self.comparisons]
        if name := _repeated(names):
            raise MixgymError(f"two comparisons are named {name!r}: give one a name of its own")
        object.__setattr__(self, "suite", self.suite or len(names) > 1)

    @property
    def single(self) -> bool:
        """Whether this is no suite, so that its folders need no comparison's name."""
        return not self.suite

    def unbound(self) -> Study:
        """This study without the data and code it was run with, to run it anew."""
        comparisons = tuple(replace(x, corpus_hash="", resolved={}) for x in self.comparisons)
        return replace(self, comparisons=comparisons, version="")

    def run_directory(self, comparison: Comparison, label: str, seed: int) -> Path:
        """A run's folder, relative to the study's."""
        parts = (label,) if self.single else (comparison.name, label)
        return Path("runs", *parts, f"seed-{seed}")

    def requests(self) -> list[tuple[Comparison, RunRequest]]:
        """Every run, seed by seed, so that an interrupted study has whole pairs to show."""
        return [
            (
                comparison,
                RunRequest(
                    comparison.env,
                    comparison.env_arguments,
                    agent,
                    seed,
                    comparison.corpus_hash,
                    self.version,
                    comparison.resolved,
                ),
            )
            for comparison in self.comparisons
            for seed in comparison.seeds
            for agent in comparison.agents
        ]

    def to_json(self) -> dict[str, Any]:
        """The content of config.json: flat for a single comparison, a list of them for a suite."""
        if self.single:
            return {**self.comparisons[0].to_json(), "name": self.name, "version": self.version}
        return {
            "name": self.name,
            "comparisons": [comparison.to_json() for comparison in self.comparisons],
            "version": self.version,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Study:
        """From `to_json`'s form or a suite's."""
        version = str(value.get("version", ""))
        if "comparisons" in value:
            if not isinstance(value["comparisons"], list) or not all(
                isinstance(entry, Mapping) for entry in value["comparisons"]
            ):
                raise MixgymError("comparisons is not a list of mappings; write - env: ... for one")
            known = ("name", "comparisons", "version", "description")
            for key in value:
                if key not in known:
                    raise unknown_name("key of a suite", key, known)
            comparisons = tuple(Comparison.from_json(entry) for entry in value["comparisons"])
            return cls(str(value.get("name", "")), comparisons, version, suite=True)
        plain = {key: item for key, item in value.items() if key not in ("name", "version")}
        return cls(str(value.get("name", "")), (Comparison.from_json(plain),), version)


def read_suite(path: str | Path) -> Study:
    """Read a suite (YAML, or any study's config.json, which is the way to repeat one).

    A config.json may have been edited: its digest is passed over.
    """
    path = Path(path)
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MixgymError(
            f"suite {path} cannot be read ({error.strerror}): give a YAML file"
        ) from error
    except UnicodeDecodeError as error:
        raise MixgymError(f"suite {path} is not UTF-8 text: {error}") from error
    except yaml.YAMLError as error:
        raise MixgymError(f"suite {path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise MixgymError(f"suite {path} is not a mapping; write name: and comparisons:")
    content.pop(DIGEST, None)
    try:
        return Study.from_json({"name": path.stem, **content}).unbound()
    except UnknownNameError:
        raise
    except MixgymError as error:
        raise MixgymError(f"suite {path}: {error}") from error


def merge(stored: Study, asked: Study, keep_reference: bool = False) -> Study:
    """The study that resuming `stored` with `asked` means: their arms and seeds together.

    Agents and seeds may be added; anything else that differs raises `MixgymError` naming it.
    With `keep_reference` the stored reference stands, whatever `asked` defaults to.
    """
    differences: list[str] = []
    if stored.version != asked.version:
        differences.append(f"version (stored {stored.version!r}, now {asked.version!r})")
    old = {comparison.name: comparison for comparison in stored.comparisons}
    new = {comparison.name: comparison for comparison in asked.comparisons}
    if set(old) != set(new):
        differences.append(f"comparisons (stored {sorted(old)}, asked for {sorted(new)})")
    merged = []
    for name in old.keys() & new.keys():
        differences += _differences(old[name], new[name], keep_reference)
    if differences:
        raise MixgymError(
            f"this is not the study to resume, these keys differ: {'; '.join(differences)}. "
            "Ask for the same, or choose another --out"
        )
    for name, first in old.items():
        second = new[name]
        added = tuple(agent for agent in second.agents if agent.label not in first.labels)
        seeds = tuple(sorted({*first.seeds, *second.seeds}))
        merged.append(replace(first, agents=first.agents + added, seeds=seeds))
    return replace(stored, comparisons=tuple(merged))


def _differences(stored: Comparison, asked: Comparison, keep_reference: bool) -> list[str]:
    keys = ("env", "env_arguments", "corpus_hash", *(() if keep_reference else ("reference",)))
    found = [
        f"{key} (stored {getattr(stored, key)!r}, asked for {getattr(asked, key)!r})"
        for key in keys
        if getattr(stored, key) != getattr(asked, key)
    ]
    if stored.env_arguments == asked.env_arguments:
        found += configuration_differences(stored.resolved, asked.resolved)
    old = {agent.label: agent for agent in stored.agents}
    for agent in asked.agents:
        if agent.label in old and agent != old[agent.label]:
            found.append(
                f"agent {agent.label} (stored {old[agent.label].to_json()}, "
                f"asked for {agent.to_json()})"
            )
    return found

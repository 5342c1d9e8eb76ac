"""What one run is: an environment, an agent, a seed, and the data and code they mean."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NotRequired

import yaml
from typing_extensions import TypedDict

from mixgym.errors import MixgymError, unknown_name
from mixgym.experiment.configuration import configuration_differences, configuration_id
from mixgym.experiment.yamltext import load_yaml

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
#: Longest name of a folder; file systems take 255 bytes.
_LONGEST = 100
_AGENT = re.compile(
    r"(?:(?P<label>[^=:{}\s]+)=)?(?P<agent>[^=:{}\s]+)(?::\s*(?P<arguments>.+))?", re.DOTALL
)
_AGENT_FORMS = "write NAME, LABEL=NAME, NAME:{key: value} or LABEL=NAME:{key: value}"


@dataclass(frozen=True)
class AgentSpec:
    """One arm of a comparison: a unique `label`, an agent's registered name, its arguments.

    Labels name folders, so they are limited to letters, digits and `. _ + -`.
    """

    label: str
    agent: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.label, "agent label")
        check_plain(self.arguments, f"arguments of agent {self.label!r}")

    def to_json(self) -> dict[str, Any]:
        """As plain JSON: label, agent, arguments."""
        return {"label": self.label, "agent": self.agent, "arguments": self.arguments}

    @classmethod
    def from_json(cls, value: str | Mapping[str, Any]) -> AgentSpec:
        """From `to_json`'s form (label defaults to the agent's name) or command-line text."""
        if isinstance(value, str):
            return parse_agent(value)
        if not isinstance(value, Mapping):
            raise MixgymError(
                f"agent {value!r} is neither a name nor a mapping with the key agent; "
                "write - agent: NAME"
            )
        known = ("label", "agent", "arguments")
        for key in value:
            if key not in known:
                raise unknown_name("key of an agent entry", key, known)
        if "agent" not in value:
            raise MixgymError(f"agent entry {dict(value)!r} lacks the key agent; write agent: NAME")
        name, arguments = str(value["agent"]), value.get("arguments") or {}
        if not isinstance(arguments, Mapping):
            raise MixgymError(f"arguments of agent {name!r} are {arguments!r}, not a mapping")
        return cls(str(value.get("label", name)), name, dict(arguments))


def parse_agent(text: str) -> AgentSpec:
    """Read an agent from the command line.

    >>> parse_agent("uniform")
    AgentSpec(label='uniform', agent='uniform', arguments={})
    >>> parse_agent("half=static:{mixture: {natural: 0.5, objective: 0.5}}").arguments
    {'mixture': {'natural': 0.5, 'objective': 0.5}}
    """
    match = _AGENT.fullmatch(text.strip())
    if not match:
        raise MixgymError(f"cannot read agent {text!r}: {_AGENT_FORMS}")
    arguments = parse_value(match["arguments"], f"agent {text!r}") if match["arguments"] else {}
    if not isinstance(arguments, dict):
        raise MixgymError(
            f"arguments of agent {text!r} are {arguments!r}, not a mapping: {_AGENT_FORMS}"
        )
    return AgentSpec(match["label"] or match["agent"], match["agent"], arguments)


def parse_value(text: str, where: str) -> Any:
    """Parse a YAML value given on the command line; `where` names it in the error."""
    try:
        return load_yaml(text)
    except yaml.YAMLError as error:
        raise MixgymError(
            f"{where}: {text!r} is not YAML ({str(error).splitlines()[0]}); "
            "leave a space after each colon, as in {key: value}"
        ) from error


def parse_assignment(text: str) -> tuple[str, Any]:
    """Read `key=yaml`, as in `--env-arg decisions=10` or `--env-arg 'limit={recipes: 40000}'`."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise MixgymError(f"cannot read {text!r}: write key=value, as in decisions=10")
    return key.strip(), parse_value(value, f"argument {key.strip()!r}")


def check_plain(value: Any, where: str) -> None:
    """Raise `MixgymError` unless `value` is made of what JSON can hold, with finite numbers."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise MixgymError(f"{where}: key {key!r} is not text; quote it")
            check_plain(item, f"{where}, key {key!r}")
    elif isinstance(value, list | tuple):
        for item in value:
            check_plain(item, where)
    elif isinstance(value, float) and not math.isfinite(value):
        raise MixgymError(f"{where}: {value!r} is not a finite number; give a finite one")
    elif not (value is None or isinstance(value, str | bool | int | float)):
        raise MixgymError(
            f"{where}: {value!r} ({type(value).__name__}) cannot be written as JSON; "
            "use text, numbers, lists and mappings"
        )


def check_name(name: str, kind: str) -> None:
    """Raise `MixgymError` unless `name` can name a folder; `kind` says what it names."""
    if not _NAME.fullmatch(name):
        raise MixgymError(
            f"{kind} {name!r} cannot name a folder: use letters, digits, '.', '_', '+' or '-', "
            "starting with a letter or digit"
        )
    if len(name) > _LONGEST:
        raise MixgymError(
            f"{kind} {name[:20]!r}... has {len(name)} characters, too many for a folder's name: "
            f"use at most {_LONGEST}"
        )


class RunConfig(TypedDict):
    """A run's config.json: its request, and what it was made with besides."""

    env: str
    env_arguments: dict[str, Any]
    label: str
    agent: str
    arguments: dict[str, Any]
    seed: int
    corpus_hash: str
    version: str
    configuration: NotRequired[str]
    resolved: NotRequired[dict[str, Any]]
    action_map: NotRequired[str | None]
    agent_env_arguments: NotRequired[dict[str, Any]]
    env_spec: NotRequired[dict[str, Any] | None]
    versions: NotRequired[dict[str, str]]
    git: NotRequired[str | None]


@dataclass(frozen=True)
class RunRequest:
    """Everything that decides a run's numbers. Equal requests give equal runs, bit for bit.

    `resolved` is what `env_arguments` come to with presets and defaults (see
    `mixgym.experiment.configuration`), empty if that is not known.
    """

    env: str
    env_arguments: dict[str, Any]
    agent: AgentSpec
    seed: int
    corpus_hash: str
    version: str
    resolved: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Environment, arm and seed, for people."""
        return f"{self.env.rpartition('/')[2]} {self.agent.label} seed {self.seed}"

    @property
    def configuration(self) -> str:
        """Short hash of `resolved`; "" if that is not known."""
        return configuration_id(self.resolved)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, flat, in the order of a run's config.json."""
        return {
            "env": self.env,
            "env_arguments": self.env_arguments,
            **self.agent.to_json(),
            "seed": self.seed,
            "corpus_hash": self.corpus_hash,
            "version": self.version,
            "configuration": self.configuration,
            "resolved": self.resolved,
        }

    @classmethod
    def from_json(cls, value: RunConfig | Mapping[str, Any]) -> RunRequest:
        """From `to_json`'s form; further keys (versions, env_spec, ...) are ignored."""
        agent = AgentSpec(value["label"], value["agent"], dict(value["arguments"]))
        return cls(
            value["env"],
            dict(value["env_arguments"]),
            agent,
            int(value["seed"]),
            value["corpus_hash"],
            value["version"],
            dict(value.get("resolved") or {}),
        )

    def differences(self, config: RunConfig | Mapping[str, Any]) -> list[str]:
        """One line for each key in which a stored run `config` differs from this request."""
        found = [
            f"{key}: stored {config.get(key)!r}, asked for {value!r}"
            for key, value in self.to_json().items()
            if key not in ("configuration", "resolved") and config.get(key) != value
        ]
        return found + configuration_differences(config.get("resolved") or {}, self.resolved)

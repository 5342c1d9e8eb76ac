"""What the learning agents' hyperparameters share: checks, packaged values, an agent's factory."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from typing import Any, ClassVar, Self

import yaml

from mixgym.errors import MixgymError, unknown_name

#: name -> least, most, whole number
Ranges = Mapping[str, tuple[float, float, bool]]


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """Base of an agent's hyperparameters: a frozen dataclass whose fields are checked.

    Subclasses give `CHOICES` (field -> the values it may have) and `RANGES`. Entries for fields
    that a subclass has not are ignored, so that several may share one table.

    Raises:
        UnknownNameError: a value that is none of the choices.
        ValueError: a number out of its range, or a `width` that the `heads` do not divide.
    """

    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    RANGES: ClassVar[Ranges] = {}

    def __post_init__(self) -> None:
        for item in fields(self):
            name, value = item.name, getattr(self, item.name)
            if name in self.CHOICES and value not in self.CHOICES[name]:
                raise unknown_name(name, value, self.CHOICES[name])
            if name in self.RANGES:
                low, high, whole = self.RANGES[name]
                number = isinstance(value, int if whole else int | float)
                if isinstance(value, bool) or not number or not low <= value <= high:
                    kind = "a whole number" if whole else "a number"
                    raise ValueError(f"{name}={value!r} must be {kind} in [{low}, {high}]")
        config: Any = self
        if getattr(config, "network", None) == "tokens" and config.width % config.heads:
            raise ValueError(f"width={config.width!r} must be a multiple of heads={config.heads!r}")

    def updated(self, arguments: Mapping[str, Any]) -> Self:
        """Return a copy with some fields replaced (`UnknownNameError` for an unknown one)."""
        known = [item.name for item in fields(self)]
        for name in arguments:
            if name not in known:
                raise unknown_name("argument", name, known)
        return replace(self, **arguments)


def packaged(file: str, env_id: str | None) -> dict[str, Any]:
    """Return the packaged hyperparameters of an environment: `default`'s, then its own.

    Args:
        file: in `mixgym_agents/hyperparams`. An entry `search` records what was spent on a search
            for the values beside it, and is no hyperparameter.
        env_id: the environment's id.

    Raises:
        MixgymError: an entry without a source.
    """
    text = files("mixgym_agents").joinpath("hyperparams", file).read_text(encoding="utf-8")
    table: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(text)
    chosen: dict[str, Any] = {}
    for key in ("default", env_id):
        for name, entry in (table.get(key or "") or {}).items():
            if name == "search":
                continue
            if set(entry) != {"value", "source"}:
                raise MixgymError(f"{file}, {key}, {name}: write {{value: ..., source: ...}}")
            chosen[name] = entry["value"]
    return chosen


def as_factory(
    kind: type[Any], config: type[Any], search: Mapping[str, Any] | None = None
) -> Callable[..., Any]:
    """Return the callable an entry point names; its signature lists every hyperparameter.

    Their names are also its attribute `hyperparameters`, which tells them from other arguments.

    Args:
        kind: the agent's class; its keyword-only arguments come first.
        config: the dataclass whose fields are its hyperparameters.
        search: what `mixgym tune` searches; becomes the attribute `search_space`.

    Raises:
        MixgymError: a search space of something that is no hyperparameter.
    """

    def agent(**arguments: Any) -> Any:
        return kind(**arguments)

    own = [
        parameter
        for parameter in inspect.signature(kind.__init__).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    hyper = [
        inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=None)
        for item in fields(config)
    ]
    unknown = set(search or {}) - {parameter.name for parameter in hyper}
    if unknown:
        raise MixgymError(f"search space of {kind.name!r} names no hyperparameters: {unknown}")
    agent.__doc__ = kind.__doc__
    agent.__signature__ = inspect.Signature([*own, *hyper])  # type: ignore[attr-defined]
    agent.hyperparameters = tuple(item.name for item in fields(config))  # type: ignore[attr-defined]
    if search is not None:
        agent.search_space = dict(search)  # type: ignore[attr-defined]
    return agent

"""What the learning agents' hyperparameters share: checks, packaged values, an agent's factory."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml

from mixgym.errors import MixgymError, unknown_name
from mixgym_agents.checks import Checked, Depth, Range, Width


@dataclass(frozen=True, kw_only=True)
class Hyperparameters(Checked):
    """Base of an agent's hyperparameters: a frozen dataclass whose fields are checked."""

    FILE: ClassVar[str | None] = None

    def updated(self, arguments: Mapping[str, Any]) -> Self:
        """Return a copy with some fields replaced (`UnknownNameError` for an unknown one)."""
        known = [item.name for item in fields(self)]
        for name in arguments:
            if name not in known:
                raise unknown_name("argument", name, known)
        return replace(self, **arguments)

    def chosen(self, *names: str) -> dict[str, Any]:
        """Return some fields by name, as keyword arguments of the library that knows them so."""
        return {name: getattr(self, name) for name in names}

    @classmethod
    def packaged(cls, env_id: str | None) -> Self:
        """Return the packaged values for an environment, of `mixgym_agents/hyperparams/FILE`."""
        return cls() if cls.FILE is None else cls().updated(packaged(cls.FILE, env_id))


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Hyperparameters):
    """Hyperparameters of networks over domains.

    Attributes:
        network: `"mlp"`, for one set of domains, or `"tokens"`, one token a domain with shared
            weights, for any number and order of domains.
        width: units of a hidden layer.
        depth: hidden layers of an `mlp`.
        blocks: layers in which domain tokens exchange information.
        interaction: `"attention"` or `"deepsets"`, how they do.
        heads: attention heads; must divide `width`.

    Raises:
        ValueError: a `width` that the `heads` do not divide.
    """

    network: Literal["mlp", "tokens"] = "mlp"
    width: Width = 64
    depth: Depth = 2
    blocks: Annotated[int, Range(0, 64)] = 1
    interaction: Literal["attention", "deepsets"] = "attention"
    heads: Annotated[int, Range(1, 256)] = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network == "tokens" and self.width % self.heads:
            raise ValueError(f"width={self.width!r} must be a multiple of heads={self.heads!r}")

    @property
    def fixed_layers(self) -> bool:
        """Whether the networks are for one number of layers, whose features they see one by one."""
        return self.network == "mlp"


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


def as_factory(kind: type[Any], search: Mapping[str, Any] | None = None) -> Callable[..., Any]:
    """Return the callable an entry point names; its signature lists every hyperparameter.

    Their names are also its attribute `hyperparameters`, which tells them from other arguments.

    Args:
        kind: the agent's class; its keyword-only arguments come first, then the fields of `CONFIG`.
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
        for item in fields(kind.CONFIG)
    ]
    unknown = set(search or {}) - {parameter.name for parameter in hyper}
    if unknown:
        raise MixgymError(f"search space of {kind.name!r} names no hyperparameters: {unknown}")
    agent.__doc__ = kind.__doc__
    agent.__signature__ = inspect.Signature([*own, *hyper])  # type: ignore[attr-defined]
    agent.hyperparameters = tuple(item.name for item in fields(kind.CONFIG))  # type: ignore[attr-defined]
    if search is not None:
        agent.search_space = dict(search)  # type: ignore[attr-defined]
    return agent

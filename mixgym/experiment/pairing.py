"""An agent and the environment that it acts in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mixgym.experiment.environment import environment_id
from mixgym.experiment.request import AgentSpec, check_plain


@dataclass(frozen=True)
class Pairing:
    """An agent and an environment; what asks for more than that inherits it.

    Attributes:
        agent: which, and its arguments.
        env: environment id; `mixgym/` may be left out.
        env_arguments: of the environment, JSON-plain.
    """

    agent: AgentSpec
    env: str
    env_arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_plain(self.env_arguments, f"arguments of {self.env}")
        object.__setattr__(self, "env", environment_id(self.env))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "agent": self.agent.agent,
            "arguments": self.agent.arguments,
            "env": self.env,
            "env_arguments": self.env_arguments,
        }

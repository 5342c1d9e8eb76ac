"""From what a user calls an agent to the agent."""

from __future__ import annotations

from pathlib import Path

from mixgym.agents import Agent, list_agents, make_agent
from mixgym.experiment.policy import policy_agent
from mixgym.experiment.request import parse_agent


def resolve_agent(given: str | Path | Agent) -> Agent:
    """Return the agent that `given` names, or `given` itself.

    Args:
        given: an installed agent as on the command line (`"ado"`, `"temperature:{T: 3}"`); the
            folder of a saved policy (the `--out` of `mixgym train`; installed names come first);
            or an agent.

    Raises:
        UnknownNameError: no such agent or argument.
        CheckpointError: no policy in that folder.
    """
    if isinstance(given, str):
        folder = ":" not in given and given not in list_agents() and Path(given).is_dir()
        if not folder:
            spec = parse_agent(given)
            return make_agent(spec.agent, **spec.arguments)
    if isinstance(given, (str, Path)):
        spec = policy_agent(given)
        return make_agent(spec.agent, **spec.arguments)
    return given

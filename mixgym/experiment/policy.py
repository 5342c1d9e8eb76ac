"""A saved policy as an agent: what `mixgym train` left, frozen and pinned by its content."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import TypedDict

from mixgym.errors import CheckpointError
from mixgym.experiment.request import AgentSpec
from mixgym.files import read_json

#: Of the folder of a training: what it cost, and which of its policies that is of.
COST = "cost.json"
RECORD = "policy.json"
_REMEDY = "give the --out of mixgym train"


class Pointer(TypedDict):
    """What of cost.json says where the policy is."""

    policy: str


class Record(TypedDict):
    """What every agent's policy.json says of it."""

    agent: str
    digest: str


def policy_agent(path: str | Path, label: str | None = None) -> AgentSpec:
    """Return the agent that acts by a saved policy: `{policy: PATH, digest: ...}`, frozen.

    The digest pins the policy's content, so that results of different policies never mix though
    the folder's name is the same.

    Args:
        path: the `--out` of `mixgym train`, or a policy folder inside it.
        label: the arm's; by default the agent's name.

    Raises:
        CheckpointError: no policy there.
    """
    folder = Path(path)
    try:
        if (folder / COST).exists():
            folder = folder / read_json(folder / COST, Pointer, remedy=_REMEDY)["policy"]
        elif not (folder / RECORD).exists():
            raise CheckpointError(
                f"no saved policy at {path}: neither {COST} nor {RECORD}; {_REMEDY}"
            )
        record: Record = read_json(folder / RECORD, Record, remedy=_REMEDY)
    except ValueError as error:
        raise CheckpointError(f"no saved policy at {path}: {error}") from error
    name = record["agent"]
    return AgentSpec(label or name, name, {"policy": str(path), "digest": record["digest"]})

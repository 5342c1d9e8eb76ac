"""The folder of a training: its policy, what it cost, and the switch from one to the next."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixgym.experiment.policy import COST
from mixgym.files import write_json

_POLICY = "policy"


def keep_policy(out: Path, agent: Any, number: str, cost: Mapping[str, Any]) -> None:
    """Save an agent's policy beside the last one, then switch to it by writing cost.json.

    A training killed in between goes on from the policy that cost.json still names.

    Args:
        out: the training's folder.
        agent: with `save`.
        number: of the policy, in digits that sort.
        cost: of learning it, JSON-plain; the policy's name is added.
    """
    name = f"{_POLICY}-{number}"
    agent.save(out / name)
    write_json(out / COST, {**cost, "policy": name}, digest=True)
    for old in out.glob(f"{_POLICY}-*"):
        if old.name != name:
            _remove(old)


def _remove(policy: Path) -> None:
    if policy.is_dir():
        shutil.rmtree(policy)
    else:
        policy.unlink()

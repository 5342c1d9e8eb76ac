"""`mixgym evaluate`: a saved policy, frozen, on paired seeds of an environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from mixgym.compare.plan import Comparison, Study, seed_range
from mixgym.compare.study import StudyResult, run_study
from mixgym.experiment.policy import policy_agent


def evaluate_policy(
    path: str | Path,
    env: str,
    out: str | Path,
    *,
    seeds: int = 3,
    first_seed: int = 0,
    env_arguments: Mapping[str, Any] | None = None,
    workers: int | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> StudyResult:
    """Run a saved policy on `seeds` seeds; the result is a comparison of one arm.

    Its folder can be given more arms by `mixgym compare --resume`. The policy's training is on
    every run's ledger, account `agent`.

    Raises:
        MixgymError: as `mixgym.compare.compare`; `CheckpointError` without a policy.
    """
    spec = policy_agent(path)
    asked = Comparison(env, (spec,), seed_range(seeds, first_seed), dict(env_arguments or {}))
    study = Study(asked.name, (asked,))
    return run_study(study, Path(out), workers=workers, resume=resume, console=console)

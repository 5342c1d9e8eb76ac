"""Logging episodes on a Ray cluster: every episode is one task of one CPU."""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

from mixgym.errors import missing_extra
from mixgym.experiment.pool import WORKER_ENVIRONMENT, Event, Failure, Job


def run_ray(
    jobs: Sequence[Job], workers: int | None, on_event: Callable[[Event], None]
) -> list[Failure]:
    """Execute `jobs` on a Ray cluster; the counterpart of `mixgym.experiment.pool.run_pool`.

    Connects to the cluster that `RAY_ADDRESS` names, joins one that is initialised already, or
    starts a local one, which is stopped at the end. The episodes' folder must be shared by the
    cluster's machines, mixgym and its corpora installed on them. A task whose machine dies is
    tried again.

    Args:
        jobs: episodes.
        workers: most tasks at once; None for as many as the cluster has CPUs.
        on_event: told of every episode that is finished or failed.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise missing_extra("ray", "ray", "mixgym collect --ray") from error

    ours = not ray.is_initialized()
    if ours:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    failures: list[Failure] = []
    try:
        task = ray.remote(num_cpus=1, runtime_env={"env_vars": WORKER_ENVIRONMENT})(_log)
        waiting = list(jobs)
        limit = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        running: dict[Any, Job] = {}
        while waiting or running:
            while waiting and len(running) < limit:
                job = waiting.pop(0)
                running[task.remote(json.dumps(job.message()))] = job
            done, _ = ray.wait(list(running), num_returns=1)
            for reference in done:
                job = running.pop(reference)
                try:
                    error = ray.get(reference)
                except ray.exceptions.RayError as lost:
                    error = f"its Ray task was lost: {lost}"
                if error is None:
                    on_event(Event("finished", job, {}))
                else:
                    failures.append(Failure(job, error))
                    on_event(Event("failed", job, {"error": error}))
    finally:
        if ours:
            ray.shutdown()
    return failures


def _log(message: str) -> str | None:
    """Log one episode on a machine of the cluster; what went wrong, or None."""
    from mixgym.experiment.worker import perform

    errors: list[str] = []

    def send(event: dict[str, Any]) -> None:
        if event["event"] == "failed":
            errors.append(event["error"])

    perform(json.loads(message), send)
    return errors[0] if errors else None

"""`mixgym collect`: many episodes, side by side, then one dataset."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym

from mixgym.errors import CheckpointError, DamagedFileError, MixgymError
from mixgym.experiment.configuration import absolute_paths, resolved_configuration
from mixgym.experiment.environment import (
    corpus_hash,
    environment_id,
    make_environment,
    mixing_environment,
    prepare_environment,
)
from mixgym.experiment.outfolder import CONFIG, check_config, out_folder
from mixgym.experiment.policy import policy_agent
from mixgym.experiment.pool import Event, Failure, check_workers, run_pool
from mixgym.experiment.provenance import code_version, git_revision, library_versions
from mixgym.experiment.request import AgentSpec, parse_agent
from mixgym.files import write_json
from mixgym.trajectories.dataset import (
    ASSEMBLING,
    KEY,
    METADATA,
    POINTER,
    assemble,
    content_digest,
    dataset_folder,
    load_trajectories,
    read_metadata,
    require_minari,
)
from mixgym.trajectories.record import read_episode
from mixgym.trajectories.request import (
    MIXED,
    CollectionRequest,
    check_dataset_id,
    default_dataset_id,
    members_of,
)

EPISODES = "episodes"
DATASETS = "datasets"


def collect(
    env: str,
    behaviour: str | AgentSpec,
    episodes: int,
    out: str | Path,
    *,
    seed: int = 0,
    env_arguments: Mapping[str, Any] | None = None,
    dataset_id: str | None = None,
    datasets_path: str | Path | None = None,
    workers: int | None = None,
    ray: bool = False,
    resume: bool = False,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Path:
    """Log whole episodes and return the folder of the Minari dataset made of them.

    Every episode is a file of `out`/episodes as soon as it is finished; a collection killed at any
    moment goes on with `resume` and repeats none of them. The same request gives the same
    episodes, bit for bit, whatever the number of workers.

    Args:
        env: registered id; `mixgym/` may be left out.
        behaviour: as on the command line: a behaviour, `mixed`, or an installed agent, with
            arguments as in `random-walk:{step: 0.3}`.
        episodes: in total, those of earlier calls included.
        out: folder; new or empty unless `resume`.
        seed: of the collection.
        env_arguments: of `gym.make`.
        dataset_id: Minari's name, `NAMESPACE/NAME-vN`.
        datasets_path: Minari's folder of datasets; `out`/datasets by default.
        workers: processes; one a CPU by default.
        ray: use a Ray cluster instead (extra `ray`).
        resume: go on in `out`, which must hold an equal request; `episodes` may be another.
        on_event: told of every episode's start, progress and end, and of those kept.

    Raises:
        MixgymError: bad input, a folder in use or of another collection, episodes that failed.
        MissingExtraError: Minari (or Ray) is not installed.
    """
    if episodes < 1:
        raise MixgymError(f"episodes is {episodes}: give at least 1")
    check_workers(workers)
    require_minari()
    with out_folder(out, "mixgym collect", resume=resume) as out:
        spec = parse_agent(behaviour) if isinstance(behaviour, str) else behaviour
        asked = CollectionRequest(
            environment_id(env), _pinned(spec), absolute_paths(env_arguments or {}), seed
        )
        prepare_environment(asked.env, asked.env_arguments)
        made = make_environment(asked.env, asked.env_arguments)
        try:
            request = _bound(asked, made)
            stored = check_config(out, request.to_json(), "collection")
            name = _dataset_id(dataset_id, stored, request)
            root = out / DATASETS if datasets_path is None else Path(datasets_path).absolute()
            _check_dataset(root / name, out, request)
            if stored is None or stored["dataset_id"] != name:
                context = {"versions": library_versions(), "git": git_revision()}
                config = {**request.to_json(), "dataset_id": name, **context}
                write_json(out / CONFIG, config, digest=True)
            _log(request, out, episodes, workers, ray, on_event)
            return _assemble(request, out, episodes, made, name, root)
        finally:
            made.close()


def _bound(asked: CollectionRequest, env: gym.Env[Any, Any]) -> CollectionRequest:
    """A request with the data and code that it means here; the corpus is verified."""
    mixing_environment(env).verify()
    return replace(
        asked,
        corpus_hash=corpus_hash(env),
        version=code_version(),
        resolved=resolved_configuration(env, asked.env_arguments),
    )


def _pinned(spec: AgentSpec) -> AgentSpec:
    """`spec`, or each member of `mixed`, with its policy by absolute path and digest.

    Workers may run in another folder, and the policy may be trained on between two calls.
    """
    if spec.agent == MIXED:
        members = [_pinned(member) for member in members_of(spec)]
        if members == members_of(spec):
            return spec
        return replace(spec, arguments={"members": [member.to_json() for member in members]})
    policy = spec.arguments.get("policy")
    if not isinstance(policy, str) or not Path(policy).exists():
        return spec
    folder = Path(policy).absolute()
    try:
        pinned = policy_agent(folder).arguments
    except CheckpointError:  # not in our format; the agent itself says what it makes of it
        pinned = {"policy": str(folder)}
    return replace(spec, arguments={**pinned, **spec.arguments, "policy": str(folder)})


def _dataset_id(
    given: str | None, stored: dict[str, Any] | None, request: CollectionRequest
) -> str:
    if given is not None:
        return check_dataset_id(given)
    if stored is not None:
        return check_dataset_id(stored["dataset_id"])
    return default_dataset_id(request.env, request.behaviour.agent)


def episode_path(out: Path, index: int) -> Path:
    """The file of episode `index` of a collection."""
    return out / EPISODES / f"{index:06d}.safetensors"


def _log(
    request: CollectionRequest,
    out: Path,
    episodes: int,
    workers: int | None,
    ray: bool,
    on_event: Callable[[Event], None],
) -> None:
    from mixgym.trajectories.worker import episode_job

    folder = out / EPISODES
    folder.mkdir(exist_ok=True)
    for partial in folder.glob(".*.tmp"):  # of a killed worker
        partial.unlink()
    jobs = []
    for index in range(episodes):
        path = episode_path(out, index)
        job = episode_job(request, index, path)
        if _collected(path, request):
            on_event(Event("kept", job, {}))
        else:
            jobs.append(job)
    if not jobs:
        return
    failures: list[Failure]
    if ray:
        from mixgym.trajectories.ray_pool import run_ray

        failures = run_ray(jobs, workers, on_event)
    else:
        failures = run_pool(jobs, workers, on_event)
    if failures:
        first = failures[0]
        raise MixgymError(
            f"{len(failures)} of {len(jobs)} episodes failed; finished ones are kept in {out}. "
            f"{first.job.title}: {first.error}"
        )


def _collected(path: Path, request: CollectionRequest) -> bool:
    """Whether a file holds an episode of this very request, every bit as it was written."""
    try:
        return read_episode(path).facts.get("request") == request.digest
    except DamagedFileError:
        return False


def _assemble(
    request: CollectionRequest,
    out: Path,
    episodes: int,
    env: gym.Env[Any, Any],
    dataset_id: str,
    root: Path,
) -> Path:
    logged = [read_episode(episode_path(out, index)) for index in range(episodes)]
    folder = root / dataset_id
    if not _whole(folder, content_digest(logged)):
        if root.is_relative_to(out):  # of a process that was killed, or of another version
            for left in root.glob(f"{ASSEMBLING}*"):
                shutil.rmtree(left, ignore_errors=True)
        assemble(logged, env, request, dataset_id, root, owner=out)
    inside = folder.is_relative_to(out)
    path = folder.relative_to(out) if inside else folder
    write_json(out / POINTER, {"dataset_id": dataset_id, "path": str(path)}, digest=True)
    return folder


def _whole(folder: Path, digest: str) -> bool:
    """Whether `folder` holds an undamaged dataset of this content."""
    try:
        return load_trajectories(folder).metadata["digest"] == digest
    except MixgymError:
        return False


def _check_dataset(folder: Path, out: Path, request: CollectionRequest) -> None:
    """Raise `MixgymError` if `folder` holds another dataset than that of `out`.

    A damaged one that `out` points to is its own: it will be assembled anew.
    """
    if not folder.exists():
        return
    try:
        stored = read_metadata(folder)[KEY]
    except MixgymError:
        if (out / POINTER).exists() and dataset_folder(out).absolute() == folder.absolute():
            return
        raise
    if any(stored.get(key) != value for key, value in request.to_json().items()):
        raise MixgymError(
            f"{folder} holds a dataset of another collection by its {METADATA}: give another "
            "--dataset-id, or delete that folder"
        )

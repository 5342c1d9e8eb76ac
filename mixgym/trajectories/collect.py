"""`mixgym collect`: many episodes, side by side, then one dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
from filelock import FileLock, Timeout

from mixgym.errors import CheckpointError, MixgymError
from mixgym.experiment.configuration import absolute_paths, resolved_configuration
from mixgym.experiment.environment import build_corpus, environment_id, make_environment
from mixgym.experiment.pool import Event, Failure, check_workers, run_pool
from mixgym.experiment.provenance import code_version, git_revision, library_versions
from mixgym.experiment.request import AgentSpec, parse_agent
from mixgym.files import read_json, write_json
from mixgym.trajectories.dataset import (
    KEY,
    POINTER,
    assemble,
    content_digest,
    dataset_folder,
    load_trajectories,
    read_metadata,
    require_minari,
)
from mixgym.trajectories.record import read_episode, read_facts
from mixgym.trajectories.request import (
    MIXED,
    CollectionRequest,
    check_dataset_id,
    default_dataset_id,
    members_of,
)

CONFIG = "config.json"
EPISODES = "episodes"
DATASETS = "datasets"
_LOCK = ".lock"


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
        on_event: told of every episode's start, progress and end.

    Raises:
        MixgymError: bad input, a folder in use or of another collection, episodes that failed.
        MissingExtraError: Minari (or Ray) is not installed.
    """
    if episodes < 1:
        raise MixgymError(f"episodes is {episodes}: give at least 1")
    check_workers(workers)
    require_minari()
    out = Path(out)
    _check_folder(out, resume)
    spec = parse_agent(behaviour) if isinstance(behaviour, str) else behaviour
    asked = CollectionRequest(
        environment_id(env), _pinned(spec), absolute_paths(env_arguments or {}), seed
    )
    build_corpus(asked.env, asked.env_arguments)
    made = make_environment(asked.env, asked.env_arguments)
    try:
        inner: Any = made.unwrapped
        if hasattr(inner, "corpus"):
            inner.corpus.verify()
        request = replace(
            asked,
            corpus_hash=str(getattr(getattr(inner, "corpus", None), "hash", "")),
            version=code_version(),
            resolved=resolved_configuration(made, asked.env_arguments),
        )
        out.mkdir(parents=True, exist_ok=True)
        with FileLock(out / _LOCK, timeout=0):
            _check_config(out, request)
            name = _dataset_id(out, dataset_id, request)
            context = {"versions": library_versions(), "git": git_revision()}
            root = out / DATASETS if datasets_path is None else Path(datasets_path).absolute()
            _check_dataset(root / name, out, request)
            write_json(out / CONFIG, {**request.to_json(), "dataset_id": name, **context})
            _log(request, out, episodes, workers, ray, on_event)
            return _assemble(request, out, episodes, made, name, root)
    except Timeout:
        raise MixgymError(
            f"another mixgym collect is writing to {out}; wait for it, or choose another --out"
        ) from None
    finally:
        made.close()


def _pinned(spec: AgentSpec) -> AgentSpec:
    """`spec`, or each member of `mixed`, with its policy by absolute path and digest.

    Workers may run in another folder, and the policy may be trained on between two calls.
    """
    from mixgym.train.evaluate import policy_agent

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


def _check_folder(out: Path, resume: bool) -> None:
    if out.exists() and not out.is_dir():
        raise MixgymError(f"{out} is a file: give a folder as --out")
    if not resume and out.exists() and any(path.name != _LOCK for path in out.iterdir()):
        raise MixgymError(
            f"{out} is not empty: pass --resume to go on with what it holds, or another --out"
        )


def _check_config(out: Path, request: CollectionRequest) -> None:
    if not (out / CONFIG).exists():
        return
    stored = read_json(out / CONFIG)
    changed = [
        f"{key} (stored {stored.get(key)!r}, now {value!r})"
        for key, value in request.to_json().items()
        if stored.get(key) != value
    ]
    if changed:
        raise MixgymError(
            f"{out} holds another collection, these keys differ: {'; '.join(changed)}. Ask for the "
            "same, or choose another --out"
        )


def _dataset_id(out: Path, given: str | None, request: CollectionRequest) -> str:
    if given is not None:
        return check_dataset_id(given)
    if (out / CONFIG).exists():
        return read_json(out / CONFIG)["dataset_id"]
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
    from mixgym.trajectories.worker import EpisodeJob

    folder = out / EPISODES
    folder.mkdir(exist_ok=True)
    for partial in folder.glob(".*.tmp"):  # of a killed worker
        partial.unlink()
    jobs = [
        EpisodeJob(request, index, episode_path(out, index))
        for index in range(episodes)
        if (read_facts(episode_path(out, index)) or {}).get("request") != request.digest
    ]
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
            f"Episode {first.job.index}: {first.error}"
        )


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
        assemble(logged, env, request, dataset_id, root)
    inside = folder.is_relative_to(out)
    path = folder.relative_to(out) if inside else folder
    write_json(out / POINTER, {"dataset_id": dataset_id, "path": str(path)})
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
            f"{folder} holds a dataset of another collection: give another --dataset-id, or "
            "delete that folder"
        )

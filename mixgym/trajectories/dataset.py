"""Episodes as a Minari dataset, and back."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NotRequired

import gymnasium as gym
import numpy as np
from typing_extensions import TypedDict

from mixgym.errors import DamagedFileError, MixgymError, UnwritableFileError, missing_extra
from mixgym.files import Finite, read_json, write_json
from mixgym.ledger import ACCOUNTS
from mixgym.trajectories.check import check_trajectories
from mixgym.trajectories.record import (
    SEPARATOR,
    Facts,
    Played,
    Trajectories,
    Trajectory,
    layout_from_json,
    map_from_json,
    map_to_json,
    task_from_json,
    task_to_json,
)
from mixgym.trajectories.request import CollectionRequest

FORMAT = 1
KEY = "mixgym"  # of everything that is ours in Minari's metadata
POINTER = "dataset.json"  # of a collection's folder: where its dataset is
ASSEMBLING = ".assembling-"  # begins the name of a folder in which a dataset is made
RECORD = "record"  # key of the digest of infos and metadata
METADATA = "metadata.json"  # Minari's name
_DATA = "main_data.hdf5"  # Minari's name
REFERENCES = ("ref_min_score", "ref_max_score")  # Minari's names
_PATH = "MINARI_DATASETS_PATH"


class Pointer(TypedDict):
    """A collection's dataset.json."""

    dataset_id: str
    path: str


class Metadata(TypedDict):
    """What is ours in Minari's metadata of a dataset."""

    format: int
    env: str
    env_arguments: dict[str, Any]
    behaviour: Played
    seed: int
    corpus_hash: str
    version: str
    digest: str
    task: dict[str, Any]
    layout: dict[str, Any]
    action_map: dict[str, Any]
    accounts: dict[str, dict[str, Finite]]
    cost: dict[str, Finite]
    episodes: list[Facts]


class MetadataFile(TypedDict):
    """Minari's metadata of a dataset, as far as we read it."""

    mixgym: Metadata
    ref_min_score: NotRequired[Finite]
    ref_max_score: NotRequired[Finite]


def _minari() -> Any:
    try:
        import h5py  # noqa: F401
        import minari
    except ImportError as error:
        raise missing_extra("minari[hdf5]", "offline", "a dataset of trajectories") from error
    return minari


def require_minari() -> None:
    """Raise `MissingExtraError` unless Minari is installed."""
    _minari()


def assemble(
    episodes: Sequence[Trajectory],
    env: gym.Env[Any, Any],
    request: CollectionRequest,
    dataset_id: str,
    root: Path,
    *,
    owner: Path | None = None,
) -> Path:
    """Write `episodes` as the Minari dataset `dataset_id` under `root` and return its folder.

    It appears whole or not at all; an older one of that id is replaced, its reference scores kept
    if they can be read.

    Args:
        owner: a folder that only this process writes to; what an earlier process left half made
            for it, whatever killed that, is cleared away.

    Raises:
        UnwritableFileError: the disk is full, or the place cannot be written.
        MissingExtraError: Minari is not installed.
    """
    minari = _minari()
    folder = root / dataset_id
    try:
        kept = reference_scores(folder)
    except MixgymError:  # damaged, and now made anew
        kept = {}
    with _assembling(root, str(owner or folder), folder) as temporary:
        with _datasets_path(temporary), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Minari's, about authors and links
            made = minari.create_dataset_from_buffers(
                dataset_id,
                [_buffer(episode) for episode in episodes],
                env=_spec(env),
                observation_space=env.observation_space,
                action_space=env.action_space,
                algorithm_name=request.behaviour.agent,
                author="The mixgym authors",
                description=f"{len(episodes)} whole episodes of {request.env}, logged by "
                f"{request.behaviour.agent}",
                requirements=["mixgym"],
            )
        made.storage.update_metadata({KEY: _metadata(episodes, env, request), **kept})
        _put(temporary, root, dataset_id)
    return folder


@contextmanager
def _assembling(root: Path, owner: str, folder: Path) -> Iterator[Path]:
    """Yield an empty folder in `root`, the same for an owner each time, which is taken away."""
    name = hashlib.sha256(owner.encode()).hexdigest()[:12]
    temporary = root / f"{ASSEMBLING}{name}"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
    except (OSError, RuntimeError) as error:  # h5py raises either, and names no file
        if isinstance(error, MixgymError):
            raise
        raise UnwritableFileError(
            f"the dataset in {folder} cannot be written ({error}): make room or choose another "
            "place; the episodes are kept, go on with --resume"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _spec(env: gym.Env[Any, Any]) -> Any:
    """The environment's spec with a limit on its steps, which d3rlpy asks of Minari datasets.

    It is one more than the decisions of an episode, so that it never cuts one.
    """
    spec = copy.deepcopy(env.spec)
    if spec is not None and spec.max_episode_steps is None:
        inner: Any = env.unwrapped
        spec.max_episode_steps = inner.task.decisions + 1
    return spec


def _put(source: Path, root: Path, dataset_id: str) -> None:
    """Move a dataset and what Minari keeps of its namespaces from `source` into `root`."""
    *namespace, _ = dataset_id.split("/")
    for depth in range(len(namespace)):
        at = Path(*namespace[: depth + 1])
        (root / at).mkdir(parents=True, exist_ok=True)
        for file in (source / at).glob("*.json"):
            if not (root / at / file.name).exists():
                file.replace(root / at / file.name)
    final = root / dataset_id
    old = source / "replaced"
    if final.exists():
        final.replace(old)
    (source / dataset_id).replace(final)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _datasets_path(path: str | Path) -> Iterator[None]:
    # Minari takes the place of its datasets from nowhere else, and joins a relative one to itself.
    before = os.environ.get(_PATH)
    os.environ[_PATH] = str(Path(path).absolute())
    try:
        yield
    finally:
        if before is None:
            del os.environ[_PATH]
        else:
            os.environ[_PATH] = before


def _buffer(episode: Trajectory) -> Any:
    from minari.data_collector import EpisodeBuffer

    infos: dict[str, Any] = {}
    for name, values in episode.infos.items():
        *parents, last = name.split(SEPARATOR)
        place = infos
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = values
    return EpisodeBuffer(
        seed=episode.seed,
        observations=episode.observations,  # type: ignore[arg-type]
        actions=episode.actions,  # type: ignore[arg-type]
        rewards=episode.rewards,  # type: ignore[arg-type]
        terminations=episode.terminations,  # type: ignore[arg-type]
        truncations=episode.truncations,  # type: ignore[arg-type]
        infos=infos,
    )


def _metadata(
    episodes: Sequence[Trajectory], env: gym.Env[Any, Any], request: CollectionRequest
) -> dict[str, Any]:
    inner: Any = env.unwrapped
    accounts = total_accounts([episode.facts.get("ledger", {}) for episode in episodes])
    metadata = {
        "format": FORMAT,
        **request.to_json(),
        "digest": content_digest(episodes),
        "task": task_to_json(inner.task),
        "layout": asdict(inner.layout),
        "action_map": map_to_json(inner.action_map),
        "accounts": accounts,
        "cost": {
            unit: sum(account[unit] for account in accounts.values())
            for unit in ("tokens", "flops", "seconds")
        },
        "episodes": [dict(episode.facts) for episode in episodes],
    }
    return {**metadata, RECORD: record_digest(metadata, episodes)}


def total_accounts(ledgers: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Sum of episodes' ledgers by account.

    The account `agent` is what learning the behaviour's policy cost, which every run repeats: it
    counts once for each different cost.
    """
    totals = {name: {"tokens": 0, "flops": 0.0, "seconds": 0.0} for name in ACCOUNTS}
    policies: list[Any] = []
    for ledger in ledgers:
        for name, account in ledger.items():
            if name == "agent":
                if account in policies:
                    continue
                policies.append(account)
            for unit in totals[name]:
                totals[name][unit] += account[unit]
    return totals


def content_digest(episodes: Sequence[Trajectory]) -> str:
    """SHA-256 over observations, actions, rewards and ends of all episodes, in their order."""
    digest = hashlib.sha256()
    for episode in episodes:
        for name in ("observations", "actions", "rewards", "terminations", "truncations"):
            digest.update(np.ascontiguousarray(getattr(episode, name)).tobytes())
    return digest.hexdigest()


def record_digest(metadata: Mapping[str, Any], episodes: Sequence[Trajectory]) -> str:
    """SHA-256 over what `content_digest` leaves out: infos of all episodes, and our metadata.

    Seconds are in both, so that two collections of one request differ in it.
    """
    plain = {key: value for key, value in metadata.items() if key != RECORD}
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for episode in episodes:
        for name, values in sorted(episode.infos.items()):
            digest.update(f"{name} {values.dtype} {values.shape}".encode())
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def load_trajectories(path: str | Path, *, corpus_hash: str | None = None) -> Trajectories:
    """Load a dataset of trajectories and check it.

    Args:
        path: `--out` of `mixgym collect`, a Minari dataset's folder, or the id of a dataset under
            `MINARI_DATASETS_PATH`.
        corpus_hash: if given, the dataset's corpus must have this content hash.

    Raises:
        MixgymError: nothing there, not one of ours, damaged, or another corpus; see
            `mixgym.trajectories.check` for what is checked of every episode.
        MissingExtraError: Minari is not installed.
    """
    minari = _minari()
    folder = dataset_folder(path)
    ours = read_metadata(folder)[KEY]
    if corpus_hash is not None and corpus_hash != ours["corpus_hash"]:
        raise MixgymError(
            f"the trajectories in {path} are of a corpus with hash {ours['corpus_hash']}, but "
            f"{corpus_hash} was asked for: collect again on that corpus"
        )
    try:
        dataset = minari.MinariDataset(str(folder / "data"))
        episodes = tuple(
            _trajectory(episode, facts)
            for episode, facts in zip(dataset.iterate_episodes(), ours["episodes"], strict=True)
        )
        data = Trajectories(
            episodes=episodes,
            dataset_id=dataset.spec.dataset_id,
            env=ours["env"],
            env_arguments=ours["env_arguments"],
            corpus_hash=ours["corpus_hash"],
            task=task_from_json(ours["task"]),
            layout=layout_from_json(ours["layout"]),
            action_map=map_from_json(ours["action_map"]),
            metadata={**ours, **reference_scores(folder)},
        )
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise MixgymError(
            f"the dataset in {folder} is damaged ({error}), its {METADATA} or {_DATA}: assemble it "
            "again with mixgym collect --resume, or restore it from a copy"
        ) from error
    if dataset.spec.action_space != data.action_map.space:
        raise MixgymError(
            f"the dataset in {folder} has the action space {dataset.spec.action_space}, its action "
            f"map {data.action_map.space}: it was changed since it was collected"
        )
    if content_digest(episodes) != ours.get("digest"):
        raise MixgymError(
            f"the {_DATA} of the dataset in {folder} does not match the digest in its {METADATA}: "
            "restore it from a copy, or assemble it again with mixgym collect --resume"
        )
    check_trajectories(data)
    # Datasets of older versions have none.
    if RECORD in ours and record_digest(ours, episodes) != ours[RECORD]:
        raise MixgymError(
            f"the infos or the metadata of the dataset in {folder} ({_DATA}, {METADATA}) do not "
            "match their own digest: restore it from a copy, or assemble it again with mixgym "
            "collect --resume"
        )
    return data


def _trajectory(episode: Any, facts: Mapping[str, Any]) -> Trajectory:
    return Trajectory(
        index=int(episode.id),
        observations=np.asarray(episode.observations, dtype=np.float32),
        actions=np.asarray(episode.actions, dtype=np.float32),
        rewards=np.asarray(episode.rewards, dtype=np.float64),
        terminations=np.asarray(episode.terminations, dtype=np.bool_),
        truncations=np.asarray(episode.truncations, dtype=np.bool_),
        infos=_flat_infos(episode.infos or {}),
        facts=facts,
    )


def _flat_infos(infos: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in infos.items():
        if isinstance(value, Mapping):
            flat |= _flat_infos(value, f"{prefix}{name}{SEPARATOR}")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def dataset_folder(path: str | Path) -> Path:
    """The folder that holds a Minari dataset's `data`, from any name `load_trajectories` takes.

    Raises:
        MixgymError: there is none.
    """
    given = Path(path)
    if (given / POINTER).exists():
        remedy = "write it anew with mixgym collect --resume"
        return given / read_json(given / POINTER, Pointer, remedy=remedy)["path"]
    if (given / "data" / METADATA).exists():
        return given
    if (given / METADATA).exists() and given.name == "data":
        return given.parent
    if _PATH in os.environ and (Path(os.environ[_PATH]) / given / "data" / METADATA).exists():
        return Path(os.environ[_PATH]) / given
    raise MixgymError(
        f"no dataset of trajectories at {path}, no {POINTER} in it: give the --out of mixgym "
        "collect, or the folder of a Minari dataset that it made"
    )


def read_metadata(folder: Path) -> dict[str, Any]:
    """Minari's metadata of a dataset, with ours under `KEY`.

    Raises:
        MixgymError: missing, damaged, or not of a dataset that mixgym made.
    """
    path = folder / "data" / METADATA
    remedy = "assemble it again with mixgym collect --resume, or restore it from a copy"
    ours = read_json(path, dict[str, Any], remedy=remedy).get(KEY)
    if not isinstance(ours, dict):
        raise DamagedFileError(
            f"the dataset in {folder} was not made by mixgym collect: {path} has no {KEY!r}; give "
            "one that was"
        )
    if ours.get("format") != FORMAT:
        raise DamagedFileError(
            f"{path} has format {ours.get('format')!r}, this version reads {FORMAT}: {remedy}"
        )
    return read_json(path, MetadataFile, remedy=remedy)


def reference_scores(folder: Path) -> dict[str, float]:
    """`ref_min_score` and `ref_max_score` of a dataset, as far as they were set."""
    if not (folder / "data" / METADATA).exists():
        return {}
    metadata = read_metadata(folder)
    return {name: metadata[name] for name in REFERENCES if name in metadata}


def write_reference_scores(folder: Path, scores: Mapping[str, float]) -> None:
    """Set a dataset's reference scores."""
    write_json(folder / "data" / METADATA, {**read_metadata(folder), **scores})

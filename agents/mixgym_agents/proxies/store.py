"""Proxy runs on fixed mixtures, each trained once and kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from typing_extensions import TypedDict

from mixgym.corpus.cache import cache_root, writing
from mixgym.errors import MixgymError
from mixgym.experiment.provenance import library_versions
from mixgym.files import Finite, read_json, write_json
from mixgym.ledger import Ledger
from mixgym.simplex import Mixture, validate_mixture
from mixgym_agents.proxies.proxy import train

if TYPE_CHECKING:
    from mixgym.lm.training import TrainingRun

_FORMAT = 1
_LIBRARIES = ("mixgym", "torch", "transformers", "numpy")


class OutcomeRecord(TypedDict):
    """What is on disk; null for losses that were not measured."""

    run: dict[str, Any]
    losses: list[Finite | None]
    cost: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """What is kept of a proxy run.

    Attributes:
        losses: (K,) validation losses at its end, nats per byte; NaN where not measured and, if it
            diverged, everywhere.
        cost: what training and measuring it cost when that was done.
    """

    losses: NDArray[np.float64]
    cost: Ledger

    @property
    def diverged(self) -> bool:
        """Whether training did not stay finite."""
        return not bool(np.isfinite(self.losses).any())


class ProxyStore:
    """Trains forks of one run, each on a mixture of its own, and keeps their outcomes.

    An outcome on disk is used again only by a run that is the same in everything it depends on:
    corpus hash, model and its initial weights, settings, budget, seed, mixture, held-out windows,
    library versions and the code of `mixgym.lm`. All of it is hashed into the file's name and
    compared again when the file is read; a damaged file is trained anew. Processes that want the
    same outcomes at once share the work. Whoever uses an outcome is told its whole cost, trained
    just now or not.

    Args:
        prototype: a run that has not trained yet; it stays as it is. All proxies have its seed,
            hence its initial weights and, within a domain, its order of text.
        domains: indices of the domains whose validation loss is measured.
        windows: validation windows a domain.
        keep: whether outcomes are read from and written to the cache folder (`MIXGYM_CACHE`).
    """

    def __init__(
        self, prototype: TrainingRun, domains: NDArray[np.int64], windows: int, keep: bool = True
    ) -> None:
        self.prototype = prototype
        self.domains = np.asarray(domains)
        self.windows = windows
        self.keep = keep
        self._shared = _identity(prototype, self.domains, windows) if keep else {}

    def outcomes(self, mixtures: NDArray[np.float64]) -> Iterator[tuple[int, Outcome]]:
        """Yield (row, outcome) for each of the (n, K) `mixtures`, in the order they are done."""
        checked = [self._checked(mixture) for mixture in mixtures]
        if not self.keep:
            for row, mixture in enumerate(checked):
                yield row, self._train(mixture)
            return
        elsewhere: list[int] = []  # in training by another process
        for row, mixture in enumerate(checked):
            found = self._outcome(mixture, wait=False)
            if found is None:
                elsewhere.append(row)
            else:
                yield row, found
        for row in elsewhere:
            found = self._outcome(checked[row], wait=True)
            assert found is not None
            yield row, found

    def path(self, mixture: Mixture) -> Path:
        """Return the file that a mixture's outcome is kept in."""
        text = json.dumps(self._described(self._checked(mixture)), sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()
        return cache_root() / "proxies" / key[:2] / f"{key}.json"

    def _checked(self, mixture: Mixture) -> Mixture:
        corpus = self.prototype.corpus
        return validate_mixture(mixture, corpus.K, corpus.names)

    def _described(self, mixture: Mixture) -> dict[str, Any]:
        return {**self._shared, "mixture": mixture.tolist()}

    def _outcome(self, mixture: Mixture, wait: bool) -> Outcome | None:
        path = self.path(mixture)
        found = self._read(path, mixture)
        if found is not None:
            return found
        with writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path.with_suffix(".lock"))
        try:
            with lock.acquire(blocking=wait):
                found = self._read(path, mixture)
                if found is None:
                    found = self._train(mixture)
                    with writing(path.parent):
                        self._write(path, mixture, found)
        except Timeout:
            return None
        # Whoever still waits for the lock finds the file; nobody needs the lock afterwards.
        path.with_suffix(".lock").unlink(missing_ok=True)
        return found

    def _train(self, mixture: Mixture) -> Outcome:
        run = self.prototype.fork()
        run.ledger = Ledger()
        losses = np.full(run.corpus.K, np.nan)
        try:
            train(run, mixture)
        except MixgymError:
            if not run.diverged:
                raise
        else:
            losses = run.evaluate("validation", domains=self.domains, windows=self.windows)
        return Outcome(losses, run.ledger)

    def _write(self, path: Path, mixture: Mixture, outcome: Outcome) -> None:
        losses = [None if np.isnan(x) else float(x) for x in outcome.losses]
        record = {"run": self._described(mixture), "losses": losses}
        write_json(path, {**record, "cost": outcome.cost.to_json()}, digest=True)

    def _read(self, path: Path, mixture: Mixture) -> Outcome | None:
        try:
            record = read_json(path, OutcomeRecord)
            if record["run"] != json.loads(json.dumps(self._described(mixture))):
                return None
            cost = Ledger.from_json(record["cost"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        losses = np.array([np.nan if x is None else x for x in record["losses"]], dtype=float)
        return Outcome(losses, cost) if losses.shape == mixture.shape else None


def _identity(run: TrainingRun, domains: NDArray[np.int64], windows: int) -> dict[str, Any]:
    versions = library_versions()
    return {
        "format": _FORMAT,
        **run.identity(),
        # What "auto" was decided to be on this device.
        "precision": run.precision,
        "initial_weights": _weights_digest(run),
        "domains": list(run.corpus.names),
        "measured": domains.tolist(),
        "windows": windows,
        "versions": {name: versions[name] for name in _LIBRARIES},
        "code": _code_digest(),
    }


def _weights_digest(run: TrainingRun) -> str:
    digest = hashlib.sha256()
    for name, parameter in run.model.named_parameters():
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@cache
def _code_digest() -> str:
    import mixgym.lm

    digest = hashlib.sha256()
    folder = Path(mixgym.lm.__file__).parent
    for file in sorted(folder.rglob("*.py")):
        digest.update(file.relative_to(folder).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()

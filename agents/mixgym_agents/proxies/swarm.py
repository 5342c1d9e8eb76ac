"""Swarms of proxy models: what `regmix`, `mixing-law` and `olmix` fit their predictions to."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixgym.envs.task import MixingTask
from mixgym.errors import MixgymError
from mixgym.simplex import Mixture
from mixgym_agents.checks import NotNegative, Number, PartialShare, Positive, Range, Spec
from mixgym_agents.proxies.proxy import Model, ProxySearch, charge
from mixgym_agents.proxies.store import ProxyStore

# Separates a swarm's own random numbers from its proxies' and from other agents'.
_SWARM_STREAM = int.from_bytes(b"swrm")
_STRENGTHS = 15  # values of the Dirichlet strength, as released
_TRIES = 100  # draws a wanted mixture, as released
_AT_ONCE = 200_000  # draws held in memory
_SAME = 5  # decimals: mixtures equal in them are drawn once
_FEWEST = 4  # finished proxies without which nothing is fitted


@dataclass(frozen=True)
class Swarm:
    """Finished proxy runs.

    Attributes:
        mixtures: (n, K) mixtures they were trained on.
        losses: (n, M) validation losses of the objective's domains, nats per byte, all finite.
        weights: (M,) weights of these domains in the objective; sums to one.
        caps: (K,) largest weight of each domain in the run that is to be mixed.
    """

    mixtures: NDArray[np.float64]
    losses: NDArray[np.float64]
    weights: NDArray[np.float64]
    caps: NDArray[np.float64]


def _checked_strengths(given: Sequence[float]) -> tuple[float, float]:
    rising = tuple(float(x) for x in given)
    if len(rising) != 2 or not 0 < rising[0] <= rising[1] < np.inf:
        raise ValueError(f"strengths={given!r} must be two positive rising numbers")
    return rising


@dataclass(kw_only=True)
class SwarmSearch(ProxySearch):
    """An agent whose mixture is predicted from a swarm of proxies on random mixtures.

    Every proxy is really trained on its mixture, and the objective's validation loss measured at
    its end. The swarm depends on the arguments below, not on which agent asks: arms with equal
    ones share the proxies through the cache (see `proxy_store`), and each is charged for all.

    Args:
        proxies: number of proxies.
        model: of the proxies; the environment's own by default.
        steps: of each proxy; the environment's budget by default.
        prior: mixture the random ones scatter about, after the `temperature`.
        temperature: exponent of the prior; .5 evens it out.
        strengths: smallest and largest strength of the Dirichlet distribution; small ones give
            mixtures of few domains.
        minimum: weights below it are set to zero.
        repetitions: passes over a domain's text that no mixture may exceed in the environment's
            budget; None for no bound.
        swarm_seed: of the mixtures and the proxies. None derives it from the run's seed: every
            seed of a comparison has a swarm of its own, so that intervals over seeds contain the
            swarm's noise. With a number all seeds share one swarm, and they do not.
        cache: whether finished proxies are kept on disk and found there.
    """

    proxies: Annotated[int, Range(_FEWEST)] = 128
    model: Model = None
    steps: Number | None = None
    prior: Spec = "natural"
    temperature: NotNegative = 0.5
    strengths: Annotated[Sequence[float], _checked_strengths] = (0.1, 5.0)
    minimum: PartialShare = 2e-4
    repetitions: Positive | None = 15.0
    swarm_seed: int | None = None
    cache: bool = True

    def check(self, task: MixingTask) -> None:
        if not (task.mixture(self.prior) > 0).all():
            raise ValueError(
                f"prior={self.prior!r} leaves domains out, which no mixture would ever contain: "
                "give every domain some weight, or the environment fewer domains"
            )

    def search(self, inner: Any, seed: int) -> Mixture:
        seed = seed if self.swarm_seed is None else self.swarm_seed
        streams = np.random.SeedSequence(seed, spawn_key=(_SWARM_STREAM,)).spawn(3)
        drawn, proxies, proposal = streams
        caps = repetition_caps(inner, self.repetitions)
        mixtures = self.draw(inner.task, self.proxies, np.random.default_rng(drawn), caps)
        swarm = self.train_swarm(inner, mixtures, int(proxies.generate_state(1)[0]), caps)
        return self.propose(inner, swarm, np.random.default_rng(proposal))

    @abstractmethod
    def propose(self, inner: Any, swarm: Swarm, rng: np.random.Generator) -> Mixture:
        """Return the (K,) mixture that the swarm's losses speak for."""

    def draw(
        self,
        task: MixingTask,
        number: int,
        rng: np.random.Generator,
        caps: NDArray[np.float64],
        *,
        distinct: bool = True,
    ) -> NDArray[np.float64]:
        """Return (number, K) random mixtures by the agent's arguments (see `draw_mixtures`)."""
        prior = task.mixture(self.prior) ** self.temperature
        low, high = self.strengths
        return draw_mixtures(
            prior / prior.sum(),
            number,
            rng,
            strengths=(low, high),
            minimum=self.minimum,
            caps=caps,
            distinct=distinct,
        )

    def train_swarm(
        self, inner: Any, mixtures: NDArray[np.float64], seed: int, caps: NDArray[np.float64]
    ) -> Swarm:
        """Train a proxy on each of the (n, K) mixtures and return those that did not diverge."""
        objective = np.flatnonzero(inner.task.objective > 0)
        windows = inner.arguments.evaluation_windows
        store = ProxyStore(self.proxy(inner, seed), objective, windows, keep=self.cache)
        losses = np.full(mixtures.shape, np.nan)
        for row, outcome in store.outcomes(mixtures):
            charge(inner, outcome.cost)
            losses[row] = outcome.losses
        finished = np.isfinite(losses[:, objective]).all(axis=1)
        if finished.sum() < _FEWEST:
            raise MixgymError(
                f"{int((~finished).sum())} of {len(mixtures)} proxies diverged, too many to fit "
                f"anything: agent {self.name!r} needs another model=... or the environment a "
                "lower learning_rate"
            )
        if not finished.all():
            warnings.warn(
                f"agent {self.name!r}: {int((~finished).sum())} of {len(mixtures)} proxies "
                "diverged and are left out of the fit",
                stacklevel=2,
            )
        return Swarm(
            mixtures[finished],
            losses[finished][:, objective],
            inner.task.objective[objective],
            caps,
        )


def draw_mixtures(
    prior: Mixture,
    number: int,
    rng: np.random.Generator,
    *,
    strengths: tuple[float, float] = (0.1, 5.0),
    minimum: float = 0.0,
    caps: NDArray[np.float64] | None = None,
    distinct: bool = True,
) -> NDArray[np.float64]:
    """Return (number, K) mixtures ~ Dirichlet(strength x prior), none beyond the caps.

    The strength of each is one of 15 values between the `strengths`, equally spaced in their
    logarithm. Weights below `minimum` are set to zero and the rest divided by their sum. Mixtures
    that are equal in five decimals are kept once if they are to be `distinct`; of two domains no
    more than 100,000 are.

    Raises:
        MixgymError: too few of the draws keep to the caps.
    """
    caps = np.ones(len(prior)) if caps is None else caps
    values = np.geomspace(*strengths, _STRENGTHS)
    kept = np.zeros((0, len(prior)))
    tries, limit = 0, _TRIES * max(number, 100)
    while len(kept) < number and tries < limit:
        accepted = max(len(kept), 1) / max(tries, 1)
        size = int(np.clip(1.2 * (number - len(kept)) / accepted, 100, _AT_ONCE))
        counts = np.bincount(rng.integers(_STRENGTHS, size=size), minlength=_STRENGTHS)
        draws = np.concatenate(
            [rng.dirichlet(value * prior, n) for value, n in zip(values, counts, strict=True)]
        )
        draws = rng.permutation(draws)
        draws = np.where(draws < minimum, 0.0, draws)
        draws = draws[draws.sum(axis=1) > 0]
        draws /= draws.sum(axis=1, keepdims=True)
        kept = np.concatenate([kept, draws[(draws <= caps).all(axis=1)]])
        if distinct:
            _, first = np.unique(kept.round(_SAME), axis=0, return_index=True)
            kept = kept[np.sort(first)]
        tries += size
    if len(kept) < number:
        kind = "different mixtures" if distinct else "mixtures"
        raise MixgymError(
            f"only {len(kept)} {kind} of {tries} drawn keep to the repetition bounds, "
            f"{number} are needed: raise repetitions=... (None lifts the bounds)"
        )
    return kept[:number]


def repetition_caps(inner: Any, repetitions: float | None) -> NDArray[np.float64]:
    """Return (K,) largest weights that pass over no domain's text more than `repetitions` times.

        cap_i = min(1, repetitions x windows of domain i / sequences in the environment's budget)

    Raises:
        MixgymError: the caps sum to less than one, so that no mixture keeps to them.
    """
    task: MixingTask = inner.task
    if repetitions is None:
        return np.ones(task.K)
    stream = inner.run.stream
    windows = dict(zip(stream.corpus.names, stream.windows.tolist(), strict=True))
    budget = task.decisions * task.steps_per_decision * inner.settings.batch_size
    caps = np.array([min(1.0, repetitions * windows[name] / budget) for name in task.names])
    if caps.sum() < 1:
        raise MixgymError(
            f"{repetitions} passes over all text cover {caps.sum():.2f} of the budget: raise the "
            f"bound to {np.ceil(repetitions / caps.sum()):.0f} or more, or lift it with None"
        )
    return caps


def checked_runs(
    mixtures: ArrayLike, losses: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Return (n, K) mixtures, (n, M) losses, and whether the losses were given as (n,).

    Raises:
        ValueError: shapes that do not belong together, or entries that are not finite.
    """
    x, y = np.asarray(mixtures, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    if x.ndim != 2 or y.ndim not in (1, 2) or len(x) != len(y):
        raise ValueError(
            f"mixtures must be (n, K) and losses (n,) or (n, M), got {x.shape} and {y.shape}"
        )
    if len(x) < _FEWEST:
        raise ValueError(f"{len(x)} runs are too few to fit anything: give {_FEWEST} or more")
    if not np.isfinite(x).all() or (x < 0).any() or not np.isfinite(y).all():
        raise ValueError("mixtures must be finite and not negative, and losses finite")
    return x, y.reshape(len(y), -1), y.ndim == 1

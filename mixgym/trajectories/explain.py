"""What an offline policy has learned: which domains it raises when, and what moves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mixgym.envs.observation import ObservationLayout
from mixgym.errors import MixgymError
from mixgym.simplex import TINY, DirichletMap
from mixgym.trajectories.record import Trajectories, Trajectory
from mixgym.trajectories.transitions import windows

_STREAM = int.from_bytes(b"expl")


class ReadingPolicy(Protocol):
    """What is explained: how a policy reads observations, and how it acts on what it read.

    Attributes:
        acting: a d3rlpy algorithm, whose `predict` gives (B, dim) actions of (B, width) windows.
        config: has `window`.
        layout: of the observations.
    """

    @property
    def acting(self) -> Any: ...
    @property
    def config(self) -> Any: ...
    @property
    def layout(self) -> ObservationLayout: ...
    def encode(self, observations: NDArray[Any]) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Explanation:
    """A policy's mixtures in logged states, and their response to single features.

    Attributes:
        domains: K names.
        natural: (K,) natural mixture.
        mixtures: (T, K) the policy's mean mixture at each decision of the logged episodes.
        features: names of the F domain features that vary over the states.
        deviations: (F,) their standard deviations over the states, within a domain; own units.
        responses: (F, K) mean change of a domain's log-odds, ln(w / (1 - w)), when its feature is
            one deviation higher in all observations that the policy sees. Domains of one field,
            which share a feature's value in every state, are raised together, and the log-odds
            are those of their joint weight.
        states: how many states the responses are means over.
    """

    domains: tuple[str, ...]
    natural: NDArray[np.float64]
    mixtures: NDArray[np.float64]
    features: tuple[str, ...]
    deviations: NDArray[np.float64]
    responses: NDArray[np.float64]
    states: int

    def ranked(self) -> list[int]:
        """Positions of features, the strongest mean response first."""
        strength = np.abs(self.responses).mean(axis=1)
        return [int(i) for i in np.argsort(-strength, kind="stable")]


def explain_policy(
    policy: ReadingPolicy,
    data: Trajectories,
    episodes: Sequence[Trajectory],
    *,
    states: int = 200,
    seed: int = 0,
) -> Explanation:
    """Let a policy act in the states of logged episodes; no language model is run.

    Args:
        policy: see `ReadingPolicy`.
        data: the dataset, for its task and action map.
        episodes: of which the states are; at least one.
        states: how many the responses are averaged over, drawn without replacement.
        seed: of the draw.

    Raises:
        MixgymError: no episodes; the action map draws its mixtures, which have no single response;
            or no domain feature varies.
    """
    if not episodes:
        raise MixgymError("no episodes to explain a policy on: raise held_out in training")
    if isinstance(data.action_map, DirichletMap):
        raise MixgymError("a policy of action_map dirichlet draws its mixtures: not explained")
    if states < 1:
        raise ValueError(f"states={states!r} must be a whole number of 1 or more")
    layout, length = policy.layout, policy.config.window
    seen = np.concatenate([windows(e.observations, length)[:-1] for e in episodes])
    seen = seen.reshape(len(seen), length, layout.size)
    current = np.concatenate([e.infos["mixture"][:-1] for e in episodes]).astype(np.float64)
    decision = np.concatenate([np.arange(len(e)) for e in episodes])

    def act(chosen: NDArray[Any], before: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = policy.encode(chosen.reshape(-1, layout.size)).reshape(len(chosen), -1)
        actions = np.clip(policy.acting.predict(rows), -1.0, 1.0)
        unused = np.random.default_rng(0)
        pairs = zip(actions, before, strict=True)
        return np.array([data.action_map.to_mixture(a, w, unused) for a, w in pairs])

    played = act(seen, current)
    number = np.bincount(decision)
    mixtures = np.stack([np.bincount(decision, column) / number for column in played.T], axis=1)

    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAM,)))
    drawn = np.sort(rng.choice(len(seen), size=min(states, len(seen)), replace=False))
    values = layout.split(seen[:, -1].astype(np.float64))[0]
    spread = np.sqrt(values.var(axis=0).mean(axis=0))
    varying = np.flatnonzero(spread > 1e-6)
    if not len(varying):
        raise MixgymError("the policy's observations hold no domain feature that varies")
    responses = np.zeros((len(varying), len(layout.domains)))
    for row, feature in enumerate(varying):
        for members in _raised_together(values[:, :, feature]):
            raised = seen[drawn].copy()
            # A view of the domains' block: raising it raises the observation.
            layout.split(raised)[0][..., members, feature] += spread[feature]
            moved = act(raised, current[drawn])
            change = _log_odds(moved[:, members]) - _log_odds(played[drawn][:, members])
            responses[row, members] = change.mean()
    return Explanation(
        domains=layout.domains,
        natural=np.asarray(data.task.natural, dtype=np.float64),
        mixtures=mixtures,
        features=tuple(layout.domain_features[i] for i in varying),
        deviations=spread[varying],
        responses=responses,
        states=len(drawn),
    )


def _raised_together(values: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Positions of the columns of (states, K) values, those that are equal in every state as one.

    >>> [group.tolist() for group in _raised_together(np.array([[1., 2., 1.], [3., 3., 3.]]))]
    [[0, 2], [1]]
    """
    _, group = np.unique(values, axis=1, return_inverse=True)
    return [np.flatnonzero(group == label) for label in np.unique(group)]


def _log_odds(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    share = weights.sum(axis=1)
    return np.log(np.maximum(share, TINY)) - np.log(np.maximum(1.0 - share, TINY))


def draw_explanation(found: Explanation, path: Path, heading: str) -> None:
    """Write the figure of an explanation to `path` (PNG)."""
    from mixgym.plotting.policy import policy_figure
    from mixgym.plotting.style import save

    order = found.ranked()
    figure = policy_figure(
        found.domains,
        np.log2(np.maximum(found.mixtures, TINY) / np.maximum(found.natural, TINY)),
        [found.features[i] for i in order],
        found.responses[order],
        heading,
    )
    save(figure, path)

"""Behaviours that log data: rules from the past mixture, the task and noise to the next mixture.

They read no losses, so that what they play does not depend on what it earns. An installed agent is
a behaviour too; `mixgym.trajectories.episode` runs both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from mixgym.envs.task import MixingTask, MixtureSpec
from mixgym.errors import unknown_name
from mixgym.registry import Registry
from mixgym.simplex import TINY, Mixture, softmax, validate_mixture


class Behaviour(ABC):
    """Proposes mixtures; make it a frozen-argument dataclass and set state in `start` only."""

    @abstractmethod
    def start(self, task: MixingTask, rng: np.random.Generator) -> None:
        """Begin an episode. `rng` is the behaviour's own stream and its only source of noise."""

    @abstractmethod
    def propose(self, current: Mixture, spent: float) -> Mixture:
        """Return the next (K,) mixture.

        Args:
            current: (K,) the mixture applied before.
            spent: share of the budget spent, 0 at the first decision.
        """

    def state(self) -> dict[str, Any]:
        """Return what `propose` depends on beside its arguments, JSON-plain; not the generator."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned, after `start` on the same task."""
        return None


@dataclass(kw_only=True)
class RandomWalk(Behaviour):
    """l <- clip(l + step z), z ~ N(0, I), w = softmax(l); l is centred after every move.

    Args:
        step: deviation of a move of each logit.
        bound: logits stay within +-bound (a weight within e^(2 bound) of any other).
        start_at: named mixture that the walk starts from.
        spread: deviation of the noise on the start's logits, so that episodes start apart.
    """

    step: float = 0.5
    bound: float = 4.0
    start_at: MixtureSpec = "natural"
    spread: float = 1.0

    def __post_init__(self) -> None:
        _positive(self, "step", "bound")
        _positive(self, "spread", zero=True)

    def start(self, task: MixingTask, rng: np.random.Generator) -> None:
        self._rng = rng
        logits = np.log(np.maximum(task.mixture(self.start_at), TINY))
        self._logits = self._within(logits + self.spread * rng.normal(size=task.K))

    def propose(self, current: Mixture, spent: float) -> Mixture:
        chosen = softmax(self._logits)
        move = self.step * self._rng.normal(size=len(self._logits))
        self._logits = self._within(self._logits + move)
        return chosen

    def state(self) -> dict[str, Any]:
        return {"logits": self._logits.tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._logits = np.array(state["logits"])

    def _within(self, logits: Mixture) -> Mixture:
        centred = logits - (logits.max() + logits.min()) / 2
        return np.clip(centred, -self.bound, self.bound)


@dataclass(kw_only=True)
class Dirichlet(Behaviour):
    """w ~ Dirichlet(concentration K base), drawn afresh every `hold` decisions.

    Args:
        concentration: positive; at the uniform base, 1 is uniform over the simplex.
        base: named mixture that is the draws' mean.
        hold: decisions for which a draw is kept.
    """

    concentration: float = 1.0
    base: MixtureSpec = "uniform"
    hold: int = 1

    def __post_init__(self) -> None:
        _positive(self, "concentration")
        if not isinstance(self.hold, int) or self.hold < 1:
            raise ValueError(f"hold={self.hold!r} must be a whole number of 1 or more")

    def start(self, task: MixingTask, rng: np.random.Generator) -> None:
        self._rng, self._decision = rng, 0
        self._kept: Mixture = task.mixture(self.base)
        self._alpha = np.maximum(self.concentration * task.K * task.mixture(self.base), 1e-3)

    def propose(self, current: Mixture, spent: float) -> Mixture:
        if self._decision % self.hold == 0:
            draw = np.maximum(self._rng.dirichlet(self._alpha), TINY)
            self._kept = validate_mixture(draw, len(draw), normalise=True)
        self._decision += 1
        return self._kept.copy()

    def state(self) -> dict[str, Any]:
        return {"decision": self._decision, "kept": self._kept.tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._decision, self._kept = state["decision"], np.array(state["kept"])


@dataclass(kw_only=True)
class Heuristic(Behaviour):
    """Guided sampling of moves that lead from a source mixture to a target mixture.

    At every decision `candidates` moves w_c ~ w exp(step z_c) of the current mixture w are drawn
    and scored by -KL(g || w_c), g = (1 - p) source + p target, p = end x^shape and x the share of
    the budget that will be spent after the decision. One is taken with probability proportional
    to exp(score / temperature). Each episode draws its own end in [0.5, 1] and shape in [0.5, 2].

    The Data Mixing Agent (arXiv 2507.15640) samples its trajectories by a heuristic that scores
    candidate moves inductively, from the source field to the target field; its exact form was not
    found in the sources we could reach. This is ours, for any number of domains; all constants are
    our choice.

    Args:
        source, target: named mixtures. By default the groups `source` and `target` of a task that
            has both (the continual environments), and `natural` and `objective` of any other.
        step: deviation of a candidate's move of each log weight.
        candidates: moves scored a decision.
        temperature: of the choice among them; 0 takes the best.
    """

    source: MixtureSpec | None = None
    target: MixtureSpec | None = None
    step: float = 0.5
    candidates: int = 16
    temperature: float = 0.05

    def __post_init__(self) -> None:
        _positive(self, "step")
        _positive(self, "temperature", zero=True)
        if not isinstance(self.candidates, int) or self.candidates < 1:
            raise ValueError(f"candidates={self.candidates!r} must be a whole number of 1 or more")

    def start(self, task: MixingTask, rng: np.random.Generator) -> None:
        self._rng = rng
        fields = {"source", "target"} <= set(task.groups)
        source, target = ("source", "target") if fields else ("natural", "objective")
        self._ends = (
            task.mixture(source if self.source is None else self.source),
            task.mixture(target if self.target is None else self.target),
        )
        self._each = 1.0 / max(task.decisions, 1)
        self._end, self._shape = rng.uniform(0.5, 1.0), rng.uniform(0.5, 2.0)

    def propose(self, current: Mixture, spent: float) -> Mixture:
        progress = self._end * min(spent + self._each, 1.0) ** self._shape
        guide = (1.0 - progress) * self._ends[0] + progress * self._ends[1]
        noise = self._rng.normal(size=(self.candidates, len(current)))
        # A weight of (nearly) zero could never grow by factors.
        base = np.log(np.maximum(current, 1e-4))
        moved = np.array([softmax(base + self.step * z) for z in noise])
        score = guide @ np.log(np.maximum(moved, TINY)).T  # -KL up to a constant
        if self.temperature == 0:
            return moved[int(np.argmax(score))]
        chances = softmax(score / self.temperature)
        return moved[int(self._rng.choice(self.candidates, p=chances))]

    def state(self) -> dict[str, Any]:
        return {"end": self._end, "shape": self._shape}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._end, self._shape = state["end"], state["shape"]


#: name -> behaviour. `mixed`, which alternates between behaviours, is `members_of`'s.
BEHAVIOURS: Registry[type[Behaviour]] = Registry(
    "behaviour",
    {"random-walk": RandomWalk, "dirichlet": Dirichlet, "heuristic": Heuristic},
)


def make_behaviour(name: str, arguments: Mapping[str, Any]) -> Behaviour:
    """Build a registered behaviour.

    Raises:
        UnknownNameError: an unknown behaviour or argument.
        ValueError: an argument out of its range.
    """
    kind = BEHAVIOURS[name]
    known = [item.name for item in fields(kind) if item.init]  # type: ignore[arg-type]
    for argument in arguments:
        if argument not in known:
            raise unknown_name(f"argument of behaviour {name!r}", argument, known)
    return kind(**arguments)


@dataclass(frozen=True)
class Mixed:
    """Arguments of `mixed`: episode i is logged by member i modulo their number.

    Attributes:
        members: behaviours or agents, each as `--behaviour` takes it.
    """

    members: Sequence[Any] = field(default_factory=lambda: list(BEHAVIOURS))

    def __post_init__(self) -> None:
        if isinstance(self.members, str) or not self.members:
            raise ValueError(
                f"members={self.members!r}: give a list of at least one behaviour, as in "
                "mixed:{members: [random-walk, dirichlet]}"
            )


def _positive(owner: Any, *names: str, zero: bool = False) -> None:
    for name in names:
        value = getattr(owner, name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not np.isfinite(value) or value < 0 or (value == 0 and not zero):
            kind = "0 or more" if zero else "positive"
            raise ValueError(f"{name}={value!r} must be a finite number, {kind}")

"""An episode of a mixing task: from signals to observation, reward and info, without a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from mixgym.envs.arguments import EnvironmentArguments
from mixgym.envs.observation import BOUND, ObservationLayout
from mixgym.envs.task import MixingTask
from mixgym.errors import CheckpointError, MixgymError
from mixgym.plotting.history import EpisodeHistory
from mixgym.rewards import REWARD_TERMS
from mixgym.rewards.build import build_terms
from mixgym.rewards.vector import penalty_vector
from mixgym.signals import Signals
from mixgym.simplex import Mixture, make_action_map

if TYPE_CHECKING:
    from mixgym.lm.run import Run

#: What reward terms may need that any run can measure; `RewardTerm.needs` says what each is.
MEASURABLE = frozenset({"objective", "gram", "objective_gradient", "diversity"})


@dataclass(frozen=True)
class Measurement:
    """What was measured after a decision, besides its signals.

    Attributes:
        loss: (K,) float64 validation losses, nats per byte, NaN where not measured; None for none.
        diverged: whether one of them is beyond the run's limit, or not a number.
        feedback: probe -> mean log-probability a token of its right answers, nats; empty but in
            continual pretraining.
    """

    loss: NDArray[np.float64] | None = None
    diverged: bool = False
    feedback: Mapping[str, float] | None = None


class Episode:
    """What an environment does besides running a model: all of it follows from signals.

    `start` it with the signals before the first decision; then, for every decision, have the
    mixture of an action from `to_mixture`, let any run train by it, and `record` what came of it.
    `observation` and `info` are of the latest record. N runs have an episode each.

    Args:
        task: domains, objective and budget.
        layers: names of the L signal layers.
        arguments: whose reward, action map, observation, validation and penalty count.
        provides: what reward terms may need here.
        owner: who says so in the error about a term that needs more.
        title: of the history, above its picture.

    Attributes:
        layout: of observations.
        action_map: from actions to mixtures.
        action_space, observation_space: fresh Gymnasium spaces.
        reward_names: the n reward terms' names.
        reward_weights: (n,) float64.
        reward_bounds: (n, 2) float32, smallest and largest value of each term.
        needs: what the reward terms and the observation need measured.
        text_sequences: sequences of each domain whose text the terms want measured; 0 for none.
        measured: indices of the domains whose validation loss is wanted at every decision.
        run_seed: of the episode under way.
        mixture: (K,) float64, the current mixture.
        signals: the latest.
        reward: of the latest decision.
        reward_terms: the same term by term, unweighted.
        ended: whether the budget is spent or the run diverged.
        history: what was shown so far.

    Raises:
        UnknownNameError, ValueError: an argument that nothing is registered under, or out of range.
        MixgymError: a reward term needs what is not provided.
    """

    def __init__(
        self,
        task: MixingTask,
        layers: tuple[str, ...],
        arguments: EnvironmentArguments,
        *,
        provides: frozenset[str] = MEASURABLE,
        owner: str = "this environment",
        title: str = "",
    ) -> None:
        a = arguments
        self.task, self.arguments, self.title = task, arguments, title
        self._terms = build_terms(REWARD_TERMS, a.reward)
        for name, (_, term) in self._terms.items():
            for need in sorted(term.needs - provides):
                raise MixgymError(
                    f"reward term {name!r} needs {need!r}, which {owner} does not "
                    "measure: choose another term or environment (docs/extending.md lists them)"
                )
        terms = [term for _, term in self._terms.values()]
        self.reward_names = tuple(self._terms)
        self.reward_weights = np.array([weight for weight, _ in self._terms.values()], dtype=float)
        bounds = np.array([term.bounds for term in terms], dtype=np.float32)
        self.reward_bounds = bounds.reshape(-1, 2)
        texts = (term.text_sequences for term in terms if "diversity" in term.needs)
        self.text_sequences = max(texts, default=0)
        self.action_map = make_action_map(a.action_map, task.K, **(a.action_arguments or {}))
        self.action_space = cast(Any, self.action_map.space)
        self.layout = ObservationLayout.build(a.observation, task.names, layers)
        self.observation_space = spaces.Box(-BOUND, BOUND, (self.layout.size,), np.float32)
        self.needs = frozenset().union(*(term.needs for term in terms)) | self.layout.needs
        self.measured = self._domains_to_validate()
        penalty = penalty_vector(self.reward_weights.tolist(), a.divergence_penalty)
        self._penalty = penalty.astype(np.float32)
        self.ended = False

    def _domains_to_validate(self) -> NDArray[np.int64]:
        if self.arguments.validation == "all":
            return np.arange(self.task.K)
        if self.arguments.validation == "objective" or "objective" in self.needs:
            return np.flatnonzero(self.task.objective > 0)
        return np.zeros(0, dtype=np.int64)

    def measure(self, run: Run, signals: Signals) -> Measurement:
        """Have `run` measure the validation losses that the episode wants after `signals`.

        The ledger's `reward` account pays. Of a diverged run nothing is measured.
        """
        if not len(self.measured) or signals.diverged:
            return Measurement()
        loss = run.evaluate(
            "validation",
            domains=self.measured,
            windows=self.arguments.evaluation_windows,
            account="reward",
        )
        wanted = np.isin(np.arange(self.task.K), self.measured)
        return Measurement(loss, run.has_diverged(np.where(wanted, loss, 0.0)))

    def start(
        self, seed: int, mixture: Mixture, signals: Signals, measured: Measurement | None = None
    ) -> None:
        """Begin an episode, forgetting the previous one.

        Args:
            seed: of the run; the action map's draws are a separate stream of it.
            mixture: (K,) the current mixture before the first decision.
            signals: of the run before the first decision.
            measured: at that time.
        """
        self.run_seed = seed
        self._noise = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
        self.ended = False
        self.mixture = mixture
        start = replace(signals, mixture=mixture.astype(np.float32))
        self.signals = self._folded(start, measured or Measurement(), None)
        self._begin_terms()
        self.reward_terms = dict.fromkeys(self._terms, 0.0)
        self.reward = 0.0
        self.history = EpisodeHistory(
            names=list(self.task.names), total_steps=signals.total_steps, title=self.title
        )
        self._remember()

    def _begin_terms(self) -> None:
        for _, term in self._terms.values():
            term.objective = self.task.objective.copy()
            term.reset(self.task.K)

    def to_mixture(self, action: ArrayLike) -> Mixture:
        """Return the (K,) mixture of `action`, drawing from the episode's noise where the map does.

        The episode is where it was until the decision is recorded.

        Raises:
            ValueError: an action of the wrong shape or not finite.
        """
        return self.action_map.to_mixture(action, self.mixture, self._noise)

    def record(
        self, mixture: Mixture, signals: Signals, measured: Measurement | None = None
    ) -> float:
        """Take what a decision led to, and return its reward.

        Args:
            mixture: (K,) that was trained on.
            signals: after the decision.
            measured: after it.
        """
        before = self.signals
        self.mixture = mixture
        self.signals = after = self._folded(signals, measured or Measurement(), before)
        self.reward = self._rewarded(before, after)
        self.ended = after.diverged or after.decision >= self.task.decisions
        self._remember()
        return self.reward

    def _folded(self, signals: Signals, measured: Measurement, before: Signals | None) -> Signals:
        """Return `signals` with what was measured in them."""
        loss = measured.loss
        if loss is None:
            return signals
        change = np.full(self.task.K, np.nan)
        if before is not None:
            change = loss - before.validation_loss
        objective = self.task.objective > 0
        return replace(
            signals,
            validation_loss=loss.astype(np.float32),
            validation_change=change.astype(np.float32),
            objective_loss=float(np.dot(self.task.objective[objective], loss[objective])),
            diverged=measured.diverged,
        )

    def _rewarded(self, before: Signals, after: Signals) -> float:
        if after.diverged:
            self.reward_terms = dict.fromkeys(self._terms, 0.0)
            return -float(self.arguments.divergence_penalty)
        self.reward_terms = {n: float(t(before, after)) for n, (_, t) in self._terms.items()}
        return float(sum(w * self.reward_terms[n] for n, (w, _) in self._terms.items()))

    @property
    def reward_vector(self) -> NDArray[np.float32]:
        """(n,) the latest reward term by term, unweighted; a diverged run's shared penalty."""
        if self.signals.diverged:
            return self._penalty.copy()
        return np.array(list(self.reward_terms.values()), dtype=np.float32)

    @property
    def reward_space(self) -> spaces.Box:
        """Box of `reward_vector`, a diverged run's included."""
        low = np.minimum(self.reward_bounds[:, 0], self._penalty)
        high = np.maximum(self.reward_bounds[:, 1], self._penalty)
        return spaces.Box(low, high, dtype=np.float32)

    @property
    def observation(self) -> NDArray[np.float32]:
        """(layout.size,) of the latest signals; a fresh array."""
        return self.layout.pack(self.signals, self.task)

    def info(self) -> dict[str, Any]:
        """Return what info says of the latest decision, in fresh objects; inf: not measured.

        Numbers are NumPy's, with a dtype. The key `reward` is left to those who store transitions.
        """
        s = self.signals
        return {
            "mixture": self.mixture.copy(),
            "counts": s.counts.copy(),
            "train_loss": known(s.train_loss),
            "validation_loss": known(s.validation_loss),
            "epochs": s.epochs.copy(),
            "starved": s.starved.copy(),
            "objective_loss": known_number(s.objective_loss),
            "scalar_reward": np.float64(self.reward),
            "reward_terms": {name: np.float64(x) for name, x in self.reward_terms.items()},
            "reward_vectors": {
                name: term.vector.copy()
                for name, (_, term) in self._terms.items()
                if term.vector is not None
            },
            "step": np.int64(s.step),
            "decision": np.int64(s.decision),
            # Vector environments make an array of bool of these, of NumPy's scalars one of objects.
            "diverged": np.array(s.diverged),
        }

    def _remember(self) -> None:
        self.history.steps.append(self.signals.step)
        self.history.mixtures.append(self.mixture.copy())
        self.history.train_losses.append(self.signals.train_loss.astype(np.float64))
        self.history.objective.append(float(self.signals.objective_loss))

    def state_dict(self) -> dict[str, Any]:
        """Return `scalars` (JSON-plain) and `arrays` (name -> copied array).

        That is everything but the arguments, of an episode that was started.
        """
        arrays = {
            "mixture": self.mixture.copy(),
            "history.mixtures": np.array(self.history.mixtures),
            "history.train_losses": np.array(self.history.train_losses),
            "history.objective": np.array(self.history.objective),
        }
        for name, (_, term) in self._terms.items():
            arrays |= {f"terms.{name}.{key}": x for key, x in term.state_dict().items()}
        scalars = {
            "run_seed": self.run_seed,
            "noise": self._noise.bit_generator.state,
            "signals": self.signals.to_json(),
            "reward": self.reward,
            "reward_terms": dict(self.reward_terms),
            "ended": self.ended,
            "steps": list(self.history.steps),
            "total_steps": self.history.total_steps,
        }
        return {"scalars": scalars, "arrays": arrays}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on exactly where `state` was taken, whether this episode was started or not.

        Raises:
            CheckpointError: the state is of another task or other reward terms.
        """
        scalars, arrays = state["scalars"], state["arrays"]
        if arrays["mixture"].shape != (self.task.K,):
            raise CheckpointError(
                f"the saved episode has {len(arrays['mixture'])} domains, this one {self.task.K}: "
                "load it into an environment of the same arguments"
            )
        if list(scalars["reward_terms"]) != list(self._terms):
            raise CheckpointError(
                f"the saved episode has the reward terms {', '.join(scalars['reward_terms'])}, "
                f"this one {', '.join(self._terms)}: load it into an environment of the same "
                "arguments"
            )
        self.run_seed = scalars["run_seed"]
        self._noise = np.random.default_rng()
        self._noise.bit_generator.state = scalars["noise"]
        self.signals = Signals.from_json(scalars["signals"])
        self.mixture = np.array(arrays["mixture"])
        self.reward, self.ended = scalars["reward"], scalars["ended"]
        self.reward_terms = dict(scalars["reward_terms"])
        self._begin_terms()
        for name, (_, term) in self._terms.items():
            prefix = f"terms.{name}."
            own = {k.removeprefix(prefix): x for k, x in arrays.items() if k.startswith(prefix)}
            term.load_state_dict(own)
        self.history = EpisodeHistory(
            names=list(self.task.names),
            steps=list(scalars["steps"]),
            mixtures=list(np.array(arrays["history.mixtures"])),
            train_losses=list(np.array(arrays["history.train_losses"])),
            objective=np.array(arrays["history.objective"]).tolist(),
            total_steps=scalars["total_steps"],
            title=self.title,
        )


def known(values: Any) -> Any:
    """Return `values` with NaN as infinity: equal runs have equal infos, which NaN never does."""
    return np.where(np.isnan(values), np.inf, values)


def known_number(value: float) -> np.float64:
    """Return a number, NaN as infinity."""
    return np.float64(np.inf if np.isnan(value) else value)

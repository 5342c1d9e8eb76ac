"""Agents that train models beside the run, on its corpus and at its ledger's expense."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from gymnasium import Env
from numpy.typing import NDArray

from mixgym.envs.task import MixingTask
from mixgym.errors import MixgymError
from mixgym.ledger import Ledger
from mixgym.mixer import require_mixtures
from mixgym.signals import Signals
from mixgym.simplex import Mixture, validate_mixture
from mixgym.stateful import Stateful, StatefulAgent
from mixgym_agents.checks import Checked

if TYPE_CHECKING:
    from mixgym.lm.settings import GradientSettings
    from mixgym.lm.training import TrainingRun

# Separates the proxies' seeds from the run's own and from other agents' random numbers.
_PROXY_STREAM = int.from_bytes(b"prox")
_CHUNK = 100  # steps: how late a divergence may be noticed


def _checked_model(model: Any) -> Any:
    if model is not None and not isinstance(model, str | Mapping):
        raise ValueError(f"model={model!r} must be a preset, a configuration or a checkpoint")
    return model


Model = Annotated[Any, _checked_model]


class ProxyAgent(Checked, Stateful, StatefulAgent):
    """An agent that trains proxies or forks of the run.

    Subclasses are dataclasses whose fields are their arguments. The tokens, FLOPs and seconds of
    everything they train are charged to the `proxy` account of the environment's ledger. What was
    found is saved, so that a resumed run does not search again.
    """

    action_map = "simplex"
    model: Any = None
    steps: int | None = None

    _env: Env[Any, Any] | None = None
    _seed: int = 0
    _base_paid: bool = False

    def start(self, env: Env[Any, Any], seed: int) -> None:
        """Begin an episode; what an earlier one found is forgotten.

        Raises:
            MixgymError: not a mixgym environment, or its action is not a mixture.
            UnknownNameError, ValueError: a mixture among the arguments that the task has not.
        """
        inner: Any = env.unwrapped
        task = getattr(inner, "task", None)
        if not isinstance(task, MixingTask) or not hasattr(inner, "corpus"):
            raise MixgymError(
                f"agent {self.name!r} trains proxies on an environment's corpus; {inner} has none"
            )
        require_mixtures(inner, self.name)
        self.check(task)
        stream = np.random.SeedSequence(seed, spawn_key=(_PROXY_STREAM,))
        self._env, self._seed = env, int(stream.generate_state(1)[0])
        self._base_paid = False
        self.forget(task)

    def check(self, task: MixingTask) -> None:
        """Raise `ValueError` if the arguments do not fit the task."""
        return None

    @abstractmethod
    def forget(self, task: MixingTask) -> None:
        """Begin an episode of `task` with nothing found."""

    def identity(self) -> dict[str, Any]:
        domains = list(self._inner().task.names)
        return {
            "agent": self.name,
            "arguments": self.arguments(),
            "domains": domains,
            "seed": self._seed,
        }

    def _inner(self) -> Any:
        if self._env is None:
            raise MixgymError(f"agent {self.name!r} has not started: call start(env, seed) first")
        return self._env.unwrapped

    def proxy(
        self, inner: Any, seed: int, gradients: GradientSettings | None = None
    ) -> TrainingRun:
        """Return a run on the environment's corpus with the agent's `model` and `steps`.

        A proxy of the environment's own model starts from the weights the episode started from
        (the base, the checkpoint of the reset; where there are none, fresh ones of `seed`) and has
        the environment's settings. One of another model starts from the base of that model where
        the environment has a base, whose cost is charged once an episode, and else from fresh
        weights. It keeps the environment's context and batch size, hence its token budget unless
        `steps` is given; the other settings are that model's preset's, under the training
        arguments that the environment was made with.
        """
        from mixgym.lm.maker import RunMaker

        arguments = inner.arguments
        settings = inner.settings
        other = self.model is not None and self.model != arguments.model
        model: Any = self.model if other else arguments.model
        if other:
            preset = arguments.updated({"model": model}).training_settings()
            settings = replace(preset, context=settings.context, batch_size=settings.batch_size)
        steps = inner.task.decisions * inner.task.steps_per_decision
        maker = RunMaker(inner.corpus, model, settings, arguments.evaluation_seed, gradients)
        run = maker.make(seed, steps if self.steps is None else self.steps)
        base = inner.base_of(model, settings) if other else None
        if base is not None:
            base.load_into(run)
            if not self._base_paid:
                charge(inner, Ledger.from_json(base.record["ledger"]))
                self._base_paid = True
        elif not other and inner.starting_weights is not None:
            inner.starting_weights.load_into(run)
        return run


class ProxySearch(ProxyAgent):
    """An agent whose mixture comes out of proxy runs, made when its first action is asked for."""

    STATE = ("mixture",)

    mixture: Mixture | None = None

    def forget(self, task: MixingTask) -> None:
        self.mixture = None

    def act(self, observation: NDArray[Any], info: dict[str, Any]) -> NDArray[np.float32]:
        inner = self._inner()
        if self.mixture is None:
            found = self.search(inner, self._seed)
            self.mixture = validate_mixture(found, inner.task.K, inner.task.names, normalise=True)
        return self.mixture.astype(np.float32)

    @abstractmethod
    def search(self, inner: Any, seed: int) -> Mixture:
        """Run the proxies and return the (K,) mixture they found.

        Args:
            inner: the unwrapped environment, whose ledger pays.
            seed: of the proxies.
        """


def branch(run: TrainingRun, steps: int) -> TrainingRun:
    """Return a fork of `run` with an empty ledger and a budget for at least `steps` more steps.

    Where the run's own budget is shorter, the fork's learning rate is that of the longer one.
    """
    twin = run.fork()
    twin.ledger = Ledger()
    twin.total_steps = max(twin.total_steps, twin.step + steps)
    return twin


def train(
    run: TrainingRun, mixture: Mixture, steps: int | None = None, **arguments: Any
) -> Signals:
    """Train a proxy for `steps`, by default until its budget is spent.

    Raises:
        MixgymError: it diverged.
    """
    end = run.total_steps if steps is None else run.step + steps
    signals = run.signals()
    while run.step < end:
        signals = run.advance(mixture, min(_CHUNK, end - run.step), **arguments)
        if signals.diverged:
            raise MixgymError(
                f"a proxy run diverged at step {run.step}: choose another model=... or lower the "
                "environment's learning_rate"
            )
    return signals


@contextmanager
def charged(inner: Any, *runs: TrainingRun) -> Iterator[None]:
    """Charge everything that proxy `runs` cost to the environment's `proxy` account at the end."""
    try:
        yield
    finally:
        for run in runs:
            charge(inner, run.ledger)


def charge(inner: Any, cost: Ledger) -> None:
    """Charge all accounts of `cost` to the environment's `proxy` account."""
    for account in cost.accounts.values():
        inner.ledger.charge(
            "proxy", tokens=account.tokens, flops=account.flops, seconds=account.seconds
        )

"""The environment around a training run; the registered ids are subclasses with defaults."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from mixgym.corpus import load_corpus
from mixgym.envs.arguments import EnvironmentArguments
from mixgym.envs.observation import BOUND, ObservationLayout
from mixgym.envs.task import MixingTask, domain_weights
from mixgym.errors import CorpusError, MixgymError, unknown_name
from mixgym.rewards import REWARD_TERMS
from mixgym.rewards.build import build_terms
from mixgym.signals import Signals
from mixgym.simplex import make_action_map

if TYPE_CHECKING:
    from mixgym.corpus import Corpus
    from mixgym.ledger import Ledger
    from mixgym.lm.base import Base
    from mixgym.lm.models import ModelSpec
    from mixgym.lm.settings import Settings
    from mixgym.lm.training import TrainingRun
    from mixgym.lm.weights import Weights
    from mixgym.plotting.history import EpisodeHistory

RESET_OPTIONS = ("mixture", "checkpoint")


class PretrainEnv(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Steer a language-model training run by its data mixture.

    Subclasses give `DEFAULTS`; every field of `EnvironmentArguments` can be given to `gym.make`.
    Public besides Gymnasium's own: `task`, `signals`, `run`, `corpus`, `ledger`, `layout`,
    `action_map`, `report`, `fork`, `starting_weights`, `base_of`; `reward_names`, the n reward
    terms' names, and `reward_weights`, (n,) float64.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["ansi", "rgb_array"],
        "render_fps": 4,
    }
    DEFAULTS: ClassVar[EnvironmentArguments] = EnvironmentArguments()
    #: What reward terms may need of this environment.
    PROVIDES: ClassVar[frozenset[str]] = frozenset(
        {"objective", "gram", "objective_gradient", "diversity"}
    )
    #: Keys of info besides those of every environment, with their meaning.
    INFO: ClassVar[dict[str, str]] = {}

    @classmethod
    def prepare(cls, arguments: Mapping[str, Any], progress: bool = True) -> None:
        """Build what an environment of these `gym.make` arguments needs and the cache lacks."""
        a = cls.DEFAULTS.updated({k: v for k, v in arguments.items() if k != "render_mode"})
        load_corpus(
            a.corpus_name,
            tokenizer=a.tokenizer,
            domains=a.domains,
            limit=a.limit,
            progress=progress,
        )

    def __init__(self, render_mode: str | None = None, **arguments: Any) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise unknown_name("render mode", render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        self.arguments = a = self.DEFAULTS.updated(arguments)
        self.settings = a.training_settings()
        self.corpus = self._open_corpus()
        if a.corpus_hash is not None and a.corpus_hash != self.corpus.hash:
            raise CorpusError(
                f"corpus {a.corpus!r} has content hash {self.corpus.hash}, but corpus_hash="
                f"{a.corpus_hash!r} was asked for: results would not compare; rebuild the corpus "
                "with the version that has this hash, or drop the argument"
            )
        groups = {
            name: tuple(m for m in members if m in self.corpus.names)
            for name, members in self._named_groups().items()
        }
        names = self.corpus.names
        self.task = MixingTask(
            names=names,
            natural=self.corpus.natural,
            objective=domain_weights(a.objective, names, groups, "objective"),
            groups={name: members for name, members in groups.items() if members},
            decisions=a.decisions,
            steps_per_decision=a.steps_per_decision,
        )
        self._terms = build_terms(REWARD_TERMS, a.reward)
        self._needs = frozenset().union(*(term.needs for _, term in self._terms.values()))
        for name, (_, term) in self._terms.items():
            for need in sorted(term.needs - self.PROVIDES):
                raise MixgymError(
                    f"reward term {name!r} needs {need!r}, which {type(self).__name__} does not "
                    "measure: choose another term or environment (docs/extending.md lists them)"
                )
        self.reward_names = tuple(self._terms)
        self.reward_weights = np.array([weight for weight, _ in self._terms.values()], dtype=float)
        texts = (t.text_sequences for _, t in self._terms.values() if "diversity" in t.needs)
        self._text_sequences = max(texts, default=0)
        self.corpus.check_window(self.settings.context + 1)
        self.action_map = make_action_map(a.action_map, self.task.K, **(a.action_arguments or {}))
        self.action_space = cast(Any, self.action_map.space)
        self.layout = ObservationLayout.build(a.observation, names, self._layer_names())
        self._needs |= self.layout.needs
        self._measured = self._domains_to_validate()
        self.gradients = a.gradient_settings(self._needs, self.task.objective.tolist())
        self.observation_space = spaces.Box(-BOUND, BOUND, (self.layout.size,), np.float32)
        self.run: TrainingRun | None = None
        #: What the episode started from; None where the model and the run's seed alone give it.
        self.starting_weights: Weights | None = None
        self._ended = False
        self._closed = False

    def _named_groups(self) -> Mapping[str, Sequence[str]]:
        return self.arguments.groups or {}

    def _set_weights(self, run: TrainingRun) -> bool:
        """Give a new run its starting weights; return whether they are other than its own."""
        return False

    def base_of(self, model: ModelSpec, settings: Settings) -> Base | None:
        """Return what another model than the environment's starts from; None for fresh weights."""
        return None

    def _open_corpus(self) -> Corpus:
        a = self.arguments
        return load_corpus(a.corpus_name, tokenizer=a.tokenizer, domains=a.domains, limit=a.limit)

    def _domains_to_validate(self) -> NDArray[np.int64]:
        if self.arguments.validation == "all":
            return np.arange(self.task.K)
        if self.arguments.validation == "objective" or "objective" in self._needs:
            return np.flatnonzero(self.task.objective > 0)
        return np.zeros(0, dtype=np.int64)

    def _layer_names(self) -> tuple[str, ...]:
        # The observation space needs the number of layers before any run exists.
        import torch
        from transformers import AutoModelForCausalLM

        from mixgym.lm.models import model_config, signal_layers

        a = self.arguments
        config = model_config(a.model, self.corpus.tokenizer.vocab_size, self.settings.context)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        return tuple(name for name, _ in signal_layers(model, self.settings.layers))

    @property
    def ledger(self) -> Ledger:
        """Cost accounts of the current run."""
        return self._active().ledger

    def _active(self) -> TrainingRun:
        if self._closed:
            raise MixgymError("this environment is closed: make a new one")
        if self.run is None:
            raise gym.error.ResetNeeded("call reset() before anything else")
        return self.run

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start a new training run.

        Args:
            seed: of the run; initial weights, data order and the Dirichlet map's draws are
                separate streams of it. Without one, the environment's generator draws it.
            options: `"mixture"`: a named mixture or K weights taken as the current mixture before
                the first decision (default `"natural"`); `"checkpoint"`: directory of a saved
                `TrainingRun` of the same corpus and model whose weights the run starts from
                (optimiser, data position and budget start afresh).

        Raises:
            MixgymError: closed, or an unknown option.
        """
        from mixgym.lm.checkpoint import load_weights
        from mixgym.lm.weights import Weights

        if self._closed:
            raise MixgymError("this environment is closed: make a new one")
        for name in options or {}:
            if name not in RESET_OPTIONS:
                raise unknown_name("reset option", name, RESET_OPTIONS)
        options = options or {}
        super().reset(seed=seed)
        self.run_seed = int(self.np_random.integers(2**31)) if seed is None else int(seed)
        mixture = self.task.mixture(options.get("mixture", "natural"))
        self.run = self._new_run()
        given = "checkpoint" in options
        if given:
            load_weights(self.run, options["checkpoint"])
        else:
            given = self._set_weights(self.run)
        self.starting_weights = Weights(self.run) if given else None
        self._noise = np.random.default_rng(np.random.SeedSequence(self.run_seed, spawn_key=(1,)))
        self._ended = False
        self._mixture = mixture
        start = replace(self.run.signals(), mixture=mixture.astype(np.float32))
        self.signals: Signals = self._validated(start, None)
        for _, term in self._terms.values():
            term.objective = self.task.objective.copy()
            term.reset(self.task.K)
        self._last_terms = dict.fromkeys(self._terms, 0.0)
        self._last_reward = 0.0
        self.history = self._new_history()
        return self.layout.pack(self.signals, self.task), self._info()

    def _new_run(self) -> TrainingRun:
        from mixgym.lm.training import TrainingRun

        a = self.arguments
        return TrainingRun(
            self.corpus,
            a.model,
            total_steps=a.decisions * a.steps_per_decision,
            seed=self.run_seed,
            settings=self.settings,
            evaluation_seed=a.evaluation_seed,
            gradients=self.gradients,
            text_sequences=self._text_sequences,
        )

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Train `steps_per_decision` steps on the mixture that `action` stands for.

        Raises:
            ResetNeeded: before `reset`, or after the episode ended.
            ValueError: an action of the wrong shape, out of bounds or not finite.
        """
        run = self._active()
        if self._ended:
            raise gym.error.ResetNeeded("the episode has ended: call reset() to start another")
        before = self.signals
        mixture = self.action_map.to_mixture(action, self._mixture, self._noise)
        after = run.advance(mixture, self.arguments.steps_per_decision)
        self._mixture = mixture
        self.signals = after = self._validated(after, before)
        self._last_reward = reward = self._reward(before, after)
        self._ended = after.diverged or run.decision >= self.task.decisions
        self._remember(after)
        return self.layout.pack(after, self.task), reward, self._ended, False, self._info()

    def _validated(self, signals: Signals, before: Signals | None) -> Signals:
        if not len(self._measured) or signals.diverged:
            return signals
        validation = self._active().evaluate(
            "validation",
            domains=self._measured,
            windows=self.arguments.evaluation_windows,
            account="reward",
        )
        change = np.full(self.task.K, np.nan)
        if before is not None:
            change = validation - before.validation_loss
        objective = self.task.objective > 0
        loss = float(np.dot(self.task.objective[objective], validation[objective]))
        return replace(
            signals,
            validation_loss=validation.astype(np.float32),
            validation_change=change.astype(np.float32),
            objective_loss=loss,
            diverged=self._active().has_diverged(
                np.where(np.isin(np.arange(self.task.K), self._measured), validation, 0.0)
            ),
        )

    def _reward(self, before: Signals, after: Signals) -> float:
        penalty = float(self.arguments.divergence_penalty)
        if after.diverged:
            self._last_terms = dict.fromkeys(self._terms, 0.0)
            return -penalty
        self._last_terms = {n: float(t(before, after)) for n, (_, t) in self._terms.items()}
        total = sum(w * self._last_terms[n] for n, (w, _) in self._terms.items())
        return float(total)

    def _info(self) -> dict[str, Any]:
        s = self.signals
        return {
            "mixture": self._mixture.copy(),
            "counts": s.counts.copy(),
            "train_loss": _measured(s.train_loss),
            "validation_loss": _measured(s.validation_loss),
            "epochs": s.epochs.copy(),
            "starved": s.starved.copy(),
            "objective_loss": float(_measured(np.float64(s.objective_loss))),
            "reward": self._last_reward,
            "reward_terms": dict(self._last_terms),
            "reward_vectors": {
                name: term.vector.copy()
                for name, (_, term) in self._terms.items()
                if term.vector is not None
            },
            "step": int(s.step),
            "decision": int(s.decision),
            "diverged": bool(s.diverged),
            # Without the accounts' seconds: equal runs have equal infos.
            "ledger": {
                name: {"tokens": account.tokens, "flops": account.flops}
                for name, account in self.ledger.accounts.items()
            },
            "run_seed": self.run_seed,
            "corpus_hash": self.corpus.hash,
        }

    def report(self, split: str = "test", windows: int | None = None) -> dict[str, Any]:
        """Measure every domain for a report; the ledger's `evaluation` account pays.

        Args:
            split: `"test"`, read by nothing else, or `"validation"`.
            windows: windows a domain; `report_windows` by default.

        Returns:
            `domain_loss` (K floats, nats per byte), `objective_loss`, and over the objective's
            domains `worst_domain` and `worst_domain_loss`.
        """
        windows = self.arguments.report_windows if windows is None else windows
        loss = self._active().evaluate(split, windows=windows, account="evaluation")
        objective = np.flatnonzero(self.task.objective > 0)
        worst = int(objective[np.argmax(np.nan_to_num(loss[objective], nan=np.inf))])
        return {
            "domain_loss": loss.tolist(),
            "objective_loss": float(np.dot(self.task.objective[objective], loss[objective])),
            "worst_domain": self.task.names[worst],
            "worst_domain_loss": float(loss[worst]),
        }

    def fork(self) -> PretrainEnv:
        """Return an independent copy mid-episode; the same actions then give the same results."""
        return copy.deepcopy(self)

    def _new_history(self) -> EpisodeHistory:
        from mixgym.plotting.history import EpisodeHistory

        return EpisodeHistory(
            names=list(self.task.names),
            steps=[0],
            mixtures=[self._mixture.copy()],
            train_losses=[self.signals.train_loss.astype(np.float64)],
            objective=[float(self.signals.objective_loss)],
            total_steps=self._active().total_steps,
            title=self.spec.id if self.spec else type(self).__name__,
        )

    def _remember(self, signals: Signals) -> None:
        self.history.steps.append(signals.step)
        self.history.mixtures.append(self._mixture.copy())
        self.history.train_losses.append(signals.train_loss.astype(np.float64))
        self.history.objective.append(float(signals.objective_loss))

    def render(self) -> Any:
        """Return the episode so far: text (`ansi`) or a uint8 picture (`rgb_array`)."""
        if self.render_mode is None:
            gym.logger.warn(
                "render() without a render_mode does nothing: gym.make(..., render_mode='ansi') "
                "or 'rgb_array'"
            )
            return None
        self._active()
        if self.render_mode == "ansi":
            from mixgym.plotting.text import episode_text

            return episode_text(self.history)
        from mixgym.plotting.episode import episode_frame

        return episode_frame(self.history)

    def close(self) -> None:
        """Free the run; closing twice is harmless."""
        self.run = None
        self.starting_weights = None
        self._closed = True


def _measured(values: Any) -> Any:
    # An info must equal that of an equal run, which NaN never does.
    return np.where(np.isnan(values), np.inf, values)

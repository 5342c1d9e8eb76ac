"""The environment around a training run; the registered ids are subclasses with defaults."""

from __future__ import annotations

import copy
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from mixgym.envs.arguments import EnvironmentArguments
from mixgym.envs.episode import MEASURABLE, Episode, Measurement
from mixgym.envs.task import MixingTask, domain_weights
from mixgym.errors import CorpusError, MixgymError, unknown_name
from mixgym.lm.maker import RunMaker
from mixgym.lm.settings import PRESETS
from mixgym.signals import Signals

if TYPE_CHECKING:
    from mixgym.corpus import Corpus
    from mixgym.ledger import Ledger
    from mixgym.lm.base import Base
    from mixgym.lm.models import ModelSpec
    from mixgym.lm.run import ModelRun
    from mixgym.lm.settings import Settings
    from mixgym.lm.weights import Weights
    from mixgym.plotting.history import EpisodeHistory

RESET_OPTIONS = ("mixture", "checkpoint")


class PretrainEnv(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Steer a language-model training run by its data mixture.

    Subclasses give `DEFAULTS`; every field of `EnvironmentArguments` can be given to `gym.make`.
    A `MixingEnv` (`mixgym.envs.protocol`). Public besides that: `arguments`, `settings`, `corpus`,
    `episode`, `maker`, `starting_weights`, `base_of`.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["ansi", "rgb_array"],
        "render_fps": 4,
    }
    DEFAULTS: ClassVar[EnvironmentArguments] = EnvironmentArguments()
    EPISODE: ClassVar[type[Episode]] = Episode
    #: What reward terms may need of this environment.
    PROVIDES: ClassVar[frozenset[str]] = MEASURABLE
    #: Keys of info besides those of every environment, with their meaning.
    INFO: ClassVar[dict[str, str]] = {}

    @classmethod
    def resolve(cls, arguments: Mapping[str, Any]) -> EnvironmentArguments:
        """Return what these `gym.make` arguments come to, defaults filled in.

        Raises:
            UnknownNameError, ValueError: an argument that is unknown or out of range.
        """
        return cls.DEFAULTS.updated({k: v for k, v in arguments.items() if k != "render_mode"})

    @classmethod
    def prepare(cls, arguments: Mapping[str, Any], progress: bool = True) -> None:
        """Build what an environment of these `gym.make` arguments needs and the cache lacks."""
        cls.resolve(arguments).open_corpus(progress)

    def __init__(self, render_mode: str | None = None, **arguments: Any) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise unknown_name("render mode", render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        self.arguments = a = self.resolve(arguments)
        self.settings = a.training_settings()
        self.corpus = self._open_corpus()
        if a.corpus_hash is not None and a.corpus_hash != self.corpus.hash:
            raise CorpusError(
                f"corpus {a.corpus!r} has content hash {self.corpus.hash}, but corpus_hash="
                f"{a.corpus_hash!r} was asked for: results would not compare; rebuild the corpus "
                "with the version that has this hash, or drop the argument"
            )
        names = self.corpus.names
        groups = {
            name: tuple(member for member in members if member in names)
            for name, members in self._named_groups().items()
        }
        self.task = MixingTask(
            names=names,
            natural=self.corpus.natural,
            objective=domain_weights(a.objective, names, groups, "objective"),
            groups={name: members for name, members in groups.items() if members},
            decisions=a.decisions,
            steps_per_decision=a.steps_per_decision,
        )
        self.corpus.check_window(self.settings.context + 1)
        #: Of the environment's runs.
        self.maker = RunMaker(self.corpus, a.model, self.settings, a.evaluation_seed)
        self.episode = episode = self.EPISODE(
            self.task,
            self._layer_names(),
            a,
            provides=self.PROVIDES,
            owner=type(self).__name__,
        )
        self.action_map, self.layout = episode.action_map, episode.layout
        self.action_space = episode.action_space
        self.observation_space = episode.observation_space
        self.reward_names, self.reward_weights = episode.reward_names, episode.reward_weights
        self.gradients = a.gradient_settings(episode.needs, self.task.objective.tolist())
        self.maker = replace(
            self.maker, gradients=self.gradients, text_sequences=episode.text_sequences
        )
        self.run: ModelRun | None = None
        #: What the episode started from; None where the model and the run's seed alone give it.
        self.starting_weights: Weights | None = None
        self._closed = False
        self._spec: EnvSpec | None = None

    def _named_groups(self) -> Mapping[str, Sequence[str]]:
        """Return the groups with all their domains, those that a subset leaves out included."""
        groups = self.arguments.groups or {}
        if groups != self.DEFAULTS.groups:
            self._check_groups(groups)
        return groups

    def _check_groups(self, groups: Mapping[str, Sequence[str]]) -> None:
        known = {*self.corpus.manifest["domains"], *self.corpus.name.split("~")[1:]}
        for group, members in groups.items():
            for member in members:
                if member not in known:
                    raise unknown_name(f"domain in groups[{group!r}]", member, known)
            missing = [member for member in members if member not in self.corpus.names]
            if missing:
                warnings.warn(
                    f"groups[{group!r}] is without {', '.join(missing)}, which this environment's "
                    "domains leave out",
                    stacklevel=2,
                )

    def _set_weights(self, run: ModelRun) -> bool:
        """Give a new run its starting weights; return whether they are other than its own."""
        return False

    def base_of(self, model: ModelSpec, settings: Settings) -> Base | None:
        """Return what another model than the environment's starts from; None for fresh weights."""
        return None

    def _open_corpus(self) -> Corpus:
        return self.arguments.open_corpus()

    def _layer_names(self) -> tuple[str, ...]:
        return self.maker.layer_names()  # before any run: the observation space counts them

    @property
    def signals(self) -> Signals:
        """The latest signals of the episode."""
        return self.episode.signals

    @property
    def run_seed(self) -> int:
        """Seed of the current run."""
        return self.episode.run_seed

    @property
    def corpus_hash(self) -> str:
        """Content hash of the corpus."""
        return self.corpus.hash

    def verify(self) -> None:
        """Raise `CorpusError` if the corpus's files are not what was built."""
        self.corpus.verify()

    def configuration(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return `arguments`, `settings` and `model` of the `gym.make` arguments `given`.

        JSON-plain, presets and defaults filled in; `model` is the configuration behind a preset's
        name, and missing where none is named.
        """
        a = self.resolve(given)
        parts = {"arguments": asdict(a), "settings": asdict(a.training_settings())}
        if isinstance(a.model, str) and a.model in PRESETS:
            parts["model"] = dict(PRESETS[a.model].config)
        return json.loads(json.dumps(parts, default=str))

    @property
    def ledger(self) -> Ledger:
        """Cost accounts of the current run."""
        return self._active().ledger

    @property
    def spec(self) -> EnvSpec | None:  # type: ignore[override]
        """What the environment was made from; `max_episode_steps` is never reached (decisions + 1).

        The budget's end terminates an episode. A `TimeLimit` that Gymnasium puts around an
        environment remade from this specification must not truncate it at the same time.
        """
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:  # type: ignore[override]
        if spec is not None and spec.max_episode_steps is None:
            spec = copy.copy(spec)
            spec.max_episode_steps = self.task.decisions + 1
        self._spec = spec

    def _active(self) -> ModelRun:
        if self._closed:
            raise MixgymError("this environment is closed: call reset() to start anew")
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
            UnknownNameError, ValueError: an option that there is not, or of the wrong kind.
            CheckpointError: nothing at that path, damaged, or of another corpus or model.
        """
        from mixgym.lm.checkpoint import load_weights
        from mixgym.lm.weights import Weights

        options = options or {}
        check_reset_options(options)
        checkpoint = options.get("checkpoint")
        super().reset(seed=seed)
        run_seed = int(self.np_random.integers(2**31)) if seed is None else int(seed)
        mixture = self.task.mixture(options.get("mixture", "natural"))
        run = self._new_run(run_seed)
        given = True
        if checkpoint is not None:
            load_weights(run, Path(checkpoint))
        else:
            given = self._set_weights(run)
        self.starting_weights = Weights(run) if given else None
        signals = run.signals()
        self.episode.title = self.spec.id if self.spec else type(self).__name__
        self.episode.start(run_seed, mixture, signals, self._measure(run, signals))
        self.run, self._closed = run, False
        return self.episode.observation, self._info()

    def _new_run(self, seed: int) -> ModelRun:
        a = self.arguments
        return self.maker.make(seed, a.decisions * a.steps_per_decision)

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Train `steps_per_decision` steps on the mixture that `action` stands for.

        Raises:
            ResetNeeded: before `reset`, or after the episode ended.
            ValueError: an action of the wrong shape or not finite; what lies outside the box is
                clipped into it.
        """
        run = self._active()
        episode = self.episode
        if episode.ended:
            raise gym.error.ResetNeeded("the episode has ended: call reset() to start another")
        mixture = episode.to_mixture(action)
        signals = run.advance(mixture, self.arguments.steps_per_decision)
        reward = episode.record(mixture, signals, self._measure(run, signals))
        return episode.observation, reward, episode.ended, False, self._info()

    def _measure(self, run: ModelRun, signals: Signals) -> Measurement:
        return self.episode.measure(run, signals)

    def _info(self) -> dict[str, Any]:
        return {**self.episode.info(), **run_info(self.ledger, self.run_seed, self.corpus_hash)}

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

    def render(self) -> Any:
        """Return the episode so far: text (`ansi`) or a uint8 picture (`rgb_array`)."""
        if self.render_mode is None:
            gym.logger.warn(
                "render() without a render_mode does nothing: gym.make(..., render_mode='ansi') "
                "or 'rgb_array'"
            )
            return None
        self._active()
        return rendered(self.render_mode, self.episode.history)

    def close(self) -> None:
        """Free the run; closing twice is harmless, and `reset` starts anew."""
        self.run = None
        self.starting_weights = None
        self._closed = True


def check_reset_options(options: Mapping[str, Any]) -> None:
    """Raise `UnknownNameError` or `ValueError` for options that `reset` does not take."""
    for name in options:
        if name not in RESET_OPTIONS:
            raise unknown_name("reset option", name, RESET_OPTIONS)
    checkpoint = options.get("checkpoint")
    if not isinstance(checkpoint, str | os.PathLike | None):
        raise ValueError(
            "the reset option 'checkpoint' must be the directory of a saved TrainingRun, got "
            f"{checkpoint!r}"
        )


def run_info(ledger: Ledger, run_seed: int, corpus_hash: str) -> dict[str, Any]:
    """Return what info says of a run besides its episode."""
    return {
        # Without the accounts' seconds: equal runs have equal infos.
        "ledger": {
            name: {"tokens": np.int64(account.tokens), "flops": np.float64(account.flops)}
            for name, account in ledger.accounts.items()
        },
        "run_seed": np.int64(run_seed),
        "corpus_hash": corpus_hash,
    }


def rendered(render_mode: str, history: EpisodeHistory) -> Any:
    """Return an episode so far: text (`ansi`) or a uint8 picture (`rgb_array`)."""
    if render_mode == "ansi":
        from mixgym.plotting.text import episode_text

        return episode_text(history)
    from mixgym.plotting.episode import episode_frame

    return episode_frame(history)

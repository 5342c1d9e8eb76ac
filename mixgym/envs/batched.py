"""N environments whose runs train together: Gymnasium's vector interface around a `BatchedRun`."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from mixgym.envs.episode import Episode, Measurement
from mixgym.envs.pretrain import PretrainEnv, check_reset_options, rendered, run_info
from mixgym.errors import MixgymError, unknown_name
from mixgym.lm.settings import whole_number

if TYPE_CHECKING:
    from mixgym.lm.batched import BatchedRun, BatchedSignals

#: Kinds of arrays that go in and come out.
ARRAYS = ("numpy", "torch")

#: What a batch cannot measure: it does not look at the text of single runs.
_LACKING = frozenset({"diversity"})


class BatchedEnv(VectorEnv[Any, Any, Any]):
    """N copies of a pretraining environment whose models train together, on one device.

    What `gym.make_vec(id, num_envs=N, vectorization_mode="vector_entry_point", device="cuda")`
    makes of a scalar pretraining id. Environment i is what `gym.make(id)` is: its spaces, seeds,
    mixtures, rewards, infos and autoreset are those of Gymnasium's `SyncVectorEnv` of N of them.
    Mixtures, counts, seeds and costs are equal exactly; losses, hence observations and rewards, up
    to the rounding of a `BatchedRun`, whose docstring has the numbers: products are summed in
    another order, and training amplifies it. On the CPU run i does not depend on the other runs in
    a bit. On an accelerator a thousand small models train in about the time of one; on a CPU
    `vectorization_mode="async"`, a process each, is the faster way.

    Without a `vectorization_mode`, `gym.make_vec` prefers a `vector_entry_point` where there is
    one, so that it makes this too. `vectorization_mode="sync"` makes single environments, bit for
    bit those of `gym.make`.

    Args:
        num_envs: N.
        render_mode: as the single environment's; `render` returns a frame each.
        autoreset_mode: one of Gymnasium's `AutoresetMode`, or its value: `"NextStep"`,
            `"SameStep"` or `"Disabled"`.
        array: `"numpy"`, or `"torch"` for tensors on the device: observations, rewards and ends,
            and actions that are taken. Infos are NumPy arrays.
        chunk, compiled: of `BatchedRun`: how many models at a time, and how steps are compiled.
        precision: of `BatchedRun`; besides the single environment's also `"tf32"`.
        max_episode_steps: decisions after which an episode is truncated, as by `TimeLimit`.
        arguments: of the single environment, `device` among them.

    Attributes:
        task, layout, action_map, reward_names, reward_weights, arguments, corpus: as the single
            environment's.
        episodes: the N episodes.
        run: the batch of runs; None before the first reset and after `close`.

    Raises:
        UnknownArgumentError, UnknownNameError, ValueError: an argument that there is not, or out of
            range.
        MixgymError: an environment or reward that a batch does not have: one that starts from given
            weights, or a term that looks at text.
    """

    SINGLE: ClassVar[type[PretrainEnv]] = PretrainEnv

    def __init__(
        self,
        num_envs: int = 1,
        *,
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        array: str = "numpy",
        chunk: int | None = None,
        compiled: str = "auto",
        precision: str | None = None,
        max_episode_steps: int | None = None,
        **arguments: Any,
    ) -> None:
        self.num_envs = whole_number("num_envs", num_envs, least=1)
        if max_episode_steps is not None:
            whole_number("max_episode_steps", max_episode_steps, least=1)
        if array not in ARRAYS:
            raise unknown_name("kind of array", array, ARRAYS)
        modes = [mode.value for mode in AutoresetMode]
        if not isinstance(autoreset_mode, AutoresetMode) and autoreset_mode not in modes:
            raise unknown_name("autoreset mode", autoreset_mode, modes)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        if precision is not None and precision != "tf32":
            arguments["precision"] = precision
        self._how = {
            "chunk": chunk,
            "compiled": compiled,
            "precision": precision if precision == "tf32" else None,
        }
        self.array, self.max_episode_steps = array, max_episode_steps
        self._single = single = self.SINGLE(render_mode=render_mode, **arguments)
        if self.SINGLE._set_weights is not PretrainEnv._set_weights:
            raise MixgymError(
                f"{self.SINGLE.__name__} starts from given weights, which a batch does not: use "
                "vectorization_mode='async' or 'sync'"
            )
        self.metadata = {**single.metadata, "autoreset_mode": self.autoreset_mode}
        self.render_mode = render_mode
        self.task, self.arguments, self.corpus = single.task, single.arguments, single.corpus
        self.layout, self.action_map = single.layout, single.action_map
        self.reward_names, self.reward_weights = single.reward_names, single.reward_weights
        self.single_action_space = single.action_space
        self.single_observation_space = single.observation_space
        self.action_space = batch_space(single.action_space, num_envs)
        self.observation_space = batch_space(single.observation_space, num_envs)
        self.episodes = [self._new_episode() for _ in range(num_envs)]
        self.run: BatchedRun | None = None
        self._generators: list[np.random.Generator | None] = [None] * num_envs
        self._generator_seeds: list[int] = [-1] * num_envs
        self._over = np.zeros(num_envs, dtype=bool)
        self._elapsed = np.zeros(num_envs, dtype=np.int64)

    def _new_episode(self) -> Episode:
        return Episode(
            self.task,
            self.layout.layers,
            self.arguments,
            provides=self.SINGLE.PROVIDES - _LACKING,
            owner="a batch of environments",
        )

    @property
    def corpus_hash(self) -> str:
        """Content hash of the corpus."""
        return self.corpus.hash

    @property
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The environments' generators, which draw the seeds of episodes that are given none."""
        return tuple(self._generator(i) for i in range(self.num_envs))

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """What each was seeded with."""
        return tuple(self._generator_seeds) if self.np_random else ()

    def _generator(self, i: int) -> np.random.Generator:
        generator = self._generators[i]
        return self._seeded(i, None) if generator is None else generator

    def _seeded(self, i: int, seed: int | None) -> np.random.Generator:
        generator, self._generator_seeds[i] = seeding.np_random(seed)
        self._generators[i] = generator
        return generator

    def _active(self) -> BatchedRun:
        if self.run is None:
            raise gym.error.ResetNeeded("call reset() before anything else")
        return self.run

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Start new training runs.

        Args:
            seed: of the runs, (N,); a single one s stands for s, s + 1, ...; each environment's
                generator draws it where there is none.
            options: `"reset_mask"`: (N,) bool array of the environments to reset, all by default,
                infos being of these alone; the others as `PretrainEnv.reset`'s.

        Raises:
            UnknownNameError, ValueError, TypeError: an option or seeds that do not fit.
            CheckpointError: as `PretrainEnv.reset`.
        """
        given = dict(options or {})
        mask = self._mask(given.pop("reset_mask", None))
        check_reset_options(given)
        seeds = self._seeds(seed)
        rows = np.flatnonzero(mask)
        for i in rows.tolist():
            if seeds[i] is not None:
                self._seeded(i, seeds[i])
        infos: dict[str, Any] = {}
        self._begin(rows, [seeds[i] for i in rows.tolist()], given)
        for i in rows.tolist():
            infos = self._add_info(infos, self._info(i), i)
        self.closed = False
        return self._returned(self._observations()), infos

    def _mask(self, mask: Any) -> NDArray[np.bool_]:
        if mask is None:
            return np.ones(self.num_envs, dtype=bool)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            raise TypeError(
                f"the reset option 'reset_mask' must be a NumPy array of bool, got {mask!r}"
            )
        if mask.shape != (self.num_envs,) or not mask.any():
            raise ValueError(
                f"the reset option 'reset_mask' must have the shape ({self.num_envs},) and a True "
                f"entry, got {mask!r}"
            )
        if self.run is None and not mask.all():
            raise gym.error.ResetNeeded("the first reset must be of all environments")
        return mask

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, (int, np.integer)):
            return [int(seed) + i for i in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(f"seed must have {self.num_envs} entries, one each, got {len(seed)}")
        return list(seed)

    def _begin(
        self, rows: NDArray[np.int64], seeds: Sequence[int | None], options: Mapping[str, Any]
    ) -> None:
        """Start new runs and episodes in `rows`."""
        mixture = self.task.mixture(options.get("mixture", "natural"))
        drawn = [
            int(self._generator(i).integers(2**31)) if seed is None else int(seed)
            for i, seed in zip(rows.tolist(), seeds, strict=True)
        ]
        weights = self._checkpoint(options.get("checkpoint"))
        if self.run is None:
            self.run = self._new_run(drawn)
        else:
            self.run.restart(rows, drawn)
        if weights is not None:
            self.run.load_weights(weights, rows)
        signals = self.run.signals()
        measured = self._measure(signals, rows)
        title = self.spec.id if self.spec else self.SINGLE.__name__
        for i, seed in zip(rows.tolist(), drawn, strict=True):
            self.episodes[i].title = title
            self.episodes[i].start(seed, mixture, signals[i], measured[i])
        self._over[rows], self._elapsed[rows] = False, 0

    def _new_run(self, seeds: Sequence[int]) -> BatchedRun:
        from mixgym.lm.batched import BatchedRun

        single = self._single
        return BatchedRun(
            self.corpus,
            self.arguments.model,
            seeds,
            total_steps=self.task.decisions * self.task.steps_per_decision,
            settings=single.settings,
            evaluation_seed=self.arguments.evaluation_seed,
            gradients=single.gradients,
            **self._how,
        )

    def _checkpoint(self, path: str | os.PathLike[str] | None) -> dict[str, Any] | None:
        """Return the weights in the checkpoint at `path`, checked by a run that loads them."""
        if path is None:
            return None
        from mixgym.lm.checkpoint import load_weights

        run = self._single.maker.make(0, 1)
        load_weights(run, Path(path))
        return dict(run.model.named_parameters())

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Train every run `steps_per_decision` steps on the mixture that its action stands for.

        Args:
            actions: (N, size) array, or tensor on any device; what lies outside the box is clipped
                into it. Those of environments that reset now (`"NextStep"`) are not looked at.

        Returns:
            (N, size) float32 observations, (N,) float64 rewards, (N,) bool terminated and
            truncated, and infos: fresh arrays.

        Raises:
            ResetNeeded: before `reset`, or with `"Disabled"` after an episode ended.
            ValueError: actions of the wrong shape or not finite; nothing has happened then.
        """
        run = self._active()
        if self.autoreset_mode == AutoresetMode.DISABLED and self._over.any():
            raise gym.error.ResetNeeded(
                f"the episodes of {np.flatnonzero(self._over).tolist()} have ended: call "
                "reset(options={'reset_mask': ...}) to start others"
            )
        again = np.flatnonzero(self._over)
        rows = np.flatnonzero(~self._over)
        chosen = self._actions(actions, rows)
        rewards = np.zeros(self.num_envs)
        terminated = np.zeros(self.num_envs, dtype=bool)
        if len(again):
            self._begin(again, [None] * len(again), {})
        if len(rows):
            self._decide(run, rows, chosen)
            for i in rows.tolist():
                rewards[i], terminated[i] = self.episodes[i].reward, self.episodes[i].ended
            self._elapsed[rows] += 1
        truncated = np.zeros(self.num_envs, dtype=bool)
        if self.max_episode_steps is not None:
            truncated = self._elapsed >= self.max_episode_steps
        self._over = terminated | truncated
        infos = self._step_infos()
        results = (self._observations(), rewards, terminated, truncated)
        return (*map(self._returned, results), infos)

    def _actions(self, actions: Any, rows: NDArray[np.int64]) -> NDArray[Any]:
        import torch

        if isinstance(actions, torch.Tensor):
            actions = actions.detach().cpu().numpy()
        given, shape = np.asarray(actions), self.action_space.shape
        if given.shape != shape:
            raise ValueError(f"actions must have the shape {shape}, got {given.shape}")
        finite = np.isfinite(given[rows]).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"actions must be finite, those of {rows[~finite].tolist()} are not: "
                f"{given[rows[~finite][0]]}"
            )
        return given

    def _decide(self, run: BatchedRun, rows: NDArray[np.int64], actions: NDArray[Any]) -> None:
        mixtures = np.tile(self.task.natural, (self.num_envs, 1))
        for i in rows.tolist():
            mixtures[i] = self.episodes[i].to_mixture(actions[i])
        signals = run.advance(mixtures, self.task.steps_per_decision, runs=self._among(rows))
        measured = self._measure(signals, rows)
        for i in rows.tolist():
            self.episodes[i].record(mixtures[i].copy(), signals[i], measured[i])

    def _among(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.isin(np.arange(self.num_envs), rows)

    def _measure(self, signals: BatchedSignals, rows: NDArray[np.int64]) -> dict[int, Measurement]:
        """Return what `Episode.measure` measures, of each of `rows`."""
        run, domains = self._active(), self.episodes[0].measured
        which = self._among(rows) & ~signals.diverged
        if not len(domains) or not which.any():
            return {i: Measurement() for i in rows.tolist()}
        loss = run.evaluate(
            "validation",
            domains=domains,
            windows=self.arguments.evaluation_windows,
            account="reward",
            runs=which,
        )
        wanted = np.isin(np.arange(self.task.K), domains)
        diverged = run.has_diverged(np.where(wanted, loss, 0.0))
        return {
            i: Measurement(loss[i], bool(diverged[i])) if which[i] else Measurement()
            for i in rows.tolist()
        }

    def _step_infos(self) -> dict[str, Any]:
        """Return the infos of a step, after the resets that `"SameStep"` puts into it."""
        infos: dict[str, Any] = {}
        if self.autoreset_mode == AutoresetMode.SAME_STEP and self._over.any():
            rows = np.flatnonzero(self._over)
            for i in rows.tolist():
                final = {"final_obs": self.episodes[i].observation, "final_info": self._info(i)}
                infos = self._add_info(infos, final, i)
            self._begin(rows, [None] * len(rows), {})
        for i in range(self.num_envs):
            infos = self._add_info(infos, self._info(i), i)
        return infos

    def _info(self, i: int) -> dict[str, Any]:
        episode, ledger = self.episodes[i], self._active().ledger[i]
        return {**episode.info(), **run_info(ledger, episode.run_seed, self.corpus_hash)}

    def _observations(self) -> NDArray[np.float32]:
        return np.stack([episode.observation for episode in self.episodes])

    def _returned(self, values: NDArray[Any]) -> Any:
        if self.array == "numpy":
            return values
        import torch

        return torch.from_numpy(values).to(self._active().settings.device)

    def fork(self) -> BatchedEnv:
        """Return an independent copy mid-episode; the same actions then give the same results."""
        return copy.deepcopy(self)

    def render(self) -> tuple[Any, ...] | None:
        """Return a frame of each environment, as the single one's."""
        self._active()
        if self.render_mode is None:
            return None
        return tuple(rendered(self.render_mode, e.history) for e in self.episodes)

    def close_extras(self, **kwargs: Any) -> None:
        """Free the runs; `reset` starts anew."""
        self.run = None

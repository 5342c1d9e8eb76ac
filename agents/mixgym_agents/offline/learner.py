"""d3rlpy's offline algorithms on logged trajectories, with private randomness and exact resuming.

d3rlpy's own loop draws minibatches from NumPy's global generator, logs to files and saves by
pickle; here it is handed minibatches one by one, and its tensors are read out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mixgym.envs.observation import ObservationLayout
from mixgym.errors import MixgymError
from mixgym.lm.threads import pinned_threads, private_rng, rng_state
from mixgym.simplex import ActionMap, DeltaMap, IlrMap, SoftmaxMap
from mixgym.trajectories.evaluation import minibatch
from mixgym.trajectories.library import d3rlpy
from mixgym.trajectories.record import Trajectory
from mixgym.trajectories.transitions import RewardScaling, Transitions
from mixgym_agents.learning.normaliser import Normaliser
from mixgym_agents.learning.store import flat_optimiser, load_weights, owned, restore_optimiser
from mixgym_agents.offline.config import OfflineConfig
from mixgym_agents.offline.encoders import Shape, encoder_factory, fix_heads

_STREAM = int.from_bytes(b"offl")
_HEADS = ("_mu", "_logstd", "_fc")  # d3rlpy's names
_RNG = "rng.torch"


class Learner:
    """One of d3rlpy's algorithms, its warm start by behaviour cloning, and its data.

    Args:
        algorithm: one of `mixgym_agents.offline.config.ALGORITHMS`.
        config: hyperparameters.
        layout: of the observations.
        action_map: that the actions are of.
        seed: of initial weights, minibatches, drawn actions and held-out episodes.
    """

    def __init__(
        self,
        algorithm: str,
        config: OfflineConfig,
        layout: ObservationLayout,
        action_map: ActionMap,
        seed: int,
    ) -> None:
        self.algorithm, self.config, self.layout = algorithm, config, layout
        self.normaliser = Normaliser(layout, pooled=not config.fixed_layers)
        if algorithm != "bc" and not isinstance(action_map, SoftmaxMap | IlrMap | DeltaMap):
            raise MixgymError(
                f"agent {algorithm!r} cannot learn from actions of {type(action_map).__name__}: "
                "its critic tells actions apart by their softmax alone; collect with action_map "
                "softmax, ilr or delta"
            )
        (dim,) = action_map.space.shape
        self.shape = Shape(
            K=len(layout.domains),
            F=self.normaliser.sizes[0],
            C=self.normaliser.context_size,
            window=config.window,
            scale=float(getattr(action_map, "scale", 1.0)),
            dim=int(dim),
        )
        if config.network == "tokens" and dim != len(layout.domains):
            raise MixgymError(
                f"network='tokens' gives one number a domain, but an action has {dim} for "
                f"{len(layout.domains)} domains: use network='mlp' or another action map"
            )
        self._rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAM, 0)))
        self._held = np.random.SeedSequence(seed, spawn_key=(_STREAM, 1))
        start = np.random.SeedSequence(seed, spawn_key=(_STREAM, 2)).generate_state(1, np.uint64)
        with pinned_threads(1), private_rng(int(start[0] >> 1)):
            self.algo = self._make(algorithm)
            self.cloner = None if algorithm == "bc" else self._make("bc")
            self._torch = rng_state("cpu")
        self.steps = 0
        self.scaling: RewardScaling | None = None
        self._all: Transitions | None = None
        self._good: Transitions | None = None

    def _make(self, algorithm: str) -> Any:
        library, c = d3rlpy(), self.config
        network = encoder_factory(self.shape, c)
        learned = {
            **c.chosen("batch_size", "gamma", "tau", "actor_learning_rate", "critic_learning_rate"),
            "n_critics": c.critics,
            "actor_encoder_factory": network,
            "critic_encoder_factory": network,
        }
        if algorithm == "bc":
            made = library.algos.BCConfig(
                batch_size=c.batch_size,
                learning_rate=c.warm_start_learning_rate,
                encoder_factory=network,
            )
        elif algorithm == "cql":
            made = library.algos.CQLConfig(
                **learned,
                **c.chosen("alpha_learning_rate", "initial_temperature", "initial_alpha"),
                **c.chosen("alpha_threshold", "conservative_weight"),
                temp_learning_rate=c.temperature_learning_rate,
                n_action_samples=c.action_samples,
            )
        elif algorithm == "iql":
            made = library.algos.IQLConfig(
                **learned,
                value_encoder_factory=encoder_factory(self.shape, c, value=True),
                expectile=c.expectile,
                weight_temp=c.advantage_temperature,
            )
        else:
            made = library.algos.TD3PlusBCConfig(**learned, alpha=c.bc_alpha)
        algo = made.create(device=False)
        algo.create_impl((self.shape.size,), self.shape.dim)
        if c.network == "tokens":
            for policy in _policies(algo):
                fix_heads(policy, self.shape)
        return algo

    # --- data -----------------------------------------------------------------------------------

    def take(self, episodes: Sequence[Trajectory], decisions: int) -> None:
        """Learn from these episodes from now on; fits the scales of observations and rewards.

        Args:
            episodes: of one task and layout.
            decisions: in a whole episode.
        """
        held = set(self.held_out(episodes))
        kept = [episode for index, episode in enumerate(episodes) if index not in held]
        for episode in kept:
            for observation in episode.observations:
                self.normaliser.update(observation)
        self.scaling = RewardScaling.fit(
            self.config.reward_scaling, kept, decisions, self.config.gamma
        )
        # Ties by position, so that equal returns do not depend on the sort.
        order = sorted(range(len(kept)), key=lambda index: (-kept[index].total, index))
        good = [kept[index] for index in order[: math.ceil(self.config.share * len(kept))]]
        self._all, self._good = self.transitions(kept), self.transitions(good)

    def held_out(self, episodes: Sequence[Trajectory]) -> list[int]:
        """Positions of the episodes that are kept for evaluation.

        Whole runs are: episodes of the same run seed, which start from the same weights and read
        the same data, are held out together. One run at least, if any share is, and never all.
        """
        runs: dict[int, list[int]] = {}
        for index, episode in enumerate(episodes):
            runs.setdefault(episode.seed, []).append(index)
        number = int(self.config.held_out * len(runs))
        if self.config.held_out > 0 and len(runs) > 1:
            number = max(number, 1)
        chosen = np.random.default_rng(self._held).permutation(len(runs))[:number]
        members = list(runs.values())
        return sorted(index for run in chosen for index in members[run])

    def transitions(self, episodes: Sequence[Trajectory]) -> Transitions:
        """Cut episodes into transitions of network inputs and scaled rewards."""
        if self.scaling is None:
            raise MixgymError("the learner has no data: call take(episodes, decisions) first")
        return Transitions.build(episodes, self.encode, self.config.window, self.scaling)

    def encode(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """(B, size) observations as (B, K F + C) network inputs."""
        inputs = self.normaliser(observations)
        return torch.cat([inputs.domains.flatten(1), inputs.context], dim=1).numpy()

    # --- learning -------------------------------------------------------------------------------

    @property
    def warming(self) -> bool:
        """Whether the next step is one of the warm start's."""
        return self.cloner is not None and self.steps < self.config.warm_start

    @property
    def acting(self) -> Any:
        """The algorithm whose policy acts: the cloner until the warm start is over."""
        cloned = self.cloner is not None and 0 < self.steps <= self.config.warm_start
        return self.cloner if cloned else self.algo

    def learn(self, steps: int) -> dict[str, float]:
        """Take `steps` gradient steps and return the mean of each loss over them."""
        if self._all is None or self._good is None:
            raise MixgymError("the learner has no data: call take(episodes, decisions) first")
        losses: dict[str, list[float]] = {}
        with pinned_threads(1), private_rng(self._torch):
            for _ in range(steps):
                cloning = self.warming or self.algorithm == "bc"
                algo: Any = self.cloner if self.warming else self.algo
                batch = (self._good if cloning else self._all).sample(
                    self._rng, self.config.batch_size
                )
                for name, value in algo.update(minibatch(batch)).items():
                    losses.setdefault(f"cloning_{name}" if cloning else name, []).append(value)
                self.steps += 1
                if self.cloner is not None and self.steps == self.config.warm_start:
                    self._adopt_clone()
            self._torch = rng_state("cpu")
        return {name: float(np.mean(values)) for name, values in losses.items()}

    def _adopt_clone(self) -> None:
        """Start the policy (and a target policy) from the cloned encoder and means."""
        clone = next(_policies(self.cloner)).state_dict()
        for policy in _policies(self.algo):
            own = policy.state_dict()
            renamed = {name.replace("_fc.", "_mu."): value for name, value in clone.items()}
            taken = {k: v for k, v in {**clone, **renamed}.items() if k in own}
            policy.load_state_dict({**own, **{k: v.clone() for k, v in taken.items()}})

    def act(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the (dim,) action in [-1, 1] for a (window width,) input."""
        with pinned_threads(1):
            action = self.acting.predict(vector[None])[0]
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    def critic_factory(self) -> Any:
        """Encoder factory of a critic like the learner's own, for fitted Q evaluation."""
        return encoder_factory(self.shape, self.config)

    def value(self, vectors: NDArray[np.float32]) -> NDArray[np.float64] | None:
        """(B,) scaled values of the policy's own actions by its own critic; None without one."""
        if self.algorithm == "bc" or self.acting is not self.algo:
            return None
        with pinned_threads(1):
            return self.algo.predict_value(vectors, self.algo.predict(vectors)).astype(np.float64)

    # --- saving ---------------------------------------------------------------------------------

    def tensors(self) -> dict[str, torch.Tensor]:
        """Networks, targets, optimisers and torch's generator, by name."""
        found = {_RNG: self._torch["cpu"]}
        for label, algo in self._algorithms().items():
            for name, part in _parts(algo):
                if isinstance(part, nn.Module):
                    found |= {f"{label}.{name}.{k}": v for k, v in part.state_dict().items()}
                else:
                    found |= flat_optimiser(f"{label}-{name}", part.optim)
        return {name: value.detach().clone() for name, value in found.items()}

    def scalars(self) -> dict[str, Any]:
        """The rest of what learning depends on, JSON-plain."""
        return {
            "steps": self.steps,
            "gradient_steps": {k: v.grad_step for k, v in self._algorithms().items()},
            "normaliser": self.normaliser.state_dict(),
            "scaling": None if self.scaling is None else asdict(self.scaling),
            "rng": self._rng.bit_generator.state,
        }

    def restore(
        self, tensors: Mapping[str, torch.Tensor], scalars: Mapping[str, Any], resume: bool
    ) -> None:
        """Take over what was saved: everything to `resume`, or the networks alone to act.

        To act, the networks may have been learned on another number of domains.

        Raises:
            CheckpointError: networks of other shapes.
        """
        for label, algo in self._algorithms().items():
            for name, part in _parts(algo):
                if isinstance(part, nn.Module):
                    saved = owned(f"{label}.{name}", dict(tensors))
                    # To act, heads of another number of domains stay as they are.
                    load_weights(part, saved, spare=() if resume else _HEADS)
                elif resume:
                    restore_optimiser(f"{label}-{name}", part.optim, dict(tensors))
            algo.set_grad_step(scalars["gradient_steps"][label])
        self.steps = scalars["steps"]
        self.normaliser.load_state_dict(scalars["normaliser"])
        stored = scalars["scaling"]
        if stored is not None:
            self.scaling = RewardScaling(**{**stored, "baseline": tuple(stored["baseline"])})
        if resume:
            self._rng.bit_generator.state = scalars["rng"]
            self._torch = {"cpu": tensors[_RNG].clone()}

    def _algorithms(self) -> dict[str, Any]:
        both = {"algorithm": self.algo, "cloner": self.cloner}
        return {label: algo for label, algo in both.items() if algo is not None}


def _parts(algo: Any) -> list[tuple[str, Any]]:
    """Modules and optimiser wrappers of an algorithm, by d3rlpy's names."""
    modules = algo.impl.modules
    parts = [(item.name, getattr(modules, item.name)) for item in fields(modules)]
    return [(n, x) for n, x in parts if isinstance(x, nn.Module) or hasattr(x, "optim")]


def _policies(algo: Any) -> Any:
    """The policy and, where there is one, its target."""
    policy = d3rlpy().models.torch.Policy
    return (part for _, part in _parts(algo) if isinstance(part, policy))

"""A stable-baselines3 algorithm with all it depends on: statistics, buffers, random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from mixgym.envs.observation import BOUND, ObservationLayout
from mixgym.simplex import ActionMap
from mixgym.trajectories.record import map_to_json
from mixgym_agents.learning.store import flat_optimiser, load_weights, owned, restore_optimiser
from mixgym_agents.sb3.config import Config
from mixgym_agents.sb3.models import build_driver
from mixgym_agents.sb3.networks import TokenShape
from mixgym_agents.sb3.randomness import PrivateRandomness
from mixgym_agents.sb3.vecenv import HandedIn, normalised, plain_statistics, restore_statistics


class Learner:
    """What learns in one kind of environment; knows nothing of mixgym's runs.

    Args:
        config: of the algorithm.
        layout: of the observations.
        action_map: of the environment.
        seed: of initial weights, draws of actions and batches; 0 to 2^32 - 1.
        scale: from actions to logits, for token critics.
        directions: of an action that change the mixture.
    """

    def __init__(
        self,
        config: Config,
        layout: ObservationLayout,
        action_map: ActionMap,
        seed: int,
        *,
        scale: float,
        directions: int,
    ) -> None:
        self.config, self.layout, self.map = config, layout, action_map
        self.randomness = PrivateRandomness(seed)
        observed = spaces.Box(-BOUND, BOUND, (layout.size,), np.float32)
        self.results = HandedIn(observed, action_map.space)
        self.env = normalised(self.results, layout, config)
        shape = TokenShape.of(layout, config, scale)
        with self.randomness.active():
            self.driver = build_driver(config, self.env, shape, directions)

    # --- decisions ------------------------------------------------------------------------------

    def predict(self, state: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mean action at a (size,) observation; changes nothing."""
        seen: Any = self.env.normalize_obs(state[None])
        return self.driver.model.predict(seen, deterministic=True)[0][0]

    def begin(self, state: NDArray[np.float32]) -> None:
        """Begin an episode with its first observation."""
        model = self.driver.model
        self.results.hand_in(state)
        model._last_obs = self.env.reset()
        model._last_original_obs = self.env.get_original_obs()
        model._last_episode_starts = np.ones(1, dtype=bool)

    def choose(self, given: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return the action to take: `given`, or a draw from the policy."""
        model = self.driver.model
        with self.randomness.active():
            if given is not None:
                model.pending = (given[None], model.policy.scale_action(given[None]))
                return given
            return self.driver.choose()

    def absorb(
        self, state: NDArray[np.float32], reward: float, done: bool, cut: bool
    ) -> dict[str, float]:
        """Take in what came of the action and learn; returns what the algorithm logged.

        Args:
            state: (size,) observation after it.
            reward: of it.
            done: whether the episode ended.
            cut: whether that end is a truncation.
        """
        self.results.hand_in(state, reward, done, cut)
        model = self.driver.model
        with self.randomness.active():
            self.driver.absorb()
        logged = {k: float(v) for k, v in model.logger.name_to_value.items()}
        model.logger.dump(model.num_timesteps)
        return {k: v for k, v in logged.items() if k.startswith("train/")}

    # --- state ----------------------------------------------------------------------------------

    def networks(self) -> dict[str, Tensor]:
        """The policy's weights by name, target critics included; copies."""
        weights = self.driver.model.policy.state_dict()
        return {name: value.detach().clone() for name, value in weights.items()}

    def statistics(self) -> dict[str, Any]:
        """Running statistics of observations and rewards, JSON-plain."""
        observed: Any = getattr(self.env, "obs_rms", None)
        return {
            "observations": None if observed is None else observed.to_json(),
            "rewards": plain_statistics(self.env.ret_rms),
        }

    def adopt(self, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
        """Take over weights and statistics, of other numbers of domains and layers maybe.

        Raises:
            CheckpointError: weights of other shapes.
        """
        load_weights(self.driver.model.policy, owned("policy", tensors))
        self._restore_statistics(scalars["learner"]["statistics"])

    def adopt_temperature(self, tensors: dict[str, Tensor]) -> None:
        """Take over the entropy coefficient that was learned, if it was and is learned."""
        model = self.driver.model
        saved = tensors.get("log_ent_coef")
        if saved is not None and getattr(model, "log_ent_coef", None) is not None:
            with torch.no_grad():
                model.log_ent_coef.copy_(saved)

    def _restore_statistics(self, statistics: dict[str, Any]) -> None:
        observed: Any = getattr(self.env, "obs_rms", None)
        if observed is not None and statistics["observations"] is not None:
            observed.restore(statistics["observations"])
        restore_statistics(self.env.ret_rms, statistics["rewards"])

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything the next `choose` and `absorb` depend on: tensors, and JSON-plain values."""
        model = self.driver.model
        tensors = {f"policy.{name}": value for name, value in self.networks().items()}
        for name, optimiser in self.driver.optimisers().items():
            tensors |= flat_optimiser(f"{name}_optimiser", optimiser)
        arrays, plain = self.driver.state()
        for name, seen in (("last", model._last_obs), ("original", model._last_original_obs)):
            if seen is not None:
                arrays[f"seen.{name}"] = seen
        tensors |= {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
        for name, value in self.randomness.tensors().items():
            tensors[f"random.{name}"] = value
        return tensors, {
            "action_map": map_to_json(self.map),
            "learner": {
                "driver": plain,
                "decisions": int(model.num_timesteps),
                "updates": int(model._n_updates),
                "returns": self.env.returns.tolist(),
                "statistics": self.statistics(),
                "random": self.randomness.scalars(),
            },
        }

    def restore(self, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
        """Inverse of `state`."""
        model, plain = self.driver.model, scalars["learner"]
        self.adopt(tensors, scalars)
        for name, optimiser in self.driver.optimisers().items():
            restore_optimiser(f"{name}_optimiser", optimiser, tensors)
        arrays = {name: value.numpy().copy() for name, value in tensors.items()}
        self.driver.restore(arrays, plain["driver"])
        model._last_obs = arrays.get("seen.last")
        model._last_original_obs = arrays.get("seen.original")
        model.num_timesteps, model._n_updates = plain["decisions"], plain["updates"]
        self.env.returns = np.array(plain["returns"])
        self.randomness.restore(owned("random", tensors), plain["random"])

"""What an agent that acts in a box needs to know of the environment's action map."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixgym.envs.task import MixingTask
from mixgym.errors import MixgymError
from mixgym.simplex import (
    TINY,
    ActionMap,
    DeltaMap,
    DirichletMap,
    Mixture,
    SimplexMap,
    SoftmaxMap,
    softmax,
)


def box_map(env: Any, name: str) -> ActionMap:
    """Return the action map of a mixing environment whose actions are points of [-1, 1]^n.

    Args:
        env: maybe wrapped.
        name: of the agent, for the error.

    Raises:
        MixgymError: no action map, mixtures as actions, or a wrapper that changes the actions.
    """
    found = getattr(env.unwrapped, "action_map", None)
    if not isinstance(found, ActionMap) or isinstance(found, SimplexMap):
        raise MixgymError(
            f"agent {name!r} acts in a box, but the action space is {env.action_space}: make the "
            "environment with action_map='softmax', 'ilr', 'delta' or 'dirichlet'"
        )
    if env.action_space != found.space:
        raise MixgymError(
            f"agent {name!r} acts in {found.space}, but a wrapper made it {env.action_space}: "
            "leave out wrappers that change the actions"
        )
    return found


def directions(action_map: ActionMap) -> int:
    """How many directions of an action change the mixture.

    Adding a constant to an action of the softmax or the delta map changes nothing, so that of
    their K directions K - 1 count; the ILR map has K - 1 to begin with, and the Dirichlet map's
    level says how surely, so that all K count.
    """
    return action_map.K if isinstance(action_map, DirichletMap) else action_map.K - 1


def per_domain(action_map: ActionMap) -> bool:
    """Whether an action has one number a domain, as token networks need."""
    return action_map.space.shape == (action_map.K,)


def scale_of(action_map: ActionMap) -> float:
    """The factor from an action to logits; that of the default map where there is none."""
    known = isinstance(action_map, SoftmaxMap | DeltaMap)
    return float(action_map.scale if known else SoftmaxMap(action_map.K).scale)


def warm_up_mixture(task: MixingTask, noise: float, rng: np.random.Generator) -> Mixture:
    """Return softmax(log((1 - u) natural + u uniform) + noise z), (K,); u ~ U(0, 1), z ~ N(0, 1).

    Behaviour before learning: every mixture is a sensible one, and no two are alike.
    """
    u = rng.uniform()
    blend = (1.0 - u) * task.natural + u / task.K
    return softmax(np.log(np.maximum(blend, TINY)) + noise * rng.standard_normal(task.K))


def warm_up_action(
    task: MixingTask,
    action_map: ActionMap,
    current: Mixture,
    noise: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return the action nearest to a `warm_up_mixture`; `current` is the mixture applied before."""
    return action_map.to_action(warm_up_mixture(task, noise, rng), current)

"""RegMix: a regression from mixtures to losses, and the best mixtures it predicts."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixgym.envs.task import MixingTask
from mixgym.errors import MixgymError, missing_extra
from mixgym.simplex import Mixture
from mixgym_agents.checks import Number, Range
from mixgym_agents.proxies.swarm import Swarm, SwarmSearch, checked_runs

if TYPE_CHECKING:
    from lightgbm import Booster

_LEAF = 20  # LightGBM's default, which the release keeps
_ROWS_A_LEAF = 16


@dataclass(frozen=True)
class LossRegressor:
    """Gradient-boosted trees from mixtures to losses, one ensemble a loss."""

    boosters: tuple[Booster, ...]
    single: bool

    def predict(self, mixtures: ArrayLike) -> NDArray[np.float64]:
        """Return (n, M) losses of (n, K) mixtures, (n,) if it was fitted to (n,) losses."""
        x = np.asarray(mixtures, dtype=np.float64)
        columns = [np.asarray(b.predict(x, num_threads=1), dtype=float) for b in self.boosters]
        return columns[0] if self.single else np.stack(columns, axis=1)


def fit_regressor(
    mixtures: ArrayLike,
    losses: ArrayLike,
    *,
    trees: int = 1000,
    learning_rate: float = 0.01,
    leaf: int | None = None,
    seed: int = 42,
) -> LossRegressor:
    """Fit RegMix's regressor to finished runs.

    Every tree is kept: nothing is held out, and nothing stops the boosting early.

    Args:
        mixtures: (n, K) mixtures the runs were trained on.
        losses: (n,) losses, or (n, M) of M domains.
        trees: number of trees.
        learning_rate: of the boosting.
        leaf: fewest runs in a leaf; min(20, n / 16) by default, 20 being LightGBM's, with which
            fewer than 40 runs give no tree at all.
        seed: LightGBM's.

    Raises:
        MissingExtraError: LightGBM is not installed.
        ValueError: shapes or values that cannot be fitted.
    """
    x, y, single = checked_runs(mixtures, losses)
    try:
        import lightgbm
    except ImportError as error:
        raise missing_extra("LightGBM", "swarm", "RegMix's regressor") from error
    parameters = {
        "objective": "regression",
        "learning_rate": learning_rate,
        "min_data_in_leaf": max(1, min(_LEAF, len(x) // _ROWS_A_LEAF)) if leaf is None else leaf,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    boosters = [
        lightgbm.train(parameters, lightgbm.Dataset(x, column, params=parameters), trees)
        for column in y.T
    ]
    return LossRegressor(tuple(boosters), single)


@dataclass(kw_only=True)
class RegMix(SwarmSearch):
    """The mean of the mixtures that a regression on a swarm of proxies predicts to be the best.

    1. `proxies` proxies are trained on mixtures ~ Dirichlet(strength x prior^temperature).
    2. LightGBM learns the objective's validation loss from the mixture (`fit_regressor`).
    3. It scores `draws` mixtures of the same distribution; the mean of the `top` is played.

    Source: Liu et al. 2024, RegMix (arXiv 2407.01492), and its released scripts, whose strengths,
    temperature, least weight, bound of 15 repetitions, 1000 trees and learning rate .01 are kept.
    That 100,000 draws are scored and 100 averaged was **not checked in code**.

    Deviations: 128 proxies of the run's own model and budget (theirs: 512 of 1 M parameters);
    repetitions are counted over the text that there is in the budget that there is (theirs: as
    multiples of the prior); weights are not rounded; the boosting is not stopped early by losses
    on the test mixtures, as the released notebook's is; leaves are smaller when proxies are few.

    Args:
        draws: mixtures that are scored.
        top: of which the best ones are averaged.
        trees: of the regressor.
        learning_rate: of the regressor.
    """

    name = "regmix"

    draws: Number = 100_000
    top: Number = 100
    trees: Number = 1000
    learning_rate: Annotated[float, Range(0, 1, "(]")] = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top > self.draws:
            raise ValueError(f"top={self.top} must not be more than draws={self.draws}")

    def check(self, task: MixingTask) -> None:
        super().check(task)
        if importlib.util.find_spec("lightgbm") is None:
            raise missing_extra("LightGBM", "swarm", f"agent {self.name!r}")

    def propose(self, inner: Any, swarm: Swarm, rng: np.random.Generator) -> Mixture:
        candidates = self.draw(inner.task, self.draws, rng, swarm.caps, distinct=False)
        regressor = fit_regressor(
            swarm.mixtures,
            swarm.losses @ swarm.weights,
            trees=self.trees,
            learning_rate=self.learning_rate,
        )
        predicted = regressor.predict(candidates)
        if np.ptp(predicted) == 0:
            raise MixgymError(
                f"the regression on {len(swarm.mixtures)} proxies found no difference between "
                "mixtures: give agent 'regmix' more proxies=..., or longer ones (steps=...)"
            )
        return candidates[np.argsort(predicted, kind="stable")[: self.top]].mean(axis=0)


agent = RegMix

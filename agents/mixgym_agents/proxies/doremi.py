"""DoReMi: minimax excess loss on a proxy, averaged, then fixed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from mixgym.envs.task import MixingTask
from mixgym.simplex import Mixture
from mixgym_agents.checks import Number, Positive, Range, Spec
from mixgym_agents.proxies.proxy import Model, ProxySearch, charged, train

if TYPE_CHECKING:
    import torch

    from mixgym.lm.stream import Batch
    from mixgym.lm.training import TrainingRun


class GroupDro:
    """The weights' side of DoReMi's game, one update a step of the proxy.

        lambda_i = mean over domain i's tokens of max(l - l_ref, 0)   (its last one if unsampled)
        w <- (1 - eps) softmax(log w + eta lambda) + eps / K,  w = 1/K at the start

    Args:
        K: number of domains.
        eta: step size.
        smoothing: eps.
    """

    def __init__(self, K: int, eta: float, smoothing: float) -> None:
        self.K, self.eta, self.smoothing = K, eta, smoothing
        self.weights = np.full(K, 1.0 / K)
        self.excess = np.zeros(K)
        self.updates = 0
        self._sum = np.zeros(K)

    @property
    def average(self) -> Mixture:
        """(K,) mean of the weights over all updates."""
        return self._sum / self.updates if self.updates else self.weights.copy()

    def update(self, excess: NDArray[np.floating], domains: NDArray[np.int64]) -> Mixture:
        """Return the new weights.

        Args:
            excess: (B, T) l - l_ref of every token, nats per token.
            domains: (B,) domain of each sequence.
        """
        clipped = np.maximum(np.asarray(excess, dtype=np.float64), 0.0).mean(axis=1)
        number = np.bincount(domains, minlength=self.K)
        seen = number > 0
        self.excess[seen] = np.bincount(domains, clipped, self.K)[seen] / number[seen]
        logits = np.log(self.weights) + self.eta * self.excess
        powers = np.exp(logits - logits.max())
        self.weights = (1 - self.smoothing) * powers / powers.sum() + self.smoothing / self.K
        self._sum += self.weights
        self.updates += 1
        return self.weights.copy()


class ExcessWeights:
    """The weights c_i = w_i / sampling_i of a step of the proxy, which `dro` updates on its losses.

    Args:
        dro: holds and moves w.
        reference: the trained reference model's run; it pays for its losses.
        sampling: (K,) mixture the proxy's sequences are drawn by.
    """

    def __init__(self, dro: GroupDro, reference: TrainingRun, sampling: Mixture) -> None:
        self.dro, self.reference, self.sampling = dro, reference, sampling

    def prepare(self, batch: Batch) -> None:
        """Measure the reference model; within the proxy's step, whose seconds include it."""
        from mixgym.lm.evaluation import token_losses

        run = self.reference
        self._expected = token_losses(run.model, batch.tokens, run.autocast())
        tokens = self._expected.numel()
        run.ledger.charge("evaluation", tokens=tokens, flops=2.0 * run.n_parameters * tokens)

    def __call__(self, batch: Batch, losses: torch.Tensor) -> NDArray[np.float64]:
        excess = (losses - self._expected).double().cpu().numpy()
        return self.dro.update(excess, batch.domains) / self.sampling


@dataclass(kw_only=True)
class DoReMi(ProxySearch):
    """The average of Group DRO weights over a proxy's training, played as a fixed mixture.

    1. A reference model is trained on the `reference` mixture.
    2. A proxy of the same size is trained on sequences drawn by `sampling`, its loss reweighted at
       every step: sum_b c_b l_b / sum_b c_b with c_b = w_d(b) / sampling_d(b), and w raised where
       the proxy's loss exceeds the reference model's on the very same tokens (`GroupDro`).
    3. The mean of w over the proxy's steps is the mixture of the run.

    Source: Xie et al. 2023, DoReMi (arXiv 2305.10429), and its released trainer, whose eta = 1,
    smoothing 1e-3, per-token clipping, last known excess of unsampled domains and normaliser
    sum_b c_b are kept. Both proxies are on the ledger (`proxy`).

    Deviations: sequences are drawn in exact shares of the uniform mixture, not at random; the
    default proxy is the run's own model and budget (theirs: a smaller model, 200k steps), seeded
    apart from the run; excess losses are nats a token of the corpus's tokenizer, bytes by default,
    hence smaller than theirs for the same `eta`.

    Args:
        reference: mixture the reference model is trained on, as the `static` agent takes it.
        model: of both proxies; the environment's own by default.
        steps: of each proxy; the environment's budget by default.
        eta: step size of the weights.
        smoothing: share of the uniform mixture in them.
        sampling: mixture the proxy's sequences are drawn by; positive everywhere.
    """

    name = "doremi"

    reference: Spec = "natural"
    model: Model = None
    steps: Number | None = None
    eta: Positive = 1.0
    smoothing: Annotated[float, Range(0, 1, "()")] = 1e-3
    sampling: Spec = "uniform"

    def check(self, task: MixingTask) -> None:
        task.mixture(self.reference)
        if not (task.mixture(self.sampling) > 0).all():
            raise ValueError(
                f"sampling={self.sampling!r} gives a domain no sequences: every domain needs some"
            )

    def search(self, inner: Any, seed: int) -> Mixture:
        reference, proxy = self.proxy(inner, seed), self.proxy(inner, seed)
        with charged(inner, reference, proxy):
            train(reference, inner.task.mixture(self.reference))
            return self.dro_run(proxy, reference, inner.task.mixture(self.sampling)).average

    def dro_run(self, proxy: TrainingRun, reference: TrainingRun, sampling: Mixture) -> GroupDro:
        """Train `proxy` to its end against the trained `reference` and return the weights."""
        dro = GroupDro(proxy.corpus.K, self.eta, self.smoothing)
        reference.model.eval()
        train(proxy, sampling, loss_weights=ExcessWeights(dro, reference, sampling))
        return dro


agent = DoReMi

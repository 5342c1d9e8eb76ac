"""Each domain's gradient of chosen weight matrices, from the ordinary backward pass.

For a linear layer y = x W^T, the gradient of a batch's loss sum_b c_b l_b (l_b: mean loss of
sequence b) is sum_b delta_b^T x_b, with x_b the layer's input (tokens x in) and delta_b the loss's
gradient in its output (tokens x out). A sequence's term depends on that sequence alone, and the
backward pass computes delta_b anyway: hooks take both, and

    g_d = 1/n_d sum_{b in d} delta_b^T x_b / c_b

is the gradient of domain d's own mean loss, whatever the mixture or the weights c_b, untouched by
clipping (which comes later) and by the optimiser. It costs one more product a sequence and layer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from mixgym.errors import MixgymError
from mixgym.ledger import Ledger
from mixgym.lm.evaluation import EvaluationWindows, evaluating
from mixgym.lm.models import signal_layers
from mixgym.lm.settings import LAST_SHARE, GradientSettings

_BATCH = 32
#: Entries that single sequences' gradients may have at a time, 16 MiB.
_CHUNK = 2**22


def gradient_modules(
    model: torch.nn.Module, settings: GradientSettings
) -> list[tuple[str, torch.nn.Module]]:
    """Return the linear modules whose weights' gradients are measured, by parameter name.

    Raises:
        MixgymError: nothing matches, or a matrix that is not the weight of one linear layer.
    """
    from transformers.pytorch_utils import Conv1D

    owners: dict[int, list[torch.nn.Module]] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(module)
    found, chosen = signal_layers(model, settings.layers), []
    last = settings.last_n
    if last is None:
        last = max(1, round(len(found) * LAST_SHARE))
    for name, parameter in found[-last:]:
        holders = owners[id(parameter)]
        if len(holders) > 1 or not isinstance(holders[0], (torch.nn.Linear, Conv1D)):
            raise MixgymError(
                f"gradients of {name} cannot be measured: it is not the weight of exactly one "
                "linear layer; choose others with gradients={'layers': 'REGEX'}"
            )
        chosen.append((name, holders[0]))
    return chosen


@dataclass
class Capture:
    """One batch's backward pass.

    Attributes:
        domains: (B,) domain of each sequence.
        shares: (B,) weight c_b of each sequence's mean loss in the loss that is differentiated;
            1/B unless set before the backward pass. Positive.
    """

    domains: NDArray[np.int64]
    shares: NDArray[np.float64]


class DomainGradients:
    """Accumulates the domains' gradients over any number of backward passes.

    Args:
        model: the model; it is hooked only inside `capture`.
        settings: what to measure.
        K: number of domains.

    Raises:
        ValueError: no objective where one is needed.
        MixgymError: as `gradient_modules`.
    """

    def __init__(self, model: torch.nn.Module, settings: GradientSettings, K: int) -> None:
        if "objective" in settings.kinds and len(settings.objective) != K:
            raise ValueError(
                f"gradients of kind 'objective' need the {K} domains' weights in the objective, "
                f"got {len(settings.objective)}: give objective=(...)"
            )
        self.settings = settings
        self.K = K
        self.modules = gradient_modules(model, settings)
        self.counts = np.zeros(K, dtype=np.int64)
        self._sums = [
            torch.zeros((K, *_weight(m).shape), dtype=torch.float32, device=_weight(m).device)
            for _, m in self.modules
        ]
        self._square_sums = torch.zeros(K, dtype=torch.float64)
        self._memory: dict[tuple[Any, ...], torch.Tensor] = {}

    @property
    def weights(self) -> list[torch.nn.Parameter]:
        """The measured weight matrices."""
        return [_weight(module) for _, module in self.modules]

    @property
    def size(self) -> int:
        """Entries in a domain's gradient."""
        return sum(weight.numel() for weight in self.weights)

    def due(self, step: int) -> bool:
        """Whether the 0-based optimiser `step` is measured."""
        return step % self.settings.every == 0

    def reset(self) -> None:
        """Forget everything accumulated."""
        self.counts[:] = 0
        self._square_sums.zero_()
        for total in self._sums:
            total.zero_()

    @contextmanager
    def capture(self, domains: NDArray[np.int64]) -> Iterator[Capture]:
        """Add the batch whose forward and backward pass are made inside the block.

        Args:
            domains: (B,) domain of each of the batch's sequences, in its order.
        """
        batch = Capture(domains, np.full(len(domains), 1.0 / len(domains)))
        handles = [
            module.register_forward_hook(partial(self._watch, index, batch))
            for index, (_, module) in enumerate(self.modules)
        ]
        try:
            yield batch
        finally:
            for handle in handles:
                handle.remove()
        self.counts += np.bincount(domains, minlength=self.K)

    def _watch(
        self, index: int, batch: Capture, module: torch.nn.Module, args: Any, output: torch.Tensor
    ) -> None:
        if output.requires_grad:
            output.register_hook(partial(self._add, index, batch, [args[0].detach()]))

    @torch.no_grad()
    def _add(
        self, index: int, batch: Capture, held: list[torch.Tensor], outputs: torch.Tensor
    ) -> None:
        # Let go of here: the rest of the backward pass reuses the inputs' memory.
        inputs = held.pop()
        number = len(batch.domains)
        delta = outputs.reshape(number, -1, outputs.shape[-1])
        # The layer itself computed with inputs of this type; products are summed in float32.
        x = inputs.reshape(number, -1, inputs.shape[-1]).to(delta.dtype)
        single = "variance" in self.settings.kinds
        scale = None if single else _exact_inverse(batch.shares)
        if scale is None:
            scale, scratch = 1.0, self._scratch("delta", delta.shape, delta)
            delta = torch.mul(delta, _inverse(batch.shares, delta), out=scratch)
        transposed = not isinstance(self.modules[index][1], torch.nn.Linear)
        left, right = (x, delta) if transposed else (delta, x)
        if single or number * self._sums[index][0].numel() <= _CHUNK:
            self._add_sequences(index, batch.domains, left, right, single, scale)
        else:
            self._add_domains(index, batch.domains, left, right, scale)

    def _add_sequences(
        self,
        index: int,
        domains: NDArray[np.int64],
        left: torch.Tensor,
        right: torch.Tensor,
        single: bool,
        scale: float,
    ) -> None:
        """Batched products, one a sequence: fastest for small matrices, and gives variances."""
        total = self._sums[index].flatten(1)
        # (K, B), not zero where a sequence belongs to a domain; unlike an indexed addition, a
        # product sums in one order on every device.
        members = np.equal(np.arange(self.K)[:, None], domains) * np.float32(scale)
        members = torch.from_numpy(members).to(total)
        number = max(1, _CHUNK // total.shape[1])
        for first in range(0, len(domains), number):
            rows = slice(first, first + number)
            a, b = left[rows].transpose(1, 2), right[rows]
            own = self._scratch("own", (len(a), a.shape[1], b.shape[2]), a)
            own = torch.bmm(a, b, out=own).flatten(1).float()
            total.addmm_(members[:, rows], own)
            if single:
                squares = torch.linalg.vector_norm(own, dim=1).square()
                self._square_sums += (members[:, rows] @ squares).double().cpu()

    def _add_domains(
        self,
        index: int,
        domains: NDArray[np.int64],
        left: torch.Tensor,
        right: torch.Tensor,
        scale: float,
    ) -> None:
        """One product a domain, straight into its sum: for matrices too large to hold B times."""
        order = torch.from_numpy(np.argsort(domains, kind="stable")).to(left.device)
        counts = np.bincount(domains, minlength=self.K).tolist()
        lefts, rights = left[order].split(counts), right[order].split(counts)
        for total, a, b in zip(self._sums[index], lefts, rights, strict=True):
            if len(a):
                a, b = a.flatten(0, 1).T, b.flatten(0, 1)
                if a.dtype == total.dtype:
                    total.addmm_(a, b, alpha=scale)
                else:
                    total.add_(a @ b, alpha=scale)

    def _scratch(self, use: str, shape: Sequence[int], like: torch.Tensor) -> torch.Tensor:
        """Return memory that is the same at every step: fresh pages cost more than the products."""
        key = (use, *shape, like.dtype)
        if key not in self._memory:
            self._memory[key] = like.new_empty(tuple(shape))
        return self._memory[key]

    @property
    def sums(self) -> list[torch.Tensor]:
        """What is summed over sequences, beside `counts`: to be saved, or added to in place."""
        return [*self._sums, self._square_sums]

    def means(self) -> list[torch.Tensor]:
        """Each matrix's (K, rows, columns) gradients g_d, float32; NaN for a domain without any."""
        counts = torch.from_numpy(np.where(self.counts > 0, self.counts, np.nan))
        return [
            total / counts.to(total.device, torch.float32).view(-1, 1, 1) for total in self._sums
        ]

    def signals(self, objective: Sequence[torch.Tensor] | None = None) -> dict[str, Any]:
        """Return the gradient fields of `Signals` that were asked for, in float64.

        Args:
            objective: the objective's gradient of each matrix, if that kind was asked for and
                anything was measured.
        """
        K, kinds = self.K, self.settings.kinds
        gradients = [mean.flatten(1) for mean in self.means()]
        gram = np.zeros((K, K))
        for gradient in gradients:
            gram += (gradient @ gradient.T).double().cpu().numpy()
        squared = np.diagonal(gram)
        result: dict[str, Any] = {"gradient_norms": np.sqrt(squared)}
        if "gram" in kinds:
            result |= {"gram": gram, "alignment": alignment(gram)}
        if "objective" in kinds:
            aligned, norm = np.full(K, np.nan), float("nan")
            if objective is not None:
                aligned, square = np.zeros(K), 0.0
                for gradient, target in zip(gradients, objective, strict=True):
                    aligned += (gradient @ target.flatten()).double().cpu().numpy()
                    square += float(target.square().sum())
                norm = square**0.5
            result |= {"objective_alignment": aligned, "objective_gradient_norm": norm}
        if "variance" in kinds:
            n = np.where(self.counts > 1, self.counts, np.nan)
            spread = (self._square_sums.numpy() - n * squared) / (n - 1)
            result["gradient_variance"] = np.maximum(spread, 0.0)
        return result


def alignment(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return W_i = sum_{j != i} <g_i, g_j> from the (K, K) `gram`; NaN where g_i is missing."""
    others = gram.copy()
    np.fill_diagonal(others, 0.0)
    return np.where(np.isnan(np.diagonal(gram)), np.nan, np.nansum(others, axis=1))


def objective_gradient(
    model: torch.nn.Module,
    gradients: DomainGradients,
    held_out: EvaluationWindows,
    autocast: torch.autocast,
) -> tuple[list[torch.Tensor], int]:
    """Return the gradient of the objective's validation loss (nats per byte), and its tokens.

    It is taken in the weight matrices of `gradients`, on the first `settings.windows` fixed
    validation windows of each domain with a weight in `settings.objective`. No parameter's `.grad`
    is touched.
    """
    settings = gradients.settings
    total = [torch.zeros_like(weight, dtype=torch.float32) for weight in gradients.weights]
    count = 0
    for k in np.flatnonzero(settings.objective):
        tokens = held_out.tokens("validation", int(k), settings.windows)
        count += len(tokens) * held_out.context
        bytes_per_token = held_out.corpus.domains[k].bytes_per_token("validation")
        share = settings.objective[k] / bytes_per_token / len(tokens)
        for first in range(0, len(tokens), _BATCH):
            windows = torch.from_numpy(tokens[first : first + _BATCH]).to(total[0].device)
            with autocast:
                logits = model(input_ids=windows[:, :-1], use_cache=False).logits
            loss = functional.cross_entropy(
                logits.float().flatten(0, 1), windows[:, 1:].flatten(), reduction="none"
            ).view(len(windows), -1)
            # Only as far back as the chosen matrices.
            parts = torch.autograd.grad(loss.mean(dim=1).sum() * share, gradients.weights)
            for whole, part in zip(total, parts, strict=True):
                whole += part
    return total, count


def gradient_signals(
    gradients: DomainGradients,
    model: torch.nn.Module,
    held_out: EvaluationWindows,
    autocast: torch.autocast,
    ledger: Ledger,
) -> dict[str, Any]:
    """Return the gradient fields of a decision's `Signals`, and charge what they cost.

    The objective's gradient and the products are on the ledger's `reward` account; the products'
    seconds are part of the training steps they slow down.

    Args:
        gradients: what the decision accumulated.
        model: in training mode, on the device of `gradients`.
        held_out: the windows of the objective's gradient, as long as those trained on.
        autocast: the run's precision.
        ledger: that pays.
    """
    objective, start = None, time.perf_counter()
    if "objective" in gradients.settings.kinds and gradients.counts.any():
        with evaluating(model):
            objective, tokens = objective_gradient(model, gradients, held_out, autocast)
        size = sum(parameter.numel() for parameter in model.parameters())
        flops, seconds = 6.0 * size * tokens, time.perf_counter() - start
        ledger.charge("reward", tokens=tokens, flops=flops, seconds=seconds)
    products = float(gradients.counts.sum()) * held_out.context * gradients.size
    ledger.charge("reward", flops=2.0 * products)
    values = gradients.signals(objective)
    with np.errstate(over="ignore", invalid="ignore"):
        return {
            name: value if isinstance(value, float) else value.astype(np.float32)
            for name, value in values.items()
        }


def _exact_inverse(shares: NDArray[np.float64]) -> float | None:
    """Return 1 / shares if it is one power of two, which may be multiplied by at any point.

    It commutes with rounding, so that a pass over the layer's outputs is saved, bit for bit.
    """
    inverse = float(1.0 / shares[0])
    if math.frexp(inverse)[0] != 0.5 or (shares != shares[0]).any():
        return None
    return inverse


def _inverse(shares: NDArray[np.float64], like: torch.Tensor) -> torch.Tensor | float:
    """Return 1 / shares, to multiply (B, ...) tensors by."""
    if (shares == shares[0]).all():
        return float(1.0 / shares[0])
    return torch.from_numpy(1.0 / shares).to(like)[:, None, None]


def _weight(module: torch.nn.Module) -> torch.nn.Parameter:
    weight = module.weight
    assert isinstance(weight, torch.nn.Parameter)
    return weight

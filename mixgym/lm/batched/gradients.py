"""Each domain's gradient of chosen weight matrices, for N runs at once (see `lm.gradients`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mixgym.lm.batched.losses import BatchedModel
from mixgym.lm.evaluation import EvaluationWindows
from mixgym.lm.gradients import gradient_modules
from mixgym.lm.settings import GradientSettings

_BATCH = 32


class BatchedGradients:
    """Accumulates the domains' gradients of C runs over the steps of a decision.

    Memory: B gradients of a matrix for each of the C runs while a step is measured, and K sums.

    Args:
        base: a model of the architecture.
        settings: what to measure.
        K: number of domains.
    """

    def __init__(self, base: torch.nn.Module, settings: GradientSettings, K: int) -> None:
        if "objective" in settings.kinds and len(settings.objective) != K:
            raise ValueError(
                f"gradients of kind 'objective' need the {K} domains' weights in the objective, "
                f"got {len(settings.objective)}: give objective=(...)"
            )
        self.settings, self.K = settings, K
        found = gradient_modules(base, settings)
        self.names = tuple(name for name, _ in found)
        self.modules = tuple(module for _, module in found)
        weights = [dict(base.named_parameters())[name] for name in self.names]
        self.shapes = [tuple(weight.shape) for weight in weights]
        #: entries in a domain's gradient.
        self.size = sum(weight.numel() for weight in weights)
        self._linear = [isinstance(module, torch.nn.Linear) for module in self.modules]
        #: width of each module's output.
        self.widths = [
            shape[0] if linear else shape[1]
            for shape, linear in zip(self.shapes, self._linear, strict=True)
        ]
        self.reset(0, "cpu")

    def due(self, steps: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of the 0-based optimiser `steps` is measured."""
        return steps % self.settings.every == 0

    def reset(self, C: int, device: str | torch.device) -> None:
        """Forget everything and begin with C runs."""
        self.counts = np.zeros((C, self.K), dtype=np.int64)
        self._sums = [
            torch.zeros(C, self.K, shape[0] * shape[1], device=device) for shape in self.shapes
        ]
        self._squares = torch.zeros(C, self.K, dtype=torch.float64, device=device)

    def add(
        self,
        inputs: Sequence[torch.Tensor],
        deltas: Sequence[torch.Tensor],
        domains: NDArray[np.int64],
        shares: torch.Tensor,
        due: NDArray[np.bool_],
    ) -> None:
        """Add a step.

        Args:
            inputs: each module's (C, B, context, in).
            deltas: each module's (C, B, context, out) gradients of the loss in its output.
            domains: (C, B).
            shares: (C, B) weight of each sequence's loss.
            due: (C,) runs that are measured at this step.
        """
        member = np.equal(np.arange(self.K)[None, :, None], domains[:, None, :])
        member &= due[:, None, None]
        self.counts += member.sum(axis=2)
        members = torch.from_numpy(member.astype(np.float32)).to(shares.device)
        for index, (x, delta) in enumerate(zip(inputs, deltas, strict=True)):
            delta = delta / shares[:, :, None, None]
            left, right = (delta, x) if self._linear[index] else (x, delta)
            right = right.to(left.dtype)
            own = (left.transpose(2, 3) @ right).float().flatten(2)
            self._sums[index].baddbmm_(members, own)
            if "variance" in self.settings.kinds:
                square = torch.linalg.vector_norm(own, dim=2).square()
                self._squares += (members @ square.unsqueeze(2)).squeeze(2).double()

    def objective(
        self,
        model: BatchedModel,
        parameters: Mapping[str, torch.Tensor],
        held_out: EvaluationWindows,
    ) -> tuple[list[torch.Tensor], int]:
        """Return the objective's (C, rows * columns) gradients, and the tokens of one run.

        It is the gradient of the objective's validation loss, nats per byte, on the same windows
        for all runs.
        """
        settings = self.settings
        total = [torch.zeros_like(sums[:, 0]) for sums in self._sums]
        count = 0
        for k in np.flatnonzero(settings.objective).tolist():
            tokens = held_out.tokens("validation", k, settings.windows)
            count += len(tokens) * held_out.context
            bytes_per_token = held_out.corpus.domains[k].bytes_per_token("validation")
            share = settings.objective[k] / bytes_per_token / len(tokens)
            for first in range(0, len(tokens), _BATCH):
                windows = torch.from_numpy(tokens[first : first + _BATCH]).to(total[0].device)
                parts = model.mean_gradients(parameters, self.names, windows)
                for whole, part in zip(total, parts, strict=True):
                    whole.add_(part.flatten(1), alpha=share * len(windows))
        return total, count

    def signals(self, objective: Sequence[torch.Tensor] | None) -> dict[str, torch.Tensor]:
        """Return what the kinds asked for are made of, in float64 on the device.

        Returns:
            `gram` (C, K, K); where asked for `objective_alignment` (C, K),
            `objective_gradient_norm` (C,) and `gradient_variance` (C, K).
        """
        counts = torch.from_numpy(np.where(self.counts > 0, self.counts, np.nan))
        counts = counts.to(self._squares.device)
        means = [sums / counts.float().unsqueeze(2) for sums in self._sums]
        gram = torch.stack([(mean @ mean.transpose(1, 2)).double() for mean in means]).sum(dim=0)
        result = {"gram": gram}
        if "objective" in self.settings.kinds:
            aligned = torch.full_like(self._squares, torch.nan)
            norm = torch.full_like(aligned[:, 0], torch.nan)
            if objective is not None:
                measured = torch.from_numpy(self.counts.any(axis=1)).to(norm.device)
                aligned.zero_()
                square = torch.zeros_like(norm)
                for mean, target in zip(means, objective, strict=True):
                    aligned += (mean @ target.unsqueeze(2)).squeeze(2)
                    square += target.square().sum(dim=1)
                norm = torch.where(measured, square.sqrt(), torch.nan)
            result |= {"objective_alignment": aligned, "objective_gradient_norm": norm}
        if "variance" in self.settings.kinds:
            n = torch.where(counts > 1, counts, torch.nan)
            squared = gram.diagonal(dim1=1, dim2=2)
            spread = (self._squares - n * squared) / (n - 1)
            result["gradient_variance"] = spread.clamp(min=0.0)
        return result


def gradient_fields(
    found: Mapping[str, NDArray[np.float64]] | None,
    kinds: Sequence[str],
    runs: NDArray[np.int64],
    N: int,
    K: int,
) -> dict[str, NDArray[Any]]:
    """Return the gradient fields of `BatchedSignals`.

    Args:
        found: (R, ...) `BatchedGradients.signals` of R runs; None where nothing was measured.
        kinds: of `GradientSettings`.
        runs: (R,) which runs; the others' values are NaN.
        N: number of all runs.
        K: number of domains.
    """
    names = ["gradient_norms"]
    names += ["gram", "alignment"] * ("gram" in kinds)
    names += ["objective_alignment", "objective_gradient_norm"] * ("objective" in kinds)
    names += ["gradient_variance"] * ("variance" in kinds)
    shapes = {"gram": (N, K, K), "objective_gradient_norm": (N,)}
    result = {name: np.full(shapes.get(name, (N, K)), np.nan) for name in names}
    if found is not None:
        gram = found["gram"]
        squared = np.diagonal(gram, axis1=1, axis2=2)
        aligned = np.nansum(gram * (1.0 - np.eye(K)), axis=2)
        own = {
            **found,
            "gradient_norms": np.sqrt(squared),
            "alignment": np.where(np.isnan(squared), np.nan, aligned),
        }
        for name, values in result.items():
            values[runs] = own[name]
    with np.errstate(over="ignore", invalid="ignore"):
        return {
            name: values if values.ndim == 1 else values.astype(np.float32)
            for name, values in result.items()
        }

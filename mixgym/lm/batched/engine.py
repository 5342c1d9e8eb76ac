"""The stacked models of N runs on their device, and what is computed with them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from mixgym.lm.batched.adamw import Rows
from mixgym.lm.batched.chunks import resolve_chunk
from mixgym.lm.batched.context import model_autocast
from mixgym.lm.batched.evaluation import HeldOut
from mixgym.lm.batched.gradients import BatchedGradients
from mixgym.lm.batched.layout import ParameterLayout
from mixgym.lm.batched.losses import BatchedModel
from mixgym.lm.batched.stepping import CompiledStepper, GraphedStepper, Stepper, Work
from mixgym.lm.batched.stream import Draws
from mixgym.lm.evaluation import EvaluationWindows
from mixgym.lm.models import signal_layers
from mixgym.lm.settings import GradientSettings, Settings

#: Runs whose norms are measured at a time before the chunk's size is known.
_FIRST_CHUNK = 64


class Engine:
    """Rows of parameters and moments, trained and evaluated chunk by chunk.

    Its methods are called inside `context.batched_torch_state`.

    Args:
        base: a model of the architecture, on the device.
        N: number of runs.
        settings: of the runs.
        precision: one of `context.PRECISIONS`.
        compiled: `"none"`, `"graphs"` or `"compile"`.
        chunk: runs at a time; None for as many as fit.
        tokens: from (C, B) starts to (C, B, context + 1) tokens on the device.
        held_out: windows for the objective's gradient.
        gradients: gradient signals to measure.

    Raises:
        ValueError: a chunk below 1.
    """

    def __init__(
        self,
        base: torch.nn.Module,
        N: int,
        settings: Settings,
        *,
        precision: str,
        compiled: str,
        chunk: int | None,
        tokens: Callable[[torch.Tensor], torch.Tensor],
        held_out: EvaluationWindows,
        gradients: GradientSettings | None,
    ) -> None:
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk must be at least 1, got {chunk}")
        self.N, self.settings, self.compiled = N, settings, compiled
        self.layout = ParameterLayout(base)
        self.layers = tuple(name for name, _ in signal_layers(base, settings.layers))
        self.held_out = held_out
        self.measured: BatchedGradients | None = None
        if gradients is not None:
            self.measured = BatchedGradients(base, gradients, held_out.corpus.K)
        tapped = self.measured.modules if self.measured else ()
        self.model = BatchedModel(base, lambda: model_autocast(settings, precision), tapped)
        self.rows = Rows.empty(N, self.layout.size, settings.device)
        self._tokens = tokens
        self._stepper = Stepper(self.model, self.layout, tokens, settings)
        self._asked, self.chunk = chunk, None

    def norms(self, runs: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the (R, L) norms of the signal layers' weights."""
        with torch.no_grad():
            parts = [self._norms(self._layer_views(self.take(p))) for p in self._chunks(runs)]
            return torch.cat(parts).double().cpu().numpy()

    def _layer_views(self, rows: Rows) -> list[torch.Tensor]:
        views = self.layout.views(rows.parameters)
        return [views[name].flatten(1) for name in self.layers]

    def _norms(self, layers: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack([torch.linalg.vector_norm(view, dim=1) for view in layers], dim=1)

    def take(self, runs: NDArray[np.int64]) -> Rows:
        """Return the rows of `runs`: views where they lie together, else copies."""
        first, last = int(runs[0]), int(runs[-1])
        if last - first + 1 == len(runs) and (np.diff(runs) == 1).all():
            return Rows(*(tensor[first : last + 1] for tensor in self.rows.tensors()))
        index = torch.from_numpy(runs).to(self.settings.device)
        return Rows(*(tensor.index_select(0, index) for tensor in self.rows.tensors()))

    def put(self, runs: NDArray[np.int64], rows: Rows) -> None:
        """Write back what `take` returned, where that was a copy."""
        index = torch.from_numpy(runs).to(self.settings.device)
        for whole, part in zip(self.rows.tensors(), rows.tensors(), strict=True):
            if part.untyped_storage().data_ptr() != whole.untyped_storage().data_ptr():
                whole.index_copy_(0, index, part)

    def clear(self, runs: NDArray[np.int64]) -> None:
        """Forget the parameters and moments of `runs`."""
        for tensor in self.rows.tensors():
            tensor[torch.from_numpy(runs).to(tensor.device)] = 0.0

    def _chunks(self, runs: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        chunk = self.chunk or self._asked or _FIRST_CHUNK
        return [runs[first : first + chunk] for first in range(0, len(runs), chunk)]

    def _choose_chunk(self) -> None:
        """Fix the chunk's size, and the way of stepping that depends on it."""
        if self.chunk is not None:
            return
        s = self.settings

        def scratch(number: int) -> None:
            shape = (number, s.batch_size)
            self._stepper.step(
                Rows.empty(number, self.layout.size, s.device),
                torch.zeros(shape, dtype=torch.int64, device=s.device),
                torch.full(shape, 1.0 / s.batch_size, device=s.device),
                torch.ones(3, number, device=s.device),
            )

        self.chunk = resolve_chunk(self._asked, self.N, s.device, scratch)
        if self.compiled != "none":
            kind = GraphedStepper if self.compiled == "graphs" else CompiledStepper
            self._stepper = kind(self.model, self.layout, self._tokens, s, self.chunk)

    def train(
        self,
        runs: NDArray[np.int64],
        first: NDArray[np.int64],
        draws: Draws,
        shares: NDArray[np.float32],
        factors: NDArray[np.float32],
    ) -> dict[str, NDArray[np.float64]]:
        """Train R runs on what was drawn; what was found comes to the host once, at the end.

        Args:
            runs: (R,) which, in ascending order.
            first: (R,) steps that each has taken.
            draws: of the coming n steps.
            shares: (R, n, B) weight of each sequence's loss.
            factors: (n, 3, R) of AdamW.

        Returns:
            `losses` (R, n, B) nats a token, `norms` and `updates` (R, L), and where gradients are
            measured `BatchedGradients.signals`, the number of measured sequences `counted` (R,)
            and the objective's `tokens` (R,).
        """
        self._choose_chunk()
        device = self.settings.device
        parts: list[dict[str, torch.Tensor]] = []
        for place in self._chunks(np.arange(len(runs))):
            rows = self.take(runs[place])
            before = [view.clone() for view in self._layer_views(rows)]
            work = Work(
                torch.from_numpy(draws.starts[place]).to(device).transpose(0, 1).contiguous(),
                torch.from_numpy(shares[place]).to(device).transpose(0, 1).contiguous(),
                torch.from_numpy(np.ascontiguousarray(factors[:, :, place])).to(device),
            )
            found: dict[str, torch.Tensor] = {}
            if self.measured is None:
                losses = self._stepper.train(rows, work)
            else:
                domains = draws.domains[place]
                losses = self._train_measured(self.measured, rows, work, domains, first[place])
                found = self._measure(self.measured, rows)
            with torch.no_grad():
                after = self._layer_views(rows)
                found["updates"] = self._norms(
                    [new - old for new, old in zip(after, before, strict=True)]
                )
                found |= {"losses": losses.transpose(0, 1), "norms": self._norms(after)}
                self.put(runs[place], rows)
            parts.append(found)
        whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return {name: value.double().cpu().numpy() for name, value in whole.items()}

    def _train_measured(
        self,
        measured: BatchedGradients,
        rows: Rows,
        work: Work,
        domains: NDArray[np.int64],
        first: NDArray[np.int64],
    ) -> torch.Tensor:
        measured.reset(len(domains), rows.parameters.device)
        losses = []
        each = zip(work.starts, work.shares, work.factors, strict=True)
        for step, arguments in enumerate(each):
            due = measured.due(first + step)
            if due.any():
                own = self._stepper.measured_step(rows, *arguments, measured, domains[:, step], due)
            else:
                own = self._stepper.step(rows, *arguments)
            losses.append(own)
        return torch.stack(losses)

    def _measure(self, measured: BatchedGradients, rows: Rows) -> dict[str, torch.Tensor]:
        counted = torch.from_numpy(measured.counts.sum(axis=1)).to(rows.parameters.device)
        found, objective = {"counted": counted, "tokens": torch.zeros_like(counted)}, None
        if "objective" in measured.settings.kinds and measured.counts.any():
            views = self.layout.views(rows.parameters)
            objective, tokens = measured.objective(self.model, views, self.held_out)
            found["tokens"] = torch.where(counted > 0, tokens, 0)
        with torch.no_grad():
            return found | measured.signals(objective)

    def losses(self, runs: NDArray[np.int64], held: HeldOut) -> NDArray[np.float64]:
        """Return the (R, n) losses of R runs on n held-out windows, nats per token."""
        parts = []
        for part in self._chunks(runs):
            views = self.layout.views(self.take(part).parameters)
            parts.append(held.losses(self.model, views))
        return torch.cat(parts).double().cpu().numpy()

"""Optimiser steps of a chunk of runs: eagerly, as a CUDA graph, or compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mixgym.errors import MixgymError, unknown_name
from mixgym.lm.batched.adamw import Rows, adamw_
from mixgym.lm.batched.gradients import BatchedGradients
from mixgym.lm.batched.layout import ParameterLayout
from mixgym.lm.batched.losses import BatchedModel
from mixgym.lm.settings import Settings

COMPILED = ("auto", "none", "graphs", "compile")


@dataclass
class Work:
    """What the coming n steps of C runs need, on the device.

    Attributes:
        starts: (n, C, B) int64 where the sequences begin in the stream's text.
        shares: (n, C, B) weight of each sequence's mean loss.
        factors: (n, 3, C) of AdamW (`adamw.step_factors`).
    """

    starts: torch.Tensor
    shares: torch.Tensor
    factors: torch.Tensor


class Stepper:
    """Takes steps of C runs, whatever C.

    Args:
        model: the models' code.
        layout: of their parameters.
        tokens: from (C, B) starts to (C, B, context + 1) tokens.
        settings: of the runs.
    """

    def __init__(
        self,
        model: BatchedModel,
        layout: ParameterLayout,
        tokens: Callable[[torch.Tensor], torch.Tensor],
        settings: Settings,
    ) -> None:
        self.model, self.layout, self.settings = model, layout, settings
        self._tokens = tokens

    def gradients(
        self, parameters: torch.Tensor, starts: torch.Tensor, shares: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (C, P) gradients and (C, B) losses, nats per token."""
        windows = self._tokens(starts)
        views = self.layout.views(parameters)
        gradients, (_, losses) = self.model.gradients(views, windows, shares)
        return self.layout.rows(gradients), losses

    def step(
        self, rows: Rows, starts: torch.Tensor, shares: torch.Tensor, factors: torch.Tensor
    ) -> torch.Tensor:
        """Take one step in place and return its (C, B) losses."""
        gradients, losses = self.gradients(rows.parameters, starts, shares)
        with torch.no_grad():
            adamw_(rows, gradients, factors, self.settings, self.layout.decayed)
        return losses

    def measured_step(
        self,
        rows: Rows,
        starts: torch.Tensor,
        shares: torch.Tensor,
        factors: torch.Tensor,
        measured: BatchedGradients,
        domains: NDArray[np.int64],
        due: NDArray[np.bool_],
    ) -> torch.Tensor:
        """As `step`, and add the domains' gradients ((C, B) `domains`) of the runs that are due."""
        windows = self._tokens(starts)
        views = self.layout.views(rows.parameters)
        gradients, losses, inputs, deltas = self.model.tapped_gradients(
            views, windows, shares, measured.widths
        )
        with torch.no_grad():
            measured.add(inputs, deltas, domains, shares, due)
            flat = self.layout.rows(gradients)
            adamw_(rows, flat, factors, self.settings, self.layout.decayed)
        return losses

    def train(self, rows: Rows, work: Work) -> torch.Tensor:
        """Take all steps in place and return their (n, C, B) losses."""
        each = zip(work.starts, work.shares, work.factors, strict=True)
        return torch.stack([self.step(rows, *arguments) for arguments in each])


class GraphedStepper(Stepper):
    """Replays one CUDA graph of a step of exactly C runs; fewer are filled up with a copy."""

    def __init__(
        self,
        model: BatchedModel,
        layout: ParameterLayout,
        tokens: Callable[[torch.Tensor], torch.Tensor],
        settings: Settings,
        C: int,
    ) -> None:
        super().__init__(model, layout, tokens, settings)
        self.C = C
        self._graph: torch.cuda.CUDAGraph | None = None

    def _capture(self) -> None:
        device, shape = self.settings.device, (self.C, self.settings.batch_size)
        self._rows = Rows.empty(self.C, self.layout.size, device)
        self._starts = torch.zeros(shape, dtype=torch.int64, device=device)
        self._shares = torch.full(shape, 1.0 / shape[1], device=device)
        self._factors = torch.ones(3, self.C, device=device)
        arguments = (self._rows, self._starts, self._shares, self._factors)
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.step(*arguments)
        torch.cuda.current_stream(device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._losses = self.step(*arguments)
        self._graph = graph

    def train(self, rows: Rows, work: Work) -> torch.Tensor:
        if self._graph is None:
            self._capture()
        assert self._graph is not None
        fill = _filling(len(rows.parameters), self.C, rows.parameters.device)
        for own, given in zip(self._rows.tensors(), rows.tensors(), strict=True):
            torch.index_select(given, 0, fill, out=own)
        losses = []
        for step in range(len(work.starts)):
            torch.index_select(work.starts[step], 0, fill, out=self._starts)
            torch.index_select(work.shares[step], 0, fill, out=self._shares)
            torch.index_select(work.factors[step], 1, fill, out=self._factors)
            self._graph.replay()
            losses.append(self._losses[: len(rows.parameters)].clone())
        for own, given in zip(self._rows.tensors(), rows.tensors(), strict=True):
            given.copy_(own[: len(given)])
        return torch.stack(losses)


class CompiledStepper(Stepper):
    """A step under `torch.compile`, of exactly C runs; fewer are filled up with a copy."""

    def __init__(
        self,
        model: BatchedModel,
        layout: ParameterLayout,
        tokens: Callable[[torch.Tensor], torch.Tensor],
        settings: Settings,
        C: int,
    ) -> None:
        super().__init__(model, layout, tokens, settings)
        self.C = C
        self._compiled: Callable[..., torch.Tensor] = torch.compile(self._plain_step, dynamic=False)

    def _plain_step(
        self,
        parameters: torch.Tensor,
        exp_avg: torch.Tensor,
        exp_avg_sq: torch.Tensor,
        starts: torch.Tensor,
        shares: torch.Tensor,
        factors: torch.Tensor,
    ) -> torch.Tensor:
        return self.step(Rows(parameters, exp_avg, exp_avg_sq), starts, shares, factors)

    def train(self, rows: Rows, work: Work) -> torch.Tensor:
        number = len(rows.parameters)
        fill = _filling(number, self.C, rows.parameters.device)
        own = Rows(*(tensor.index_select(0, fill) for tensor in rows.tensors()))
        losses = []
        for starts, shares, factors in zip(work.starts, work.shares, work.factors, strict=True):
            part = self._compiled(
                own.parameters,
                own.exp_avg,
                own.exp_avg_sq,
                starts.index_select(0, fill),
                shares.index_select(0, fill),
                factors.index_select(1, fill),
            )
            losses.append(part[:number])
        for given, trained in zip(rows.tensors(), own.tensors(), strict=True):
            given.copy_(trained[:number])
        return torch.stack(losses)


def _filling(number: int, C: int, device: torch.device) -> torch.Tensor:
    """Return the (C,) indices 0, 1, ..., `number` - 1, 0, 0, ..."""
    places = torch.arange(C, device=device)
    return torch.where(places < number, places, 0)


def resolve_compiled(compiled: str, device: str) -> str:
    """Return one of `COMPILED` but `"auto"`.

    Raises:
        UnknownNameError: another name.
        MixgymError: CUDA graphs on another device.
    """
    if compiled not in COMPILED:
        raise unknown_name("way to compile", compiled, COMPILED)
    cuda = torch.device(device).type == "cuda"
    if compiled == "auto":
        return "graphs" if cuda else "none"
    if compiled == "graphs" and not cuda:
        raise MixgymError(
            f"compiled='graphs' needs a CUDA device, not {device!r}: use 'none' or 'compile'"
        )
    return compiled

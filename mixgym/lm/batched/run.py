"""N training runs of one architecture that train together."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from transformers import AutoConfig

from mixgym.errors import MixgymError
from mixgym.lm.batched import checkpoint, state
from mixgym.lm.batched.adamw import peak_rates, step_factors
from mixgym.lm.batched.context import batched_precision, batched_torch_state
from mixgym.lm.batched.engine import Engine
from mixgym.lm.batched.evaluation import HeldOut
from mixgym.lm.batched.gradients import gradient_fields
from mixgym.lm.batched.initialiser import Initialiser
from mixgym.lm.batched.ledger import BatchedLedger
from mixgym.lm.batched.losses import sequence_shares
from mixgym.lm.batched.recorder import BatchedRecorder
from mixgym.lm.batched.signals import BatchedSignals
from mixgym.lm.batched.stepping import resolve_compiled
from mixgym.lm.batched.stream import BatchedStream
from mixgym.lm.evaluation import EvaluationWindows
from mixgym.lm.models import ModelSpec, build_model, model_config
from mixgym.lm.seeds import run_seeds
from mixgym.lm.settings import PRESETS, GradientSettings, Settings, whole_number
from mixgym.lm.torchstate import check_device
from mixgym.lm.training import Snapshot, TrainingRun
from mixgym.simplex import validate_mixtures

if TYPE_CHECKING:
    from mixgym.corpus import Corpus


class BatchedRun:
    """Train N causal language models of one architecture on one corpus, a mixture each.

    Run i is what `TrainingRun(corpus, model, total_steps=..., seed=seeds[i])` is, with its own
    weights, mixture, data order, clipping norm, learning rate and divergence.

    **What is equal.** Initial weights, batches, counts and learning rates are the single run's
    exactly. A step's gradient is equal to 1e-6 of its norm in fp32: products are summed in another
    order. Rounding then grows as the runs train. Of three nano runs at their own settings, the
    largest difference of a domain's held-out loss from the single runs', in nats per byte, was
    2e-7 after 10 steps, 3e-5 after 100, 2e-4 after 200 and 8e-4 after 400 in fp32, and 1e-3 after
    10 and 8e-2 after 100 under bf16 autocast; the mean over domains differs by a tenth of that.

    On the CPU, run i's results do not depend on the other runs, on how many there are, where i
    stands among them, or on `chunk`, not in a bit (tested for widths that are multiples of 16). On
    an accelerator the products' kernels may depend on the number of models in a chunk.

    A run that has diverged, or whose budget is used up, is left out: nothing of it changes, and
    the others are packed together so that it costs nothing.

    Args:
        corpus: the text; training tokens are copied to the device.
        model: as for `TrainingRun`; without dropout.
        seeds: (N,) of the runs.
        total_steps: optimiser steps in each budget.
        settings: how to train; the preset's own where not given.
        learning_rates: (N,) peaks; the settings' for all where not given.
        evaluation_seed: selects the held-out windows, the same for all.
        gradients: gradient signals to measure. Steps that measure them run eagerly.
        precision: `"fp32"`, `"tf32"` (CUDA's matrix units) or `"bf16"` (autocast); by default
            what the settings say.
        chunk: runs trained at a time; by default what fits the accelerator's free memory, which
            is measured, or 8 on the CPU.
        compiled: `"none"` (eager, the reference), `"graphs"` (CUDA graphs), `"compile"`
            (`torch.compile`) or `"auto"`: graphs on CUDA, else none.
        snapshot: of runs of the same arguments, to go on from.

    Raises:
        MixgymError, ValueError: a model, setting or corpus that does not fit, by name.
    """

    def __init__(
        self,
        corpus: Corpus,
        model: ModelSpec = "nano",
        seeds: Sequence[int] = (0,),
        *,
        total_steps: int,
        settings: Settings | None = None,
        learning_rates: ArrayLike | None = None,
        evaluation_seed: int = 0,
        gradients: GradientSettings | None = None,
        precision: str | None = None,
        chunk: int | None = None,
        compiled: str = "auto",
        snapshot: Snapshot | None = None,
    ) -> None:
        self.total_steps = whole_number("total_steps", total_steps, least=1)
        self.evaluation_seed = whole_number("evaluation_seed", evaluation_seed)
        self.seeds = [whole_number("seed", seed, least=0) for seed in seeds]
        if not self.seeds:
            raise ValueError("a batch needs at least one run: give one seed each")
        if settings is None:
            preset = PRESETS.get(model) if isinstance(model, str) else None
            settings = preset.settings if preset else Settings()
        check_device(settings.device)
        self.corpus, self.model_spec = corpus, model
        self.settings, self.gradients = settings, gradients
        peaks = peak_rates(learning_rates, settings, self.N)
        if snapshot is None:
            config = model_config(model, corpus.tokenizer.vocab_size, settings.context)
        else:
            plain = dict(snapshot.model_config)
            config = AutoConfig.for_model(plain.pop("model_type"), **plain)
        self.config = config
        self.precision = batched_precision(precision, settings, config)
        self.how = {"precision": precision, "chunk": chunk, "compiled": compiled}
        self._initialiser: Initialiser | None = None
        self.held_out = EvaluationWindows(corpus, settings.context, evaluation_seed)
        orders, device = [run_seeds(seed).order for seed in self.seeds], settings.device
        with batched_torch_state(settings, self.precision):
            self.stream = BatchedStream(
                corpus, settings.batch_size, settings.context, orders, device
            )
            base = torch.nn.Module.to(build_model({}, copy.deepcopy(config), 0), device)
            self.engine = Engine(
                base,
                self.N,
                settings,
                precision=self.precision,
                compiled=resolve_compiled(compiled, device),
                chunk=chunk,
                tokens=self.stream.tokens,
                held_out=self.held_out,
                gradients=gradients,
            )
        self.recorder = BatchedRecorder(
            peaks,
            corpus.natural,
            np.array([d.bytes_per_token("train") for d in corpus.domains]),
            len(self.layer_names),
            config.vocab_size,
            settings,
            self.total_steps,
        )
        self.ledger = BatchedLedger(self.N)
        if snapshot is None:
            self._initialise(np.arange(self.N))
        else:
            self.load_state_dict(snapshot.state)

    @property
    def N(self) -> int:
        """Number of runs."""
        return len(self.seeds)

    @property
    def step(self) -> NDArray[np.int64]:
        """(N,) optimiser steps done."""
        return self.recorder.step

    @property
    def decision(self) -> NDArray[np.int64]:
        """(N,) decisions done."""
        return self.recorder.decision

    @property
    def diverged(self) -> NDArray[np.bool_]:
        """(N,) whether a training loss was beyond the limit of `has_diverged`, or not a number."""
        return self.recorder.diverged

    @property
    def learning_rates(self) -> NDArray[np.float64]:
        """(N,) peaks."""
        return self.recorder.learning_rates

    @property
    def n_parameters(self) -> int:
        """Parameters of one run's model."""
        return self.engine.layout.size

    @property
    def layer_names(self) -> tuple[str, ...]:
        """(L,) names of the weight matrices whose norms are signals."""
        return self.engine.layers

    @property
    def finished(self) -> NDArray[np.bool_]:
        """(N,) whether each budget is used up."""
        return self.step >= self.total_steps

    def _initialise(self, runs: NDArray[np.int64]) -> None:
        with batched_torch_state(self.settings, self.precision):
            if self._initialiser is None:
                self._initialiser = Initialiser(self._build, self.engine.layout)
            for i in runs.tolist():
                row = self._initialiser.row(run_seeds(self.seeds[i]).init)
                self.engine.rows.parameters[i].copy_(row)
        self.refresh_norms(runs)

    def _build(self, seed: int) -> torch.nn.Module:
        return build_model(self.model_spec, copy.deepcopy(self.config), seed)

    def restart(self, runs: ArrayLike, seeds: Sequence[int]) -> None:
        """Begin new runs of other seeds in the places of `runs` (indices)."""
        places = np.asarray(runs, dtype=np.int64)
        for place, seed in zip(places.tolist(), seeds, strict=True):
            self.seeds[place] = int(seed)
        self.stream.restart(places, [run_seeds(seed).order for seed in seeds])
        self.recorder.restart(places)
        self.ledger.clear(places)
        with batched_torch_state(self.settings, self.precision):
            self.engine.clear(places)
        self._initialise(places)

    def load_weights(
        self, weights: Mapping[str, torch.Tensor], runs: ArrayLike | None = None
    ) -> None:
        """Give runs one model's parameters (by name), and nothing else of it."""
        places = np.arange(self.N) if runs is None else np.asarray(runs, dtype=np.int64)
        row = torch.cat([weights[name].detach().flatten() for name in self.engine.layout.names])
        with batched_torch_state(self.settings, self.precision):
            rows = self.engine.rows.parameters
            rows[torch.from_numpy(places).to(rows.device)] = row.to(rows)
        self.refresh_norms(places)

    def refresh_norms(self, runs: NDArray[np.int64]) -> None:
        """Measure the weight norms of `runs` again, after weights were changed from outside."""
        with batched_torch_state(self.settings, self.precision):
            self.recorder.norms[runs] = self.engine.norms(runs)

    def advance(
        self,
        mixtures: ArrayLike,
        steps: int,
        *,
        runs: ArrayLike | None = None,
        loss_weights: ArrayLike | None = None,
    ) -> BatchedSignals:
        """Take `steps` optimiser steps of every run that can and return what changed.

        Args:
            mixtures: (N, K) weights, a mixture each; rows of runs that do not take part are not
                looked at.
            steps: at least 1, and within the budget of every run that takes part.
            runs: (N,) bool, which runs may take part; all by default. Diverged and finished ones
                never do.
            loss_weights: (N, K) positive weights of the domains' losses, as for
                `TrainingRun.advance`.

        Raises:
            ValueError: invalid mixtures, weights or steps.
            MixgymError: no run can take part.
        """
        start = time.perf_counter()
        chosen = ~self.diverged & ~self.finished
        if runs is not None:
            chosen &= np.asarray(runs, dtype=bool)
        rows = np.flatnonzero(chosen)
        if not len(rows):
            raise MixgymError(
                "no run can take part: all have diverged, used up their budget or were left out"
            )
        given = np.asarray(mixtures, dtype=np.float64)
        if given.shape != (self.N, self.corpus.K):
            raise ValueError(
                f"mixtures must have shape ({self.N}, {self.corpus.K}), got {given.shape}"
            )
        given = np.where(chosen[:, None], given, self.corpus.natural)
        weights = validate_mixtures(given, self.corpus.K, self.corpus.names)[rows]
        left = self.total_steps - int(self.step[rows].max())
        if steps < 1 or steps > left:
            raise ValueError(
                f"steps must lie in [1, {left}] (the least budget that is left of "
                f"{self.total_steps}), got {steps}"
            )
        loss_before, drawn_before = self.recorder.train_loss.copy(), self.stream.drawn
        with batched_torch_state(self.settings, self.precision):
            draws = self.stream.draw(weights, steps, rows)
            first, peaks = self.step[rows], self.learning_rates[rows]
            factors = step_factors(self.settings, peaks, first, steps, self.total_steps)
            shares = sequence_shares(draws.domains, loss_weights, rows, (self.N, self.corpus.K))
            found = self.engine.train(rows, first, draws, shares, factors)
        recorder = self.recorder
        last_loss, updates = np.full(loss_before.shape, np.nan), np.zeros_like(recorder.norms)
        last_loss[rows] = recorder.record(rows, draws.domains, found["losses"])
        recorder.mixture[rows] = weights
        recorder.norms[rows], updates[rows] = found["norms"], found["updates"]
        signals = recorder.signals(
            self.stream, drawn_before, loss_before, last_loss, updates, chosen
        )
        measured = self._gradient_fields(rows, found)
        tokens = steps * self.settings.batch_size * self.settings.context
        self.ledger.charge(
            "train",
            rows,
            tokens=tokens,
            flops=6.0 * self.n_parameters * tokens,
            seconds=time.perf_counter() - start,
        )
        return replace(signals, **measured)

    def _gradient_fields(
        self, rows: NDArray[np.int64], found: Mapping[str, NDArray[np.float64]] | None
    ) -> dict[str, Any]:
        """Return the gradient fields of the signals, and charge what they cost."""
        measured = self.engine.measured
        if measured is None:
            return {}
        if found is not None:
            tokens = found["tokens"]
            products = found["counted"] * self.settings.context * measured.size
            flops = 6.0 * self.n_parameters * tokens + 2.0 * products
            self.ledger.charge("reward", rows, tokens=tokens, flops=flops)
        return gradient_fields(found, measured.settings.kinds, rows, self.N, self.corpus.K)

    def has_diverged(self, loss: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(N,) whether any of (N, K) losses, nats per byte, is beyond the limit or not a number."""
        return self.recorder.has_diverged(loss)

    def signals(self) -> BatchedSignals:
        """Return the signals between decisions (before the first: nothing sampled)."""
        measured = self._gradient_fields(np.zeros(0, dtype=np.int64), None)
        return replace(self.recorder.idle_signals(self.stream), **measured)

    def evaluate(
        self,
        split: str = "validation",
        *,
        domains: ArrayLike | None = None,
        windows: int = 128,
        account: str = "evaluation",
        runs: ArrayLike | None = None,
    ) -> NDArray[np.float64]:
        """Measure the losses on fixed held-out windows without changing the runs.

        Args:
            split: `"validation"`, or `"test"` for reports only.
            domains: indices of the domains to measure; all by default.
            windows: windows a domain (fewer where the split holds fewer).
            account: ledger account that pays.
            runs: (N,) bool, which runs; all by default.

        Returns:
            (N, K) float64, nats per byte, NaN where not measured.
        """
        if split not in ("validation", "test"):
            raise ValueError(f"split must be 'validation' or 'test', got {split!r}")
        chosen = range(self.corpus.K) if domains is None else np.asarray(domains).tolist()
        rows = np.flatnonzero(np.ones(self.N, dtype=bool) if runs is None else np.asarray(runs))
        result = np.full((self.N, self.corpus.K), np.nan)
        start = time.perf_counter()
        held = HeldOut(self.held_out, split, chosen, windows)
        if not len(rows) or not held.count:
            return result
        with batched_torch_state(self.settings, self.precision):
            result[rows] = held.by_domain(self.engine.losses(rows, held))
        self.ledger.charge(
            account,
            rows,
            tokens=held.count,
            flops=2.0 * self.n_parameters * held.count,
            seconds=time.perf_counter() - start,
        )
        return result

    def run(self, i: int) -> TrainingRun:
        """Return run i as an ordinary `TrainingRun`, which continues within rounding."""
        return state.single(self, i)

    def fork(self) -> BatchedRun:
        """Return an independent copy that continues identically."""
        return state.rebuilt(*state.recipe(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> BatchedRun:
        return self.fork()

    def __reduce__(self) -> tuple[Any, ...]:
        return state.rebuilt, state.recipe(self)

    def state_dict(self) -> dict[str, Any]:
        """Return the state: `tensors` (name -> copied tensor, (N, ...)) and `scalars` (plain)."""
        return state.capture(self)

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue exactly where `saved` was taken (same corpus, model, settings and N)."""
        state.restore(self, saved)

    def save(self, path: str | Path) -> None:
        """Write a checkpoint into the directory `path` (see `batched.checkpoint.save`)."""
        checkpoint.save(self, path)

    @classmethod
    def load(cls, path: str | Path, corpus: Corpus, **how: Any) -> BatchedRun:
        """Restore saved runs; they continue bit for bit (see `batched.checkpoint.load`)."""
        return checkpoint.load(cls, path, corpus, **how)

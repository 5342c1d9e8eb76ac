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
from mixgym.lm.batched.adamw import step_factors
from mixgym.lm.batched.context import batched_precision, batched_torch_state
from mixgym.lm.batched.engine import Engine
from mixgym.lm.batched.evaluation import HeldOut
from mixgym.lm.batched.gradients import gradient_fields
from mixgym.lm.batched.ledger import BatchedLedger
from mixgym.lm.batched.recorder import BatchedRecorder
from mixgym.lm.batched.signals import BatchedSignals
from mixgym.lm.batched.stepping import resolve_compiled
from mixgym.lm.batched.stream import BatchedStream, Draws
from mixgym.lm.evaluation import EvaluationWindows
from mixgym.lm.models import ModelSpec, build_model, model_config
from mixgym.lm.seeds import run_seeds
from mixgym.lm.settings import PRESETS, GradientSettings, Settings, whole_number
from mixgym.lm.torchstate import check_device
from mixgym.lm.training import TrainingRun
from mixgym.simplex import validate_mixtures

if TYPE_CHECKING:
    from mixgym.corpus import Corpus


class BatchedRun:
    """Train N causal language models of one architecture on one corpus, a mixture each.

    Run i is what `TrainingRun(corpus, model, total_steps=..., seed=seeds[i])` is, with its own
    weights, mixture, data order, clipping norm, learning rate and divergence.

    **What is equal.** Initial weights, batches, counts and learning rates are the single run's
    exactly. A step's gradients are equal to 1e-6 relative in fp32 (the norm of the difference to
    that of a parameter's gradient): products are summed in another order. Rounding then grows as
    the runs train: per-domain losses of nano at its own settings differ from N single runs' by
    less than 2e-6 after 10 steps, 1e-4 after 100 and 1e-2 after 500 nats per byte (fp32 on the
    CPU). On the CPU, run i's results do not depend on the other runs, on how many there are, where
    i stands among them, or on `chunk`: not in a bit, for widths that are multiples of 16. On an
    accelerator the products' kernels may depend on the number of models in a chunk.

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
    ) -> None:
        total_steps = whole_number("total_steps", total_steps, least=1)
        evaluation_seed = whole_number("evaluation_seed", evaluation_seed)
        if not len(seeds):
            raise ValueError("a batch needs at least one run: give one seed each")
        if settings is None:
            preset = PRESETS.get(model) if isinstance(model, str) else None
            settings = preset.settings if preset else Settings()
        check_device(settings.device)
        config = model_config(model, corpus.tokenizer.vocab_size, settings.context)
        self._assemble(
            {
                "corpus": corpus,
                "model_spec": model,
                "seeds": [whole_number("seed", seed, least=0) for seed in seeds],
                "total_steps": total_steps,
                "settings": settings,
                "learning_rates": learning_rates,
                "evaluation_seed": evaluation_seed,
                "gradients": gradients,
                "precision": precision,
                "chunk": chunk,
                "compiled": compiled,
            },
            config,
        )
        self._initialise(np.arange(self.N))

    def _assemble(self, given: Mapping[str, Any], config: Any) -> None:
        """Make everything but the weights' values."""
        self._given = dict(given)
        self.corpus: Corpus = given["corpus"]
        self.model_spec: ModelSpec = given["model_spec"]
        self.seeds: list[int] = list(given["seeds"])
        self.total_steps: int = given["total_steps"]
        self.settings: Settings = given["settings"]
        self.evaluation_seed: int = given["evaluation_seed"]
        self.gradients: GradientSettings | None = given["gradients"]
        self.config = config
        self.precision = batched_precision(given["precision"], self.settings, config)
        peaks = self._peaks(given["learning_rates"])
        corpus, s, N = self.corpus, self.settings, len(self.seeds)
        self.held_out = EvaluationWindows(corpus, s.context, self.evaluation_seed)
        orders = [run_seeds(seed).order for seed in self.seeds]
        with batched_torch_state(s, self.precision):
            self.stream = BatchedStream(corpus, s.batch_size, s.context, orders, s.device)
            base = torch.nn.Module.to(build_model({}, copy.deepcopy(config), 0), s.device)
            self.engine = Engine(
                base,
                N,
                s,
                precision=self.precision,
                compiled=resolve_compiled(given["compiled"], s.device),
                chunk=given["chunk"],
                tokens=self.stream.tokens,
                held_out=self.held_out,
                gradients=self.gradients,
            )
        self.recorder = BatchedRecorder(
            peaks,
            corpus.natural,
            np.array([d.bytes_per_token("train") for d in corpus.domains]),
            len(self.layer_names),
            config.vocab_size,
            s,
            self.total_steps,
        )
        self.ledger = BatchedLedger(N)

    def _peaks(self, given: ArrayLike | None) -> NDArray[np.float64]:
        peak = self.settings.learning_rate if given is None else given
        rates = np.array(peak, dtype=np.float64)
        if rates.shape not in ((), (self.N,)) or not (rates > 0).all():
            raise ValueError(
                f"learning_rates must be {self.N} positive numbers, one a run, got {given!r}"
            )
        return np.broadcast_to(rates, (self.N,)).copy()

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
            for i in runs.tolist():
                config = copy.deepcopy(self.config)
                model = build_model(self.model_spec, config, run_seeds(self.seeds[i]).init)
                self.engine.rows.parameters[i].copy_(self.engine.layout.row(model))
        self.refresh_norms(runs)

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
            shares = self._shares(draws, loss_weights, rows)
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

    def _shares(
        self, draws: Draws, loss_weights: ArrayLike | None, rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        if loss_weights is None:
            size = draws.domains.shape[-1]
            return np.full(draws.domains.shape, 1.0 / size, dtype=np.float32)
        weights = np.asarray(loss_weights, dtype=np.float64)
        if weights.shape != (self.N, self.corpus.K):
            raise ValueError(f"loss_weights must be one number a run and domain: {weights.shape}")
        chosen = weights[rows[:, None, None], draws.domains]
        if not (np.isfinite(chosen) & (chosen > 0)).all():
            raise ValueError(
                "loss_weights must be positive and finite for every domain that is sampled: give a "
                "domain no weight in the mixture instead"
            )
        return (chosen / chosen.sum(axis=-1, keepdims=True)).astype(np.float32)

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
        recorder, nobody = self.recorder, np.zeros(self.N, dtype=bool)
        nothing = np.full((self.N, self.corpus.K), np.nan)
        signals = recorder.signals(
            self.stream,
            self.stream.drawn,
            recorder.train_loss,
            nothing,
            np.zeros_like(recorder.norms),
            nobody,
        )
        return replace(signals, **self._gradient_fields(np.flatnonzero(nobody), None))

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
        return copy.deepcopy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> BatchedRun:
        twin = object.__new__(type(self))
        twin.__setstate__(self.__getstate__())
        return twin

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the text itself; tensors are copied."""
        given = {**self._given, "seeds": list(self.seeds)}
        given["learning_rates"] = self.learning_rates.copy()
        return {"given": given, "config": self.config.to_dict(), "state": self.state_dict()}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.prepare(saved["given"], saved["config"])
        self.load_state_dict(saved["state"])

    def prepare(self, given: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        """Make everything but the state, which is yet to be loaded.

        Args:
            given: the constructor's arguments by name, `model_spec` for `model`.
            config: `to_dict()` of the models' configuration.
        """
        plain = dict(config)
        self._assemble(given, AutoConfig.for_model(plain.pop("model_type"), **plain))

    def state_dict(self) -> dict[str, Any]:
        """Return the state: `tensors` (name -> copied tensor, (N, ...)) and `scalars` (plain)."""
        return state.capture(self)

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue exactly where `saved` was taken (same corpus, model, settings and N)."""
        state.restore(self, saved)

    def save(self, path: str | Path) -> None:
        """Write a checkpoint into the directory `path` (see `batched.checkpoint.save`)."""
        checkpoint.save(self, path)

    @classmethod
    def load(cls, path: str | Path, corpus: Corpus, **how: Any) -> BatchedRun:
        """Restore saved runs; they continue bit for bit (see `batched.checkpoint.load`)."""
        return checkpoint.load(path, corpus, **how)

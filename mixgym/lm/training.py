"""A language-model training run that can be steered, measured, forked and resumed."""

from __future__ import annotations

import copy
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional

from mixgym.errors import MixgymError
from mixgym.ledger import Ledger
from mixgym.lm import checkpoint, state
from mixgym.lm.evaluation import EvaluationWindows, domain_losses, evaluating
from mixgym.lm.gradients import Capture, DomainGradients, gradient_signals
from mixgym.lm.models import ModelSpec, build_model, empty_model, model_config, signal_layers
from mixgym.lm.optimiser import build_optimiser
from mixgym.lm.precision import resolve_precision
from mixgym.lm.reweighting import Reweighting, loss_shares, prepare
from mixgym.lm.settings import PRESETS, GradientSettings, Settings
from mixgym.lm.stream import Batch, MixtureStream
from mixgym.lm.text import text_signals
from mixgym.lm.threads import pinned_threads, private_rng, rng_state
from mixgym.signals import Signals
from mixgym.simplex import validate_mixture

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from mixgym.corpus import Corpus

#: Above this multiple of the uniform prediction's loss, ln(vocabulary), training has diverged.
DIVERGENCE_FACTOR = 3.0


class TrainingRun:
    """Train one causal language model on one corpus, a mixture at a time.

    The same corpus, arguments, seed and mixtures give the same run bit for bit on one machine and
    thread count. Seeds for the initial weights, the data order and dropout are separate streams
    of `numpy.random.SeedSequence(seed)`; global random states are neither read nor changed. All
    losses are nats per byte.

    Args:
        corpus: the text.
        model: preset, configuration mapping or local checkpoint (see `lm.models.model_config`).
        total_steps: optimiser steps in the budget.
        seed: of this run.
        settings: how to train; the preset's own where not given.
        evaluation_seed: selects the held-out windows, which do not depend on `seed`.
        gradients: gradient signals to measure; none by default. Measuring changes nothing else.
        text_sequences: sequences of each domain whose text is measured at a decision; 0 for none.

    Raises:
        MixgymError, ValueError: a model, setting or corpus that does not fit, by name.
    """

    def __init__(
        self,
        corpus: Corpus,
        model: ModelSpec = "nano",
        *,
        total_steps: int,
        seed: int = 0,
        settings: Settings | None = None,
        evaluation_seed: int = 0,
        gradients: GradientSettings | None = None,
        text_sequences: int = 0,
    ) -> None:
        if total_steps < 1:
            raise ValueError(f"total_steps must be positive, got {total_steps}")
        if settings is None:
            preset = PRESETS.get(model) if isinstance(model, str) else None
            settings = preset.settings if preset else Settings()
        self.corpus = corpus
        self.model_spec = model
        self.settings = settings
        self.total_steps = total_steps
        self.seed = seed
        self.evaluation_seed = evaluation_seed
        self.gradients = gradients
        self.text_sequences = text_sequences
        init, order, noise = np.random.SeedSequence(seed).generate_state(3, dtype=np.uint64)
        config = model_config(model, corpus.tokenizer.vocab_size, settings.context)
        self.model: PreTrainedModel = build_model(model, config, int(init >> 1))
        torch.nn.Module.to(self.model, settings.device).train()
        self.stream = MixtureStream(corpus, settings.batch_size, settings.context, int(order >> 1))
        self.held_out = EvaluationWindows(corpus, settings.context, evaluation_seed)
        with private_rng(int(noise >> 1), settings.device):
            self._rng = rng_state(settings.device)
        self._prepare()
        self.ledger = Ledger()
        self.step = 0
        self.decision = 0
        self.diverged = False
        self._train_loss = np.full(corpus.K, np.nan)
        self._last_seen = np.zeros(corpus.K, dtype=np.int64)
        self._validation = np.full(corpus.K, np.nan)
        self._mixture = corpus.natural.copy()
        self.refresh_norms()

    def _prepare(self) -> None:
        self._parameters = list(self.model.parameters())
        self.n_parameters = sum(p.numel() for p in self._parameters)
        self.optimiser = build_optimiser(self.model, self.settings)
        self.precision = resolve_precision(self.settings, self.model.config)
        self._layers = signal_layers(self.model, self.settings.layers)
        self._bytes_per_token = np.array([d.bytes_per_token("train") for d in self.corpus.domains])
        self._gradients: DomainGradients | None = None
        if self.gradients is not None:
            self._gradients = DomainGradients(self.model, self.gradients, self.corpus.K)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """(L,) names of the weight matrices whose norms are signals."""
        return tuple(name for name, _ in self._layers)

    def autocast(self) -> torch.autocast:
        """Return a fresh context of the run's precision."""
        device = torch.device(self.settings.device).type
        return torch.autocast(device, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def advance(
        self,
        mixture: ArrayLike,
        steps: int,
        *,
        loss_weights: ArrayLike | Reweighting | None = None,
    ) -> Signals:
        """Take `steps` optimiser steps on batches drawn by `mixture` and return what changed.

        Args:
            mixture: (K,) weights, non-negative, summing to one.
            steps: at least 1; a run may go past its budget only by an explicit call, and then
                raises.
            loss_weights: (K,) positive weights w of the domains' losses, or a function that gives
                them at every step (`lm.reweighting.Reweighting`): the loss is then
                sum_b w_d(b) l_b / sum_b w_d(b) over a step's sequences b instead of their plain
                mean. Losses in the signals stay unweighted.

        Raises:
            ValueError: an invalid mixture, weights or number of steps, or more than the budget
                holds.
            MixgymError: the run has diverged already.
        """
        weights = validate_mixture(
            np.asarray(mixture, dtype=np.float64), self.corpus.K, names=self.corpus.names
        )
        if steps < 1 or self.step + steps > self.total_steps:
            raise ValueError(
                f"steps must lie in [1, {self.total_steps - self.step}] (the budget that is left "
                f"of {self.total_steps}), got {steps}"
            )
        if self.diverged:
            raise MixgymError("this run has diverged: start a new one with a lower learning_rate")
        start = time.perf_counter()
        before_loss, drawn_before = self._train_loss.copy(), self.stream.drawn
        weights_before = [parameter.detach().clone() for _, parameter in self._layers]
        recorded: list[tuple[Batch, torch.Tensor]] = []
        if self._gradients is not None:
            self._gradients.reset()
        device = self.settings.device
        with pinned_threads(self.settings.threads), private_rng(self._rng, device):
            for batch in self.stream.batches(weights, steps):
                recorded.append((batch, self._optimiser_step(batch, loss_weights)))
            self._rng = rng_state(device)
            last_loss = self._record_losses(recorded)
            updates = [
                float(torch.linalg.vector_norm(parameter.detach() - old))
                for (_, parameter), old in zip(self._layers, weights_before, strict=True)
            ]
            self._norms = self._weight_norms()
        self.decision += 1
        self._mixture = weights
        counts = self.stream.drawn - drawn_before
        apart = self.ledger.accounts["reward"].seconds
        measured = gradient_signals(self, self._gradients)
        measured |= text_signals(self, [batch for batch, _ in recorded])
        apart = self.ledger.accounts["reward"].seconds - apart
        tokens = steps * self.settings.batch_size * self.settings.context
        self.ledger.charge(
            "train",
            tokens=tokens,
            flops=6.0 * self.n_parameters * tokens,
            seconds=time.perf_counter() - start - apart,
        )
        change = np.nan_to_num(self._train_loss - before_loss, nan=0.0, posinf=0.0, neginf=0.0)
        signals = self._signals(counts, change, last_loss, np.array(updates))
        return replace(signals, **measured)

    def _optimiser_step(
        self, batch: Batch, loss_weights: ArrayLike | Reweighting | None
    ) -> torch.Tensor:
        windows = torch.from_numpy(batch.tokens).to(self.settings.device)
        rate = self.settings.learning_rate_at(self.step, self.total_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        gradients = self._gradients
        if gradients is not None and not gradients.due(self.step):
            gradients = None
        prepare(loss_weights, batch)
        with gradients.capture(batch.domains) if gradients else nullcontext() as capture:
            total, loss = self._losses(batch, windows, loss_weights, capture)
            total.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, self.settings.clip)
        self.optimiser.step()
        for parameter in self._parameters:
            parameter.grad = None
        self.step += 1
        return loss.mean(dim=1)

    def _losses(
        self,
        batch: Batch,
        windows: torch.Tensor,
        loss_weights: ArrayLike | Reweighting | None,
        capture: Capture | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss to differentiate and the (B, context) losses of the tokens, detached.

        Logits and probabilities are referred to by nothing but the graph once this returns, so
        that the backward pass reuses their memory while it is in the processor's cache.
        """
        with self.autocast():
            logits = self.model(input_ids=windows[:, :-1], use_cache=False).logits
        log_p = functional.log_softmax(logits.float().flatten(0, 1), dim=-1)
        del logits
        targets = windows[:, 1:].flatten()
        # Read off apart from the graph: the backward pass of a plain mean is the cheaper one.
        loss = -log_p.detach().gather(1, targets[:, None]).view(len(windows), -1)
        if loss_weights is None:
            return functional.nll_loss(log_p, targets), loss
        shares = loss_shares(batch, loss, loss_weights)
        losses = functional.nll_loss(log_p, targets, reduction="none").view_as(loss)
        if capture is not None:
            capture.shares = shares
        return (losses.mean(dim=1) * torch.from_numpy(shares).to(losses)).sum(), loss

    def _record_losses(self, recorded: list[tuple[Batch, torch.Tensor]]) -> NDArray[np.float64]:
        # One device-to-host copy a decision, not one a step.
        per_sequence = torch.stack([loss for _, loss in recorded]).double().cpu().numpy()
        self.diverged = not bool((per_sequence.mean(axis=1) < self._loss_limit()).all())
        steps, K = per_sequence.shape[0], self.corpus.K
        cells = np.concatenate([n * K + batch.domains for n, (batch, _) in enumerate(recorded)])
        total = np.bincount(cells, per_sequence.ravel(), steps * K).reshape(steps, K)
        number = np.bincount(cells, minlength=steps * K).reshape(steps, K)
        seen = number > 0
        decay = self.settings.loss_decay
        with np.errstate(invalid="ignore"):
            for mean, drawn in zip(total / number / self._bytes_per_token, seen, strict=True):
                old = self._train_loss
                average = np.where(np.isnan(old), mean, decay * old + (1 - decay) * mean)
                self._train_loss = np.where(drawn, average, old)
            last = self.step - seen[::-1].argmax(axis=0)
            self._last_seen = np.where(seen.any(axis=0), last, self._last_seen)
            # In the steps' order, whatever their number: a sum over pairs would round otherwise.
            return total.cumsum(axis=0)[-1] / number.sum(axis=0) / self._bytes_per_token

    def _loss_limit(self) -> float:
        """Nats per token above which training has diverged."""
        return DIVERGENCE_FACTOR * float(np.log(self.model.config.vocab_size))

    def has_diverged(self, loss: NDArray[np.float64]) -> bool:
        """Whether any of (K,) losses in nats per byte is beyond the limit or not a number.

        The limit is `DIVERGENCE_FACTOR` times the loss of knowing nothing, ln(vocabulary).
        """
        return not bool((loss * self._bytes_per_token < self._loss_limit()).all())

    def refresh_norms(self) -> None:
        """Measure the weight norms again, after the weights were changed from outside."""
        with pinned_threads(self.settings.threads):
            self._norms = self._weight_norms()

    def _weight_norms(self) -> NDArray[np.float64]:
        return np.array([float(torch.linalg.vector_norm(p.detach())) for _, p in self._layers])

    def signals(self) -> Signals:
        """Return the signals of a run between decisions (before the first: nothing sampled)."""
        K = self.corpus.K
        nothing, updates = np.zeros(K), np.zeros(len(self._layers))
        signals = self._signals(nothing, nothing, np.full(K, np.nan), updates)
        if self._gradients is not None:
            self._gradients.reset()
        measured = gradient_signals(self, self._gradients) | text_signals(self, [])
        return replace(signals, **measured)

    def _signals(
        self,
        counts: NDArray[Any],
        change: NDArray[np.float64],
        last_loss: NDArray[np.float64],
        updates: NDArray[np.float64],
    ) -> Signals:
        def f32(values: NDArray[Any]) -> NDArray[np.float32]:
            with np.errstate(over="ignore"):
                return np.array(values, dtype=np.float32)

        nothing = np.full(self.corpus.K, np.nan, dtype=np.float32)
        rate = float("nan")
        if self.step:
            rate = self.settings.learning_rate_at(self.step - 1, self.total_steps)
        return Signals(
            mixture=f32(self._mixture),
            counts=f32(counts),
            tokens=f32(self.stream.drawn * self.settings.context),
            epochs=f32(self.stream.epochs),
            train_loss=f32(self._train_loss),
            train_loss_age=f32(self.step - self._last_seen),
            train_loss_change=f32(change),
            last_loss=f32(last_loss),
            validation_loss=nothing,
            validation_change=nothing.copy(),
            starved=(self._mixture > 0) & (counts == 0) & (self.decision > 0),
            weight_norms=f32(self._norms),
            update_norms=f32(updates),
            step=self.step,
            total_steps=self.total_steps,
            decision=self.decision,
            remaining=1.0 - self.step / self.total_steps,
            diverged=self.diverged,
            learning_rate=rate,
        )

    def evaluate(
        self,
        split: str = "validation",
        *,
        domains: ArrayLike | None = None,
        windows: int = 128,
        account: str = "evaluation",
    ) -> NDArray[np.float64]:
        """Measure the loss on fixed held-out windows without changing the run.

        Args:
            split: `"validation"`, or `"test"` for reports only.
            domains: indices of the domains to measure; all by default.
            windows: windows a domain (fewer where the split holds fewer).
            account: ledger account that pays.

        Returns:
            (K,) float64, nats per byte, NaN where not measured.
        """
        if split not in ("validation", "test"):
            raise ValueError(f"split must be 'validation' or 'test', got {split!r}")
        chosen = range(self.corpus.K) if domains is None else np.asarray(domains).tolist()
        start = time.perf_counter()
        with evaluating(self.model), pinned_threads(self.settings.threads):
            result, tokens = domain_losses(
                self.model, self.held_out, split, chosen, windows, self.autocast()
            )
        self.ledger.charge(
            account,
            tokens=tokens,
            flops=2.0 * self.n_parameters * tokens,
            seconds=time.perf_counter() - start,
        )
        return result

    def fork(self) -> TrainingRun:
        """Return an independent copy that continues identically; milliseconds for small models."""
        return copy.deepcopy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> TrainingRun:
        twin = object.__new__(type(self))
        twin.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return twin

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the text itself; tensors are copied."""
        return {
            "corpus": self.corpus,
            "model_spec": self.model_spec,
            "settings": self.settings,
            "total_steps": self.total_steps,
            "seed": self.seed,
            "evaluation_seed": self.evaluation_seed,
            "gradients": self.gradients,
            "text_sequences": self.text_sequences,
            "model_config": self.model.config.to_dict(),
            "state": self.state_dict(),
        }

    def __setstate__(self, saved: dict[str, Any]) -> None:
        plain = ("corpus", "model_spec", "settings", "total_steps", "seed", "evaluation_seed")
        for name in (*plain, "gradients", "text_sequences"):
            setattr(self, name, saved[name])
        self.model = empty_model(saved["model_config"], self.settings.device)
        self.stream = MixtureStream(self.corpus, self.settings.batch_size, self.settings.context, 0)
        self.held_out = EvaluationWindows(self.corpus, self.settings.context, self.evaluation_seed)
        self._prepare()
        self.load_state_dict(saved["state"])

    def save(self, path: str | Path) -> None:
        """Write a checkpoint into the directory `path` (see `lm.checkpoint.save`)."""
        checkpoint.save(self, path)

    @classmethod
    def load(cls, path: str | Path, corpus: Corpus, **expected: Any) -> TrainingRun:
        """Restore a saved run; it continues bit for bit (see `lm.checkpoint.load`)."""
        return checkpoint.load(path, corpus, **expected)

    def state_dict(self) -> dict[str, Any]:
        """Return the run's state: `tensors` (name -> copied tensor) and `scalars` (JSON-plain)."""
        return state.capture(self)

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue exactly where `saved` was taken (same corpus, model and settings)."""
        state.restore(self, saved)

"""A language-model training run that can be steered, measured, forked and resumed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional

from mixgym.errors import MixgymError
from mixgym.ledger import Ledger
from mixgym.lm import checkpoint, state
from mixgym.lm.composed import ComposedRun
from mixgym.lm.evaluation import EvaluationWindows
from mixgym.lm.gradients import Capture, DomainGradients, gradient_signals
from mixgym.lm.models import ModelSpec, build_model, empty_model, model_config
from mixgym.lm.norms import LayerNorms
from mixgym.lm.optimiser import build_optimiser
from mixgym.lm.precision import resolve_precision
from mixgym.lm.recorder import SignalRecorder
from mixgym.lm.reweighting import Reweighting, loss_shares, prepare
from mixgym.lm.seeds import run_seeds
from mixgym.lm.settings import PRESETS, GradientSettings, Settings, whole_number
from mixgym.lm.stream import Batch, MixtureStream
from mixgym.lm.text import text_signals
from mixgym.lm.threads import private_rng, rng_state
from mixgym.lm.torchstate import check_device, own_torch_state
from mixgym.signals import Signals
from mixgym.simplex import validate_mixture

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from mixgym.corpus import Corpus


@dataclass(frozen=True)
class Snapshot:
    """A run's model and state, from which a run of the same arguments goes on.

    Attributes:
        model_config: `to_dict()` of the model's configuration.
        state: `state_dict()` of the run.
    """

    model_config: Mapping[str, Any]
    state: Mapping[str, Any]


class TrainingRun(ComposedRun):
    """Train one causal language model on one corpus, a mixture at a time.

    The same corpus, arguments, seed and mixtures give the same run bit for bit on one machine and
    thread count. Seeds for the initial weights, the data order and dropout are separate streams
    of `numpy.random.SeedSequence(seed)`; global random states are neither read nor changed, and
    the caller's torch state (no_grad, inference mode, autocast, default dtype and device) does
    not count. All losses are nats per byte.

    Args:
        corpus: the text.
        model: preset, configuration mapping or local checkpoint (see `lm.models.model_config`).
        total_steps: optimiser steps in the budget.
        seed: of this run.
        settings: how to train; the preset's own where not given.
        evaluation_seed: selects the held-out windows, which do not depend on `seed`.
        gradients: gradient signals to measure; none by default. Measuring changes nothing else.
        text_sequences: sequences of each domain whose text is measured at a decision; 0 for none.
        snapshot: of a run of the same arguments, to go on from.

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
        snapshot: Snapshot | None = None,
    ) -> None:
        total_steps = whole_number("total_steps", total_steps, least=1)
        if settings is None:
            preset = PRESETS.get(model) if isinstance(model, str) else None
            settings = preset.settings if preset else Settings()
        check_device(settings.device)
        self.corpus = corpus
        self.model_spec = model
        self.settings = settings
        self.total_steps = total_steps
        self.seed = whole_number("seed", seed, least=0)
        self.evaluation_seed = whole_number("evaluation_seed", evaluation_seed)
        self.gradients = gradients
        self.text_sequences = text_sequences
        seeds = run_seeds(self.seed)
        self.stream = MixtureStream(corpus, settings.batch_size, settings.context, seeds.order)
        self.held_out = EvaluationWindows(corpus, settings.context, evaluation_seed)
        self.ledger = Ledger()
        with self._torch():
            self.model: PreTrainedModel
            if snapshot is None:
                config = model_config(model, corpus.tokenizer.vocab_size, settings.context)
                self.model = build_model(model, config, seeds.init)
                torch.nn.Module.to(self.model, settings.device).train()
            else:
                self.model = empty_model(snapshot.model_config, settings.device)
            self._parameters = list(self.model.parameters())
            self.n_parameters = sum(p.numel() for p in self._parameters)
            self.optimiser = build_optimiser(self.model, settings)
            self.precision = resolve_precision(settings, self.model.config)
            self._norms = LayerNorms(self.model, settings.layers)
            self._gradients: DomainGradients | None = None
            if gradients is not None:
                self._gradients = DomainGradients(self.model, gradients, corpus.K)
            self._recorder = SignalRecorder.of(
                corpus, self.model.config.vocab_size, settings, total_steps
            )
            with private_rng(seeds.noise, settings.device):
                self._rng = rng_state(settings.device)
        if snapshot is None:
            self.refresh_norms()
        else:
            self.load_state_dict(snapshot.state)

    def _torch(self) -> AbstractContextManager[None]:
        return own_torch_state(self.settings.threads, self.settings.device)

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
        with self._torch():
            return self._advance(weights, steps, loss_weights)

    def _advance(
        self,
        weights: NDArray[np.float64],
        steps: int,
        loss_weights: ArrayLike | Reweighting | None,
    ) -> Signals:
        start = time.perf_counter()
        recorder, device = self._recorder, self.settings.device
        before, weights_before = recorder.before(self.stream), self._norms.copies()
        recorded: list[tuple[Batch, torch.Tensor]] = []
        if self._gradients is not None:
            self._gradients.reset()
        with private_rng(self._rng, device):
            for batch in self.stream.batches(weights, steps):
                recorded.append((batch, self._optimiser_step(batch, loss_weights)))
            self._rng = rng_state(device)
        # One device-to-host copy a decision, not one a step.
        losses = torch.stack([loss for _, loss in recorded]).double().cpu().numpy()
        last_loss = recorder.record(np.stack([batch.domains for batch, _ in recorded]), losses)
        updates = self._norms.updates(weights_before)
        recorder.norms = self._norms.weights()
        signals = recorder.finish(weights, before, self.stream, last_loss, updates)
        apart = self.ledger.accounts["reward"].seconds
        measured = self._measured([batch for batch, _ in recorded])
        apart = self.ledger.accounts["reward"].seconds - apart
        tokens = steps * self.settings.batch_size * self.settings.context
        self.ledger.charge(
            "train",
            tokens=tokens,
            flops=6.0 * self.n_parameters * tokens,
            seconds=time.perf_counter() - start - apart,
        )
        return replace(signals, **measured)

    def _measured(self, batches: list[Batch]) -> dict[str, Any]:
        """Return the fields of signals that are measured where they are asked for."""
        result: dict[str, Any] = {}
        if self._gradients is not None:
            result |= gradient_signals(
                self._gradients, self.model, self.held_out, self.autocast(), self.ledger
            )
        corpus = self.corpus
        return result | text_signals(
            batches, self.text_sequences, corpus.tokenizer, corpus.K, self.ledger
        )

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
        self._recorder.step += 1
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

    def signals(self) -> Signals:
        """Return the signals of a run between decisions (before the first: nothing sampled)."""
        with self._torch():
            if self._gradients is not None:
                self._gradients.reset()
            return replace(self._recorder.between(self.stream), **self._measured([]))

    def fork(self) -> Self:
        """Return an independent copy that continues identically; milliseconds for small models."""
        return self._copying()()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.fork()

    def __reduce__(self) -> tuple[Any, ...]:
        return self._copying(), ()

    def _copying(self) -> partial[Self]:
        """What makes a copy; tensors are copied now, the text is shared."""
        return partial(
            type(self),
            self.corpus,
            self.model_spec,
            total_steps=self.total_steps,
            seed=self.seed,
            settings=self.settings,
            evaluation_seed=self.evaluation_seed,
            gradients=self.gradients,
            text_sequences=self.text_sequences,
            snapshot=Snapshot(self.model.config.to_dict(), self.state_dict()),
        )

    def save(self, path: str | Path) -> None:
        """Write a checkpoint into the directory `path` (see `lm.checkpoint.save`)."""
        checkpoint.save(path, self.identity(), self.corpus.spec, self.state_dict())

    @classmethod
    def load(cls, path: str | Path, corpus: Corpus, **expected: Any) -> Self:
        """Restore the run saved at `path`; it continues bit for bit.

        Args:
            path: the directory.
            corpus: the corpus the run was trained on (compared by content hash).
            expected: values the checkpoint must have, by name (`model_spec`, `seed`,
                `total_steps`, `evaluation_seed`, `settings`, `gradients`, `text_sequences`).

        Raises:
            CheckpointError: nothing there, damaged, or of another corpus or configuration; the
                message names what differs.
        """
        saved = checkpoint.load(path, corpus, expected)
        snapshot = Snapshot(saved.record["model_config"], saved.state)
        with checkpoint.naming(path, f"run.json or {saved.record['tensors']['file']}"):
            return cls(corpus, **saved.arguments, snapshot=snapshot)

    def identity(self) -> dict[str, Any]:
        """Return what makes two runs the same run, JSON-plain."""
        return checkpoint.plain(
            {
                "corpus_hash": self.corpus.hash,
                "model_spec": self.model_spec,
                "model_config": self.model.config.to_dict(),
                "settings": asdict(self.settings),
                "total_steps": self.total_steps,
                "seed": self.seed,
                "evaluation_seed": self.evaluation_seed,
                "gradients": asdict(self.gradients) if self.gradients else None,
                "text_sequences": self.text_sequences,
            }
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the run's state: `tensors` (name -> copied tensor) and `scalars` (JSON-plain)."""
        with self._torch():
            tensors = state.capture(self.model, self.optimiser)
            tensors |= {f"rng.{name}": value.clone() for name, value in self._rng.items()}
        scalars = {
            **self._recorder.state_dict(),
            "stream": self.stream.state_dict(),
            "ledger": self.ledger.to_json(),
        }
        return {"tensors": tensors, "scalars": scalars}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue exactly where `saved` was taken (same corpus, model and settings).

        Raises:
            CheckpointError: `saved` is of another corpus or model.
        """
        tensors, scalars = saved["tensors"], saved["scalars"]
        with self._torch():
            self.stream.load_state_dict(scalars["stream"])
            self._recorder.load_state_dict(scalars)
            state.restore(self.model, self.optimiser, tensors)
            self._rng = state.checked_rng(tensors, self._rng)
        self.ledger = Ledger.from_json(scalars["ledger"])

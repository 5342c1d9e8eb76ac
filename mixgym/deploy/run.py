"""A training run whose optimiser steps somebody else takes: the `transformers` Trainer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mixgym.deploy.losses import sequence_losses
from mixgym.deploy.samples import check_samples, samples
from mixgym.errors import MixgymError
from mixgym.ledger import Ledger
from mixgym.lm.composed import ComposedRun
from mixgym.lm.evaluation import EvaluationWindows
from mixgym.lm.gradients import Capture, DomainGradients, gradient_signals
from mixgym.lm.norms import LayerNorms
from mixgym.lm.ranks import Ranks
from mixgym.lm.recorder import Before, SignalRecorder, nan_to_none
from mixgym.lm.seeds import run_seeds
from mixgym.lm.settings import GradientSettings, Settings
from mixgym.lm.stream import Batch, MixtureStream
from mixgym.signals import Signals

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from mixgym.corpus import Corpus


class TrainerRun(ComposedRun):
    """The side of a run that an environment sees, fed by a Trainer as it goes.

    A `Run`. A decision is `begin`, then for every optimiser step `draw` and `note` once a
    micro-batch and `end_step`, then `advance`, which takes no steps but returns the signals of
    those that were taken. The window order follows from `seed` as a `TrainingRun`'s does.

    With several processes, every process draws the whole batch and keeps its own block of it; at a
    decision the sequences' losses are gathered, so that all have the same signals.

    Args:
        corpus: the text.
        model: the Trainer's, unwrapped.
        total_steps: the Trainer's `max_steps`.
        seed: of the window order.
        settings: `context`, `layers`, `loss_decay` are used here; `batch_size` is the sequences of
            an optimiser step, all micro-batches and processes together.
        evaluation_seed: selects the validation windows.
        gradients: gradient signals to measure.
        accumulation: micro-batches of an optimiser step.
        ranks: the processes.

    Attributes:
        ends: optimiser step at which the decision under way ends.
        learning_rate: of the last optimiser step, NaN before the first.
    """

    def __init__(
        self,
        corpus: Corpus,
        model: PreTrainedModel,
        *,
        total_steps: int,
        seed: int,
        settings: Settings,
        evaluation_seed: int = 0,
        gradients: GradientSettings | None = None,
        accumulation: int = 1,
        ranks: Ranks | None = None,
    ) -> None:
        self.corpus = corpus
        self.model = model
        self.settings = settings
        self.total_steps = total_steps
        self.accumulation = accumulation
        self.ranks = ranks or Ranks()
        size = settings.batch_size // accumulation
        self.stream = MixtureStream(corpus, size, settings.context, run_seeds(seed).order)
        self.held_out = EvaluationWindows(corpus, settings.context, evaluation_seed)
        self.n_parameters = sum(p.numel() for p in model.parameters())
        self._norms = LayerNorms(model, settings.layers)
        self._gradients: DomainGradients | None = None
        if gradients is not None:
            self._gradients = DomainGradients(model, gradients, corpus.K)
        self._recorder = SignalRecorder.of(corpus, model.config.vocab_size, settings, total_steps)
        self.ledger = Ledger()
        self.learning_rate = float("nan")
        self.ends = 0
        self._clear()
        self.refresh_norms()

    def _clear(self) -> None:
        # Every step's micro-batches: their domains, and losses of tokens, or of sequences where
        # they come from a checkpoint.
        self._recorded: list[list[tuple[NDArray[np.int64], torch.Tensor]]] = []
        self._micro: list[tuple[NDArray[np.int64], torch.Tensor]] = []
        self._pending: deque[NDArray[np.int64]] = deque()
        self._batches: Iterator[Batch] = iter(())
        self._armed = ExitStack()
        self._capture: Capture | None = None

    @property
    def mixture(self) -> NDArray[np.float64]:
        """(K,) weights of the decision under way."""
        return self._recorder.mixture.copy()

    # --- while the Trainer trains ---------------------------------------------------------------

    def begin(self, mixture: NDArray[np.float64], steps: int) -> None:
        """Draw the coming `steps` optimiser steps by `mixture` ((K,), a mixture)."""
        self._clear()
        self._recorder.mixture = mixture
        self._before = self._recorder.before(self.stream)
        self._weights_before = self._norms.copies()
        if self._gradients is not None:
            self._gradients.reset()
        self._batches = self.stream.batches(mixture, steps * self.accumulation)
        self.ends = self.step + steps
        self._started = time.perf_counter()
        self._apart = self._seconds_apart()

    def _seconds_apart(self) -> float:
        accounts = self.ledger.accounts
        return sum(accounts[name].seconds for name in ("reward", "evaluation", "proxy"))

    def draw(self, size: int, device: torch.device | None) -> dict[str, torch.Tensor]:
        """Draw the next micro-batch and return this process's `size` sequences of it.

        Raises:
            MixgymError: it belongs to a decision that is not made yet, or has another size than
                the Trainer's arguments say.
        """
        if size * self.ranks.world != self.stream.batch_size:
            raise MixgymError(
                f"a micro-batch has {size} sequences, the Trainer's arguments make it "
                f"{self.stream.batch_size // self.ranks.world}: leave out what changes batches"
            )
        batch = next(self._batches, None)
        if batch is None:
            raise MixgymError(
                "a batch was read before the decision that it belongs to: leave out what reads "
                "the training batches ahead of time; mixgym.deploy draws them when they are used"
            )
        own = slice(self.ranks.rank * size, (self.ranks.rank + 1) * size)
        self._pending.append(batch.domains)
        tokens = torch.from_numpy(batch.tokens[own]).to(device)
        return {"input_ids": tokens, "labels": tokens.clone()}

    def arm(self) -> None:
        """Watch the coming forward and backward pass, if its gradients are to be measured."""
        if self._gradients is None or not self._gradients.due(self.step):
            return
        if not self._pending:
            raise MixgymError(
                "the domains' gradients cannot be measured: this version of transformers reads a "
                "batch later than its step begins; use an agent that needs no gradients"
            )
        self._capture = self._armed.enter_context(self._gradients.capture(self._own_domains()))

    def disarm(self) -> None:
        """Stop watching; after the backward pass."""
        if self._capture is not None:
            self._armed.close()
            self._capture = None

    def _own_domains(self) -> NDArray[np.int64]:
        size = len(self._pending[0]) // self.ranks.world
        return self._pending[0][self.ranks.rank * size : (self.ranks.rank + 1) * size]

    def note(self, losses: torch.Tensor, share: float | None) -> None:
        """Take the losses of the micro-batch that was drawn first among those not noted.

        Args:
            losses: (B, T) nats of the tokens of this process's sequences (`losses.token_losses`).
            share: weight of a sequence's mean loss in the loss that this process differentiates;
                None for 1/B.

        Raises:
            MixgymError: no such micro-batch was drawn.
        """
        if not self._pending or len(losses) * self.ranks.world != len(self._pending[0]):
            raise MixgymError(
                f"the loss of a batch of {len(losses)} sequences was computed that was not drawn "
                "from the controller's stream: pass its train_dataset and data_collator to the "
                "Trainer as they are (**controller.trainer_arguments(args))"
            )
        if self._capture is not None and share is not None:
            self._capture.shares = np.full(len(losses), share)
        self._micro.append((self._pending.popleft(), losses))

    def end_step(self) -> None:
        """Close an optimiser step.

        Raises:
            MixgymError: the losses of its micro-batches were not computed by the controller.
        """
        if len(self._micro) != self.accumulation:
            raise MixgymError(
                f"an optimiser step of {self.accumulation} micro-batches ended with the losses of "
                f"{len(self._micro)}: pass compute_loss_func=controller.compute_loss to the "
                "Trainer (**controller.trainer_arguments(args) has it), and don't override its "
                "compute_loss"
            )
        # Averaged once a decision: between the steps of a model every operation finds its code
        # and data gone from the caches, and takes two to three times as long.
        self._recorded.append(self._micro)
        self._micro = []
        self._recorder.step += 1

    def stop(self) -> None:
        """Take the run for diverged: no decision is made from here on."""
        self._recorder.diverged = True

    def _gathered(self) -> list[tuple[NDArray[np.int64], torch.Tensor]]:
        """The decision's steps so far: (n,) domains and (n,) losses of all processes' sequences."""
        if not self._recorded:
            return []
        every = [losses for step in self._recorded for _, losses in step]
        own = torch.stack([sequence_losses(x) if x.dim() == 2 else x for x in every])
        own = own.view(len(self._recorded), self.accumulation, -1)
        gathered = self.ranks.gather(own).permute(1, 2, 0, 3).reshape(len(own), -1)
        domains = [np.concatenate([domains for domains, _ in step]) for step in self._recorded]
        return list(zip(domains, gathered, strict=True))

    # --- what the environment asks --------------------------------------------------------------

    def autocast(self) -> torch.autocast:
        """Return a context that changes nothing: accelerate puts its own around the model."""
        device = next(self.model.parameters()).device.type
        return torch.autocast(device, dtype=torch.bfloat16, enabled=False)

    def signals(self) -> Signals:
        """Return the signals between decisions."""
        if self._gradients is not None:
            self._gradients.reset()
        return replace(self._recorder.between(self.stream), **self._measured())

    def _measured(self) -> dict[str, Any]:
        gradients = self._gradients
        if gradients is None:
            return {}
        return gradient_signals(gradients, self.model, self.held_out, self.autocast(), self.ledger)

    def advance(self, mixture: ArrayLike, steps: int) -> Signals:
        """Return the signals of the steps that the Trainer took since `begin`.

        Args:
            mixture: that they were drawn by.
            steps: of a whole decision; the last one of a run may have had fewer.
        """
        steps = len(self._recorded)
        domains, losses = zip(*self._gathered(), strict=True)
        per_sequence = torch.stack(losses).double().cpu().numpy()
        last_loss = self._recorder.record(np.stack(domains), per_sequence)
        updates = self._norms.updates(self._weights_before)
        self.refresh_norms()
        self._add_up_gradients()
        measured = self._measured()
        self.charge(steps)
        signals = self._recorder.finish(
            np.asarray(mixture, dtype=np.float64),
            self._before,
            self.stream,
            last_loss,
            updates,
            self.learning_rate,
        )
        return replace(signals, **measured)

    def charge(self, steps: int) -> None:
        """Put `steps` on the ledger; seconds are the wall clock's since `begin`.

        Evaluations and proxies that are on other accounts are left out of the seconds; the
        Trainer's own logging, saving and evaluation are not.
        """
        tokens = steps * self.settings.batch_size * self.settings.context
        self.ledger.charge(
            "train",
            tokens=tokens,
            flops=6.0 * self.n_parameters * tokens,
            seconds=self._elapsed(),
        )

    def _elapsed(self) -> float:
        """Seconds since `begin`, without those that are on other accounts already."""
        apart = self._seconds_apart() - self._apart
        return time.perf_counter() - self._started - apart

    def _gradient_sums(self) -> list[torch.Tensor]:
        gradients = self._gradients
        if gradients is None:
            return []
        return [*gradients.sums, torch.from_numpy(gradients.counts)]  # shares the counts' memory

    def _add_up_gradients(self) -> None:
        for total in self._gradient_sums():
            self.ranks.add(total)

    # --- checkpoints ----------------------------------------------------------------------------

    def mark(self) -> dict[str, Any]:
        """What tells this moment of this run from others, JSON-plain; no process waits for it."""
        return {"step": self.step, "mixture": self.mixture.tolist(), **self.stream.state_dict()}

    def state_dict(self) -> dict[str, Any]:
        """Return `tensors` and JSON-plain `scalars`; model and optimiser are the Trainer's to save.

        With several processes all must call it; what they hold of the decision under way is put
        together. Sums of gradients are added up now rather than at its end: a run of several
        processes with gradient signals that was saved amid a decision has them, after resuming,
        but for rounding; everything else, and every run of one process, goes on bit for bit.
        """
        recorded = self._gathered()
        tensors = {f"before.{i}": old for i, old in enumerate(self._weights_before)}
        if recorded:
            tensors["losses"] = torch.stack([losses for _, losses in recorded])
            tensors["domains"] = torch.from_numpy(np.stack([domains for domains, _ in recorded]))
        for i, total in enumerate(self._gradient_sums()):
            tensors[f"gradients.{i}"] = total.clone()
            self.ranks.add(tensors[f"gradients.{i}"])
        scalars = {
            **self._recorder.state_dict(),
            "seconds": self._elapsed(),
            "learning_rate": nan_to_none(np.array([self.learning_rate]))[0],
            "loss_before": nan_to_none(self._before.train_loss),
            "drawn_before": self._before.drawn.tolist(),
            "ends": self.ends,
            "stream": self.stream.state_dict(),
            "ledger": self.ledger.to_json(),
            "weights": samples(self.model),
        }
        plain = {name: x.detach().cpu().contiguous() for name, x in tensors.items()}
        return {"tensors": plain, "scalars": scalars}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on exactly where `saved` was taken (same corpus, settings and number of processes).

        Raises:
            CheckpointError: the Trainer did not restore the weights, or `saved` is another run's.
        """
        scalars, tensors = saved["scalars"], saved["tensors"]
        check_samples(self.model, scalars["weights"])
        self._recorder.load_state_dict(scalars)
        rate = scalars["learning_rate"]
        self.learning_rate = float("nan") if rate is None else rate
        self.stream.load_state_dict(scalars["stream"])
        self.ledger = Ledger.from_json(scalars["ledger"])
        self.begin(self.mixture, scalars["ends"] - self.step)
        self._started -= scalars["seconds"]
        self._before = Before(
            np.array(scalars["loss_before"], dtype=np.float64),
            np.array(scalars["drawn_before"], dtype=np.int64),
        )
        self._weights_before = [
            tensors[f"before.{i}"].to(parameter.device)
            for i, parameter in enumerate(self._norms.parameters)
        ]
        if "losses" in tensors:
            device = next(self.model.parameters()).device
            shape = (len(tensors["losses"]), self.accumulation, self.ranks.world, -1)
            own = tensors["losses"].view(shape)[:, :, self.ranks.rank].to(device)
            domains = tensors["domains"].view(len(own), self.accumulation, -1).numpy()
            self._recorded = [
                list(zip(*step, strict=True)) for step in zip(domains, own, strict=True)
            ]
        if self.ranks.rank == 0:  # the others begin at nothing: sums are added up at the decision
            for i, total in enumerate(self._gradient_sums()):
                total.copy_(tensors[f"gradients.{i}"])

    def fork(self) -> Self:
        """Raise `MixgymError`: the weights are the Trainer's."""
        raise MixgymError(
            "a run inside a Trainer cannot be copied, its weights are the Trainer's: choose an "
            "agent that does not branch it"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.fork()

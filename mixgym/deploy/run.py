"""A training run whose optimiser steps somebody else takes: the `transformers` Trainer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mixgym.deploy.journal import Journal, Replay
from mixgym.deploy.losses import sequence_losses
from mixgym.errors import MixgymError
from mixgym.ledger import Ledger
from mixgym.lm.evaluation import EvaluationWindows
from mixgym.lm.gradients import Capture, DomainGradients, gradient_signals
from mixgym.lm.models import signal_layers
from mixgym.lm.ranks import Ranks
from mixgym.lm.settings import GradientSettings, Settings
from mixgym.lm.stream import Batch, MixtureStream
from mixgym.lm.training import TrainingRun
from mixgym.signals import Signals

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from mixgym.corpus import Corpus


class TrainerRun(TrainingRun):
    """The side of a run that an environment sees, fed by a Trainer as it goes.

    A decision is `begin`, then for every optimiser step `draw` and `note` once a micro-batch and
    `end_step`, then `advance`, which takes no steps but returns the signals of those that were
    taken. Signals, losses and norms are computed by the code of `TrainingRun`. The window order
    follows from `seed` as a `TrainingRun`'s does.

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
        replay: answers of an earlier run to give again, until `go_on`.
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
        replay: Journal | None = None,
    ) -> None:
        self.corpus = corpus
        self.model_spec = "trainer"
        self.settings = settings
        self.total_steps = total_steps
        self.seed = seed
        self.evaluation_seed = evaluation_seed
        self.gradients = gradients
        self.text_sequences = 0
        self.accumulation = accumulation
        self.ranks = ranks or Ranks()
        self.model = model
        _, order, _ = np.random.SeedSequence(seed).generate_state(3, dtype=np.uint64)
        size = settings.batch_size // accumulation
        self.stream = MixtureStream(corpus, size, settings.context, int(order >> 1))
        self.held_out = EvaluationWindows(corpus, settings.context, evaluation_seed)
        self.n_parameters = sum(p.numel() for p in model.parameters())
        self.precision = "fp32"  # accelerate puts its own autocast around the model's forward
        self._layers = signal_layers(model, settings.layers)
        self._bytes_per_token = np.array([d.bytes_per_token("train") for d in corpus.domains])
        self._gradients: DomainGradients | None = None
        if gradients is not None:
            self._gradients = DomainGradients(model, gradients, corpus.K)
        self.ledger = Ledger()
        self.step = self.decision = 0
        self.learning_rate = float("nan")
        self.diverged = False
        self._train_loss = np.full(corpus.K, np.nan)
        self._last_seen = np.zeros(corpus.K, dtype=np.int64)
        self._mixture = corpus.natural.copy()
        self.journal = replay or Journal()
        self._replay = Replay(replay) if replay else None
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

    # --- while the Trainer trains ---------------------------------------------------------------

    def begin(self, mixture: NDArray[np.float64], steps: int) -> None:
        """Draw the coming `steps` optimiser steps by `mixture` ((K,), a mixture)."""
        self._clear()
        self._mixture = mixture
        self._loss_before = self._train_loss.copy()
        self._drawn_before = self.stream.drawn
        self._weights_before = [parameter.detach().clone() for _, parameter in self._layers]
        if self._gradients is not None:
            self._gradients.reset()
        self._batches = self.stream.batches(mixture, steps * self.accumulation)
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
        self.step += 1

    def gathered(self) -> list[tuple[NDArray[np.int64], torch.Tensor]]:
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

    def signals(self) -> Signals:
        """As `TrainingRun.signals`; noted in the journal."""
        if self._replay is not None:
            assert self._replay.start is not None
            return self._replay.start
        self.journal.start = super().signals()
        return self.journal.start

    def advance(self, mixture: ArrayLike, steps: int, *, loss_weights: Any = None) -> Signals:
        """Return the signals of the steps that the Trainer took since `begin`.

        Args:
            mixture: that they were drawn by.
            steps: of a whole decision; the last one of a run may have had fewer.
            loss_weights: none; the Trainer's loss is its own.
        """
        if self._replay is not None:
            signals = self._replay.signals()
        else:
            signals = self._close()
            self.journal.signals.append(signals)
        self.decision = signals.decision
        return signals

    def _close(self) -> Signals:
        steps = len(self._recorded)
        empty = np.empty((0, 0), dtype=np.int64)  # the tokens are not kept
        recorded = [(Batch(empty, domains), losses) for domains, losses in self.gathered()]
        last_loss = self._record_losses(recorded)
        updates = [
            float(torch.linalg.vector_norm(parameter.detach() - old))
            for (_, parameter), old in zip(self._layers, self._weights_before, strict=True)
        ]
        self._norms = self._weight_norms()
        self.decision += 1
        counts = self.stream.drawn - self._drawn_before
        self._add_up_gradients()
        gradients = gradient_signals(self, self._gradients)
        self.charge(steps)
        change = self._train_loss - self._loss_before
        change = np.nan_to_num(change, nan=0.0, posinf=0.0, neginf=0.0)
        signals = self._signals(counts, change, last_loss, np.array(updates))
        return replace(signals, learning_rate=self.learning_rate, **gradients)

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
            seconds=self.elapsed(),
        )

    def elapsed(self) -> float:
        """Seconds since `begin`, without those that are on other accounts already."""
        apart = self._seconds_apart() - self._apart
        return time.perf_counter() - self._started - apart

    def _add_up_gradients(self) -> None:
        gradients = self._gradients
        if gradients is None or self.ranks.world == 1:
            return
        for total in gradients.sums:
            self.ranks.add(total)
        counts = torch.from_numpy(gradients.counts)
        self.ranks.add(counts)

    def evaluate(
        self,
        split: str = "validation",
        *,
        domains: ArrayLike | None = None,
        windows: int = 128,
        account: str = "evaluation",
    ) -> NDArray[np.float64]:
        """As `TrainingRun.evaluate`, the domains divided among the processes.

        What signals and rewards ask for (`account="reward"`) is noted in the journal.
        """
        noted = account == "reward"
        if noted and self._replay is not None:
            return self._replay.loss()
        chosen = list(range(self.corpus.K)) if domains is None else np.asarray(domains).tolist()
        rank, world = self.ranks.rank, self.ranks.world
        result = super().evaluate(
            split, domains=chosen[rank::world], windows=windows, account=account
        )
        if world > 1:
            every = self.ranks.gather(torch.from_numpy(result)).numpy()
            for place, k in enumerate(chosen):
                result[k] = every[place % world, k]
            others = [k for place, k in enumerate(chosen) if place % world != rank]
            number = sum(len(self.held_out.tokens(split, k, windows)) for k in others)
            tokens = number * self.settings.context
            self.ledger.charge(account, tokens=tokens, flops=2.0 * self.n_parameters * tokens)
        if noted:
            self.journal.losses.append(result.copy())
        return result

    def mark(self) -> dict[str, Any]:
        """What tells this moment of this run from others, JSON-plain; no process waits for it."""
        return {"step": self.step, "mixture": self._mixture.tolist(), **self.stream.state_dict()}

    def go_on(self) -> None:
        """End the replay; what the run holds has been restored (`deploy.state`)."""
        self._replay = None

    def fork(self) -> TrainingRun:
        """Raise `MixgymError`: the weights are the Trainer's."""
        raise MixgymError(
            "a run inside a Trainer cannot be copied, its weights are the Trainer's: choose an "
            "agent that does not branch it"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> TrainingRun:
        return self.fork()

"""Steers the data mixture of a `transformers` Trainer by any mixgym agent."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mixgym.corpus import Corpus, load_corpus
from mixgym.deploy import checkpoint
from mixgym.deploy.agents import resolve_agent
from mixgym.deploy.batches import LazyBatch, Ticket, TicketStream
from mixgym.deploy.environment import TrainerEnv, TrainerSetup
from mixgym.deploy.format1 import tell_again
from mixgym.deploy.losses import causal_lm_loss, token_losses
from mixgym.deploy.requirements import (
    check_arguments,
    check_gradients,
    check_installed,
    check_model,
    check_processes,
)
from mixgym.deploy.run import TrainerRun
from mixgym.deploy.settings import environment_arguments, identity, trainer_settings
from mixgym.errors import CheckpointError, MixgymError
from mixgym.ledger import Ledger
from mixgym.lm.ranks import Ranks
from mixgym.signals import Signals
from mixgym.simplex import Mixture

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainingArguments

    from mixgym.agents import Agent
    from mixgym.plotting.history import EpisodeHistory


class MixtureController:
    """Chooses the mixture of a Trainer's batches every few optimiser steps.

    ```python
    controller = MixtureController(corpus, "odm-smoothed", steps_per_decision=10, context=127)
    trainer = Trainer(model=model, **controller.trainer_arguments(args))
    trainer.train()
    ```

    The agent sees what it would see in an environment: the same `Signals`, packed into the same
    observation, from the Trainer's own forward and backward passes. Every sequence's loss is read
    off the log-probabilities of the training loss, which is computed by `compute_loss` exactly as
    the model would; a batch is drawn at the beginning of its optimiser step, so that a decision
    holds from its first sequence on. Losses are in nats per byte.

    Sequences are windows of `context + 1` tokens, which are `input_ids` and `labels` both (the
    model shifts labels itself).

    Args:
        corpus: the text, or its name (`"files:FOLDER"`); its tokenizer must be the model's.
        agent: name or command-line text of an agent, folder of a saved policy, or an agent.
        steps_per_decision: optimiser steps between two decisions.
        context: tokens predicted in a sequence, one less than its length.
        objective: whose validation loss counts: `"mean"`, a domain, a group, a list, or weights.
        seed: of the window order, the agent and action noise.
        validation: validation losses measured at every decision: `"objective"`, `"all"`, or
            `"reward"` (only what a reward or the observation needs), the default. Unless you or
            the agent ask for an observation with validation losses in it, it then costs nothing.
        collator: data collator of everything that is not training, the Trainer's evaluation for
            one; `transformers.default_data_collator` by default.
        arguments: further environment arguments: `groups`, `observation` (`"training"` by default,
            `"default"` if validation losses are measured anyway), `reward` (none by default),
            `gradients`, `action_map` (of agents that have none of their own),
            `action_arguments`, `evaluation_windows`, `evaluation_seed`, `layers`, `loss_decay`.

    Raises:
        MissingExtraError: accelerate is not installed.
        UnknownNameError, ValueError: an agent, domain or argument that is not there.

    Attributes:
        corpus: the text.
        agent: the agent.
        stream: the Trainer's `train_dataset`.
        env: the environment that the agent was started with, from the beginning of training on.
    """

    def __init__(
        self,
        corpus: Corpus | str,
        agent: str | Path | Agent,
        steps_per_decision: int,
        *,
        context: int,
        objective: Any = "mean",
        seed: int = 0,
        validation: str | None = None,
        collator: Callable[[list[Any]], Any] | None = None,
        **arguments: Any,
    ) -> None:
        check_installed()
        self.corpus = load_corpus(corpus) if isinstance(corpus, str) else corpus
        self.agent = resolve_agent(agent)
        self.steps_per_decision = steps_per_decision
        self.context = context
        self.seed = int(seed)
        self.stream = TicketStream()
        self.env: TrainerEnv | None = None
        self._collator = collator
        given = {**arguments, "objective": objective, "steps_per_decision": steps_per_decision}
        if validation is not None:
            given["validation"] = validation
        self._arguments = environment_arguments(
            self.corpus, self.agent, {**given, "context": context}
        )
        self._share: float | None = None
        self.corpus.check_window(context + 1)

    # --- what the Trainer is given --------------------------------------------------------------

    def trainer_arguments(self, args: TrainingArguments) -> dict[str, Any]:
        """Return the Trainer's arguments that make it train on this controller's mixture.

        They are `train_dataset`, `data_collator`, `compute_loss_func`, `callbacks` (add your own
        to the list), and `args`, a copy in which accelerate does not dispatch batches.

        Raises:
            MixgymError: a setting under which the mixture would not be what is decided.
        """
        from mixgym.deploy.callback import MixtureCallback

        args = copy.copy(args)
        config: Any = copy.copy(args.accelerator_config)
        config.dispatch_batches = False
        args.accelerator_config = config
        check_arguments(args)
        return {
            "args": args,
            "train_dataset": self.stream,
            "data_collator": self.collate,
            "compute_loss_func": self.compute_loss,
            "callbacks": [MixtureCallback(self)],
        }

    def collate(self, features: list[Any]) -> Any:
        """Make a batch: of tickets one that is drawn later, of anything else as the `collator`."""
        if isinstance(features[0], Ticket):
            return LazyBatch(partial(self._draw, len(features)))
        if self._collator is None:
            from transformers import default_data_collator

            return default_data_collator(features)
        return self._collator(features)

    def _draw(self, size: int, device: torch.device | None) -> dict[str, torch.Tensor]:
        return self.run.draw(size, device)

    def compute_loss(
        self,
        outputs: Any,
        labels: torch.Tensor | None,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """The Trainer's `compute_loss_func`: the model's own loss, each sequence's noted.

        In evaluation nothing is noted.

        Raises:
            MixgymError: no labels, or a model with an auxiliary loss, which this would leave out.
        """
        if labels is None:
            raise MixgymError("the batch has no labels: the controller's loss needs them")
        if getattr(outputs, "aux_loss", None) is not None:
            raise MixgymError(
                "the model has an auxiliary loss (mixture of experts), which a Trainer's loss "
                "function would leave out: set output_router_logits=False in its configuration"
            )
        logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs[0]
        loss, log_p, targets = causal_lm_loss(logits, labels, num_items_in_batch)
        if logits.requires_grad:
            share = None
            if self._share is not None and num_items_in_batch is not None:
                share = self._share * self.context / float(num_items_in_batch)
            self.run.note(token_losses(log_p, targets, len(labels)), share)
        return loss

    # --- what can be read -----------------------------------------------------------------------

    @property
    def running(self) -> TrainerRun | None:
        """The run, None before training begins."""
        run = None if self.env is None else self.env.run
        return run if isinstance(run, TrainerRun) else None

    @property
    def run(self) -> TrainerRun:
        """The run.

        Raises:
            MixgymError: training has not begun.
        """
        run = self.running
        if run is None:
            raise MixgymError(
                "the controller has not started: give the Trainer callbacks="
                "[MixtureCallback(controller)] (**controller.trainer_arguments(args)) and train"
            )
        return run

    @property
    def mixture(self) -> Mixture:
        """(K,) weights of the decision under way."""
        return self.run.mixture

    @property
    def signals(self) -> Signals:
        """What was seen at the last decision."""
        assert self.run is not None and self.env is not None
        return self.env.signals

    @property
    def ledger(self) -> Ledger:
        """Cost accounts of the run."""
        return self.run.ledger

    @property
    def history(self) -> EpisodeHistory:
        """Steps, mixtures and losses of every decision so far, the first before there was any."""
        return self._environment().episode.history

    # --- what the callback calls ----------------------------------------------------------------

    def start(
        self,
        args: TrainingArguments,
        max_steps: int,
        model: PreTrainedModel,
        saved: checkpoint.SavedControl | None = None,
    ) -> None:
        """Begin with the Trainer's first step, or go on from a checkpoint.

        Args:
            args: the Trainer's.
            max_steps: optimiser steps of the whole run.
            model: the Trainer's, unwrapped, on its device.
            saved: what the checkpoint holds.

        Raises:
            MixgymError: model, corpus, arguments or agent do not fit together.
            CheckpointError: the checkpoint is of another controller.
        """
        check_model(model, self.corpus, self.context)
        check_processes(args)
        ranks = Ranks(args.process_index, args.world_size, args.device)
        accumulation = args.gradient_accumulation_steps
        env = TrainerEnv(
            self.corpus,
            TrainerSetup(model, max_steps, accumulation, ranks),
            **self._arguments,
            **trainer_settings(args, max_steps),
            decisions=ceil(max_steps / self.steps_per_decision),
            model=model.config.to_diff_dict(),
        )
        check_gradients(args, env.gradients, self.agent.name)
        # Of a sequence's mean loss in the loss that is differentiated: `compute_loss` divides it
        # by the tokens of the step, and the Trainer multiplies by the processes.
        self._share = None
        if env.gradients is not None:
            self._share = float(args.world_size if args.average_tokens_across_devices else 1)
        self._identity = {
            "corpus_hash": self.corpus.hash,
            "agent": self.agent.name,
            "seed": self.seed,
            "max_steps": max_steps,
            "gradient_accumulation_steps": accumulation,
            "processes": ranks.world,
            **identity(env),
        }
        if saved is not None:
            checkpoint.check_identity(saved, self._identity)
        self.env = env
        if saved is None:
            self._observation, self._info = env.reset(seed=self.seed)
            self.agent.start(env, self.seed)
            self._decide()
        else:
            self._go_on(saved)

    def _decide(self) -> None:
        env, run = self._environment(), self.run
        action = np.array(self.agent.act(self._observation, self._info), dtype=np.float32)
        env.begin(run.ranks.first(action), min(self.steps_per_decision, run.total_steps - run.step))

    def _go_on(self, saved: checkpoint.SavedControl) -> None:
        env = self._environment()
        if saved.journal is None:
            env.resume(self.seed, saved.episode)
        else:
            env.reset(seed=self.seed)
            tell_again(env.episode, self.run, self.seed, env.task.natural, saved.journal)
        self.run.load_state_dict({"scalars": saved.run, "tensors": saved.tensors})
        self._observation, self._info = env.observed()
        self.agent.start(env, self.seed)
        self.agent.load(saved.agent)

    def step_done(self) -> None:
        """Count an optimiser step; at the end of a decision look at it and make the next one."""
        run = self.run
        run.end_step()
        if run.step < run.ends:
            return
        env = self._environment()
        if run.diverged:
            run.charge((run.step - 1) % self.steps_per_decision + 1)  # the last may be shorter
        else:
            reward, ended = env.end()
            self._observation, self._info = env.observed()
            self.agent.observe(reward, ended, False, self._info)
            if env.signals.diverged:
                warnings.warn(
                    f"the loss diverged at step {run.step}: the mixture stays as it is from here "
                    "on; lower the learning rate",
                    stacklevel=2,
                )
                run.stop()
        if run.step >= run.total_steps:
            return
        if run.diverged:
            run.begin(run.mixture, min(self.steps_per_decision, run.total_steps - run.step))
        else:
            self._decide()

    def save(self, folder: Path, *, write: bool) -> None:
        """Write the controller's state into a Trainer's checkpoint; every process must call it.

        Args:
            folder: the checkpoint.
            write: whether this process writes.

        Raises:
            CheckpointError: the Trainer made no such folder.
        """
        state = self.run.state_dict()
        if not write:
            return
        if not folder.is_dir():
            raise CheckpointError(f"the Trainer saved no checkpoint in {folder}")
        target = folder / checkpoint.FOLDER
        saved = checkpoint.SavedControl(
            target,
            self._identity,
            self.run.mark(),
            state["scalars"],
            state["tensors"],
            self._environment().episode.state_dict(),
        )
        checkpoint.write_control(saved, self.agent.save)

    def _environment(self) -> TrainerEnv:
        assert self.env is not None
        return self.env

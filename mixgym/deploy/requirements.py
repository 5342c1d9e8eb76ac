"""What a Trainer must be set to so that a controller can steer it; said before it trains."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mixgym.errors import MixgymError, missing_extra

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainingArguments

    from mixgym.corpus import Corpus
    from mixgym.lm.settings import GradientSettings


def check_installed() -> None:
    """Raise `MissingExtraError` without the Trainer's own dependency."""
    if importlib.util.find_spec("accelerate") is None:
        raise missing_extra("accelerate", "deploy", "mixgym.deploy")


def check_arguments(args: TrainingArguments) -> None:
    """Raise `MixgymError` for a setting under which the mixture would not be what is decided."""
    config: Any = args.accelerator_config
    split = bool(getattr(config, "split_batches", False))
    dispatched = getattr(config, "dispatch_batches", None) is not False
    problems = {
        f"dataloader_num_workers={args.dataloader_num_workers}: workers draw batches long before "
        "the decision that they belong to; set it to 0": args.dataloader_num_workers != 0,
        f"label_smoothing_factor={args.label_smoothing_factor}: a Trainer with a loss function "
        "ignores it; set it to 0": args.label_smoothing_factor != 0,
        f"{args.n_gpu} GPUs in one process: start one process a GPU with torchrun": args.n_gpu > 1,
        "fsdp: the weights are in pieces, whose norms and gradients cannot be read; use data "
        "parallelism (torchrun without fsdp)": bool(args.fsdp),
        "deepspeed: the weights are in pieces, whose norms and gradients cannot be read; use data "
        "parallelism (torchrun without it)": bool(args.deepspeed),
        "batches dispatched by accelerate, which reads them ahead of time: build the Trainer with "
        "**controller.trainer_arguments(args), or give TrainingArguments "
        "accelerator_config={'dispatch_batches': False}": dispatched,
        "accelerator_config={'split_batches': True}: every process draws its own part of a batch; "
        "leave it out": split,
    }
    for problem, present in problems.items():
        if present:
            raise MixgymError(f"MixtureCallback cannot run with {problem}")


def check_processes(args: TrainingArguments, environment: Mapping[str, str] = os.environ) -> None:
    """Check that there are as many processes as whoever launched this one asked for.

    Args:
        args: the Trainer's.
        environment: this process's environment variables.

    Raises:
        MixgymError: every process would train a run of its own.
    """
    asked = environment.get("WORLD_SIZE", "1")
    if asked.isdecimal() and int(asked) > 1 and args.world_size == 1:
        raise MixgymError(
            f"WORLD_SIZE={asked} processes were asked for, and the Trainer knows of one: start "
            "them with torchrun --nproc-per-node, or unset WORLD_SIZE"
        )
    # `accelerate launch --cpu --num_processes N` starts one process, with a master to talk to.
    launched = "ACCELERATE_USE_CPU" in environment and "MASTER_ADDR" in environment
    if launched and args.world_size == 1:
        warnings.warn(
            "accelerate launch seems to have been asked for several processes and has started one: "
            "use torchrun --nproc-per-node N instead",
            stacklevel=2,
        )


def check_gradients(
    args: TrainingArguments, gradients: GradientSettings | None, agent: str
) -> None:
    """Raise `MixgymError` where an agent needs gradients that cannot be measured."""
    if gradients is None:
        return
    for setting, why in (("fp16", "loss scaling"), ("torch_compile", "compiled layers")):
        if getattr(args, setting, False):
            raise MixgymError(
                f"agent {agent!r} needs the domains' gradients ({', '.join(gradients.kinds)}), "
                f"which cannot be measured under {setting} ({why}): train without {setting}, or "
                "choose an agent that needs none"
            )


def check_data(loader: Any, stream: Any, collate: Any) -> None:
    """Raise `MixgymError` unless the Trainer trains on `stream` through `collate`."""
    dataset = getattr(loader, "dataset", None)
    if dataset is not stream and getattr(dataset, "dataset", None) is not stream:
        raise MixgymError(
            "the Trainer trains on another dataset: pass train_dataset=controller.stream "
            "(**controller.trainer_arguments(args) has it)"
        )
    given = getattr(loader, "collate_fn", None)
    if getattr(given, "data_collator", given) != collate:
        raise MixgymError(
            "the Trainer has another data collator, which would read batches before they are "
            "decided: pass data_collator=controller.collate and give yours, if evaluation needs "
            "it, to MixtureController(collator=...)"
        )


def check_model(model: PreTrainedModel, corpus: Corpus, context: int) -> None:
    """Raise `MixgymError` for a model that cannot hold the corpus's tokens or windows."""
    vocabulary = getattr(model.config, "vocab_size", None)
    if vocabulary is None or vocabulary < corpus.tokenizer.vocab_size:
        raise MixgymError(
            f"the model has {vocabulary} tokens, the corpus's tokenizer "
            f"{corpus.tokenizer.vocab_size}: load the corpus with the model's own tokenizer, "
            "load_corpus(..., tokenizer='hf:NAME_OR_PATH')"
        )
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and longest < context + 1:
        raise MixgymError(
            f"the model holds {longest} tokens, a sequence has {context + 1} (context + 1): give "
            f"MixtureController a context of at most {longest - 1}"
        )

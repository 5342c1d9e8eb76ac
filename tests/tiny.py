"""What is small enough to be trained within a test: an environment, models, a Trainer."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixgym.signals import Signals

if TYPE_CHECKING:
    import torch
    from transformers import TrainingArguments

ENV = "mixgym/NanoPretrain-v0"

#: Arguments of an environment whose episode is over in a moment.
TINY: dict[str, Any] = {
    "domains": ["recipes", "python", "icd10"],
    "limit": None,
    "decisions": 3,
    "steps_per_decision": 2,
    "evaluation_windows": 2,
    "report_windows": 2,
}

#: Of two domains, where what is drawn of them does not matter.
TWO: dict[str, Any] = {**TINY, "domains": ["recipes", "python"]}

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def unmeasured(K: int = 4, **given: Any) -> Signals:
    """Signals of a run that has not begun, but for what is given."""

    def zeros() -> np.ndarray:
        return np.zeros(K, dtype=np.float32)

    def nans() -> np.ndarray:
        return np.full(K, np.nan, dtype=np.float32)

    values: dict[str, Any] = {
        "mixture": np.full(K, 1 / K, dtype=np.float32),
        "counts": zeros(),
        "tokens": zeros(),
        "epochs": zeros(),
        "train_loss": nans(),
        "train_loss_age": zeros(),
        "train_loss_change": zeros(),
        "last_loss": nans(),
        "validation_loss": nans(),
        "validation_change": nans(),
        "starved": np.zeros(K, dtype=np.bool_),
    }
    for name, value in given.items():
        array = isinstance(value, list | tuple | np.ndarray)
        values[name] = np.asarray(value, dtype=np.float32) if array else value
    return Signals(**values)


#: Ways to copy a run, by name; a path is for those that need a place.
COPIES: dict[str, Callable[[Any, Path], Any]] = {
    "fork": lambda run, path: run.fork(),
    "deepcopy": lambda run, path: copy.deepcopy(run),
    "pickle": lambda run, path: pickle.loads(pickle.dumps(run)),
}


def flip_last_bit(path: Path) -> None:
    """Damage a file where its length does not tell."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def llama(context: int = 15, **changes: Any) -> torch.nn.Module:
    """An untrained byte model, the same at every call, with room for `context` + 1 tokens."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from mixgym.lm.threads import private_rng

    size = {"vocab_size": 256, "max_position_embeddings": context + 1, "use_cache": False}
    values: dict[str, Any] = {**LLAMA, **size, **changes}
    with private_rng(7):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(**values))


def trainer_arguments(out: Path, **changes: Any) -> TrainingArguments:
    """A Trainer's, on the CPU, silent, saving nothing unless it is told to."""
    from transformers import TrainingArguments

    values: dict[str, Any] = {
        "output_dir": str(out),
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_strategy": "no",
        "use_cpu": True,
        "dataloader_pin_memory": False,
    }
    return TrainingArguments(**{**values, **changes})

"""A tiny model, two domains and a Trainer around them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from deploy_watch import Seen
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainingArguments

from mixgym.corpus import Corpus
from mixgym.deploy import MixtureController
from mixgym.lm.threads import private_rng

CONTEXT = 15


@pytest.fixture
def watch() -> type[Seen]:
    return Seen


@pytest.fixture(scope="session")
def untrained(two_domains: Corpus) -> torch.nn.Module:
    config = AutoConfig.for_model(
        "llama",
        vocab_size=two_domains.tokenizer.vocab_size,
        max_position_embeddings=CONTEXT + 1,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        attention_dropout=0.1,
        use_cache=False,
    )
    with private_rng(7):
        return AutoModelForCausalLM.from_config(config)


@pytest.fixture
def model(untrained: torch.nn.Module) -> torch.nn.Module:
    return copy.deepcopy(untrained)


@pytest.fixture
def without_dropout() -> Callable[[torch.nn.Module], torch.nn.Module]:
    def change(model: torch.nn.Module) -> torch.nn.Module:
        for module in model.modules():
            if hasattr(module, "attention_dropout"):
                setattr(module, "attention_dropout", 0.0)  # noqa: B010
        return model

    return change


@pytest.fixture
def arguments(tmp_path: Path) -> Callable[..., TrainingArguments]:
    def build(**given: Any) -> TrainingArguments:
        values: dict[str, Any] = {
            "output_dir": str(tmp_path / "out"),
            "max_steps": 6,
            "per_device_train_batch_size": 4,
            "learning_rate": 1e-2,
            "report_to": "none",
            "disable_tqdm": True,
            "save_strategy": "no",
            "logging_strategy": "no",
            "use_cpu": True,
            "dataloader_pin_memory": False,
        }
        return TrainingArguments(**{**values, **given})

    return build


@pytest.fixture
def control(two_domains: Corpus) -> Callable[..., MixtureController]:
    def build(agent: Any = "uniform", steps: int = 2, **given: Any) -> MixtureController:
        return MixtureController(two_domains, agent, steps, context=CONTEXT, **given)

    return build


@pytest.fixture
def train() -> Callable[..., Trainer]:
    def run(
        model: torch.nn.Module,
        args: TrainingArguments,
        controller: MixtureController,
        resume: str | None = None,
        **given: Any,
    ) -> Trainer:
        trainer = Trainer(model, **{**controller.trainer_arguments(args), **given})
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    return run

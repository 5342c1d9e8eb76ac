"""A tiny model, two domains and a Trainer around them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainingArguments

from mixgym.corpus import Corpus
from mixgym.deploy import MixtureController
from tests.deploy.deploy_watch import Seen
from tests.tiny import llama, trainer_arguments

CONTEXT = 15


@pytest.fixture
def watch() -> type[Seen]:
    return Seen


@pytest.fixture(scope="session")
def untrained() -> torch.nn.Module:
    return llama(CONTEXT, attention_dropout=0.1)


@pytest.fixture
def model(untrained: torch.nn.Module) -> torch.nn.Module:
    return copy.deepcopy(untrained)


@pytest.fixture
def without_dropout(untrained: torch.nn.Module) -> torch.nn.Module:
    model = copy.deepcopy(untrained)
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            setattr(module, "attention_dropout", 0.0)  # noqa: B010
    return model


@pytest.fixture
def arguments(tmp_path: Path) -> Callable[..., TrainingArguments]:
    def build(**given: Any) -> TrainingArguments:
        return trainer_arguments(tmp_path / "out", **{"max_steps": 6, **given})

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

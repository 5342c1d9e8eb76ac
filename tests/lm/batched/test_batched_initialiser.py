"""Weights drawn again are the weights of a model that is built."""

from __future__ import annotations

import copy

import pytest
import torch
from test_batched_run import GPT2, LLAMA, NEOX

from mixgym.lm.batched.initialiser import Initialiser
from mixgym.lm.batched.layout import ParameterLayout
from mixgym.lm.models import build_model, model_config


@pytest.mark.parametrize("spec", [NEOX, LLAMA, GPT2, "nano"], ids=["neox", "llama", "tied", "nano"])
def test_rows_are_the_built_models(spec: object) -> None:
    config = model_config(spec, 257, 64)  # type: ignore[arg-type]

    def build(seed: int) -> torch.nn.Module:
        return build_model(spec, copy.deepcopy(config), seed)  # type: ignore[arg-type]

    layout = ParameterLayout(build(0))
    initialiser = Initialiser(build, layout)
    assert initialiser.replays
    state = torch.get_rng_state()
    for seed in (0, 5, 2**62):
        assert torch.equal(initialiser.row(seed), layout.row(build(seed)))
    assert torch.equal(torch.get_rng_state(), state)


class _Computed(torch.nn.Module):
    """Computes with what it drew."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        drawn = torch.randn(4, 4, generator=torch.Generator().manual_seed(seed))
        self.weight = torch.nn.Parameter(2.0 * drawn)


def test_what_cannot_be_drawn_again_is_built() -> None:
    initialiser = Initialiser(_Computed, ParameterLayout(_Computed(0)))
    assert not initialiser.replays
    assert torch.equal(initialiser.row(3), _Computed(3).weight.detach().flatten())

"""A run owns its torch state, whatever the caller's."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_training import SETTINGS, TINY, parameters, trajectory

from mixgym.corpus import Corpus
from mixgym.errors import MixgymError
from mixgym.lm.settings import GradientSettings, Settings
from mixgym.lm.torchstate import check_device, own_torch_state
from mixgym.lm.training import TrainingRun


@contextmanager
def default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def rounded_products() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


AROUND: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "float64": default_dtype,
    "meta": lambda: torch.device("meta"),
    "medium": rounded_products,
}


def state() -> tuple[Any, ...]:
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.autocast_increment_nesting() - torch.autocast_decrement_nesting(),
        torch.autocast_increment_nesting(),
        torch.autocast_decrement_nesting(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.get_float32_matmul_precision(),
        torch.get_num_threads(),
    )


def make(corpus: Corpus, precision: str) -> TrainingRun:
    gradients = GradientSettings(("gram", "objective"), windows=2, objective=(0.5, 0.5))
    settings = SETTINGS.updated({"precision": precision})
    return TrainingRun(corpus, TINY, total_steps=100, settings=settings, gradients=gradients)


def everything(corpus: Corpus, precision: str, path: Path) -> tuple[list[Any], torch.Tensor]:
    run = make(corpus, precision)
    seen: list[Any] = [run.signals().to_json(), trajectory(run)]
    twin = pickle.loads(pickle.dumps(run.fork()))
    run.save(path)
    restored = TrainingRun.load(path, corpus)
    run.load_state_dict(twin.state_dict())
    seen += [trajectory(other) for other in (twin, restored, run)]
    seen.append(run.advance([0.5, 0.5], 1).to_json())
    with torch.inference_mode(False), torch.device("cpu"):
        return seen, parameters(run)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("around", AROUND)
def test_a_run_is_the_same_under_any_state_of_torch_and_leaves_it(
    two_domains: Corpus, tmp_path: Path, around: str, precision: str
) -> None:
    expected, weights = everything(two_domains, precision, tmp_path / "plain")
    with AROUND[around]():
        before = state()
        seen, found = everything(two_domains, precision, tmp_path / "around")
        assert state() == before
    assert seen == expected
    assert torch.equal(found, weights)
    assert not found.is_inference()


def test_a_run_made_outside_goes_on_inside(two_domains: Corpus) -> None:
    outside, inside = make(two_domains, "fp32"), make(two_domains, "fp32")
    first, second = (trajectory(outside), trajectory(outside))
    assert trajectory(inside) == first
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert trajectory(inside) == second


def test_the_callers_state_is_restored_after_an_error() -> None:
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16), default_dtype():
        before = state()
        with pytest.raises(KeyError), own_torch_state(1):
            assert torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
            assert torch.ones(1).dtype == torch.float32
            raise KeyError
        assert state() == before


def test_products_are_not_rounded_inside() -> None:
    with rounded_products(), own_torch_state(1):
        assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"  # pyright: ignore


def test_a_device_that_is_not_there_is_named(
    two_domains: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings = Settings(context=16, device="cuda")
    with pytest.raises(MixgymError, match=r"device='cuda'.*or use device='cpu'"):
        TrainingRun(two_domains, TINY, total_steps=1, settings=settings)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_device("cuda:1")
    with pytest.raises(MixgymError, match=r"device='cuda:2'.*'cuda:0' to 'cuda:1'"):
        check_device("cuda:2")


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("threads", 100000, "threads must be at most 256, got 100000"),
        ("warmup_steps", float("nan"), "warmup_steps must be finite, got nan"),
        ("weight_decay", float("inf"), "weight_decay must be finite, got inf"),
        ("clip", float("nan"), "clip must be finite"),
        ("layers", "mlp[", r"layers must be a regular expression.*'mlp\['"),
        ("layers", 3, "layers must be a regular expression"),
        ("device", "cuda:first", "unknown device 'cuda:first'"),
        ("device", "cpu:", "unknown device"),
    ],
)
def test_settings_name_a_bad_value(argument: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings().updated({argument: value})


def test_gradients_name_a_bad_pattern() -> None:
    with pytest.raises(ValueError, match="gradients: layers must be a regular expression"):
        GradientSettings(layers="(")


@pytest.mark.parametrize("seed", [None, float("nan"), 1.5, "1", object(), True])
def test_seeds_are_whole_numbers(two_domains: Corpus, seed: Any) -> None:
    given: dict[str, Any] = {"total_steps": 1, "settings": SETTINGS}
    with pytest.raises(ValueError, match="evaluation_seed must be a whole number, got"):
        TrainingRun(two_domains, TINY, evaluation_seed=seed, **given)
    with pytest.raises(ValueError, match=r"^seed must be a whole number >= 0, got"):
        TrainingRun(two_domains, TINY, seed=seed, **given)


def test_numpys_integers_are_the_same_seeds(two_domains: Corpus) -> None:
    seeds: list[Any] = [3, np.int64(3)]
    plain, numpys = (
        TrainingRun(two_domains, TINY, total_steps=1, seed=s, evaluation_seed=s, settings=SETTINGS)
        for s in seeds
    )
    assert torch.equal(parameters(plain), parameters(numpys))
    tokens = [run.held_out.tokens("test", 0, 4) for run in (plain, numpys)]
    assert np.array_equal(tokens[0], tokens[1])


@pytest.mark.parametrize(
    "change", [{"hidden_size": 7}, {"num_attention_heads": 0}, {"hidden_act": "none"}]
)
def test_a_model_that_cannot_be_built_is_named(two_domains: Corpus, change: dict[str, Any]) -> None:
    with pytest.raises(MixgymError, match=f"'{next(iter(change))}': "):
        TrainingRun(two_domains, {**TINY, **change}, total_steps=1, settings=SETTINGS)

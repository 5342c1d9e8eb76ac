"""What proxies start from: the weights of the episode, not fresh ones."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import mixgym_agents.proxies.store
import numpy as np
import pytest
import torch
from mixgym_agents.proxies.dbl import DynamicBatchLoading
from mixgym_agents.proxies.doremi import DoReMi
from mixgym_agents.proxies.mixing_law import MixingLawAgent

import mixgym  # noqa: F401
from mixgym.lm.base import ensure_base
from mixgym.lm.checkpoint import load_weights
from mixgym.lm.settings import PRESETS

SHORT: dict[str, Any] = {
    "decisions": 2, "steps_per_decision": 2, "evaluation_windows": 2, "batch_size": 4,
    "context": 16, "action_map": "simplex",
}  # fmt: skip
CONTINUAL: dict[str, Any] = {**SHORT, "base": {"steps": 4}, "feedback_items": 2, "report_items": 2}
OTHER = {**PRESETS["nano"].config, "hidden_size": 16, "intermediate_size": 64}


def continual(options: dict[str, Any] | None = None, **arguments: Any) -> Any:
    env = gym.make(
        "mixgym/NanoContinual-v0", disable_env_checker=True, **{**CONTINUAL, **arguments}
    )
    env.reset(seed=0, options=options)
    return env.unwrapped


def parameters(run: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in run.model.parameters()])


def proxy(inner: Any, **arguments: Any) -> Any:
    agent = MixingLawAgent(proxies=4, steps=2, **arguments)
    agent.start(inner, 0)
    return agent.proxy(inner, 7)


@pytest.mark.parametrize("model", [None, "nano"])
def test_a_proxy_of_a_continual_environment_starts_from_its_base(model: str | None) -> None:
    inner = continual()
    start = parameters(inner.run)
    inner.run.advance(np.array([0.5, 0.5]), 1)
    run = proxy(inner, model=model)
    assert torch.equal(parameters(run), start) and run.step == 0
    assert not torch.equal(parameters(inner.run), start)
    assert inner.ledger.accounts["proxy"].tokens == 0
    fresh = continual(base={"steps": 0})
    assert not torch.equal(parameters(proxy(fresh)), start)


def test_a_proxy_starts_from_the_checkpoint_of_the_reset(tmp_path: Path) -> None:
    arguments = {**SHORT, "domains": ["recipes", "python"], "limit": {}}
    env: Any = gym.make("mixgym/NanoPretrain-v0", disable_env_checker=True, **arguments)
    env.reset(seed=0)
    env.step(np.array([0.5, 0.5], dtype=np.float32))
    env.unwrapped.run.save(tmp_path / "run")
    trained = parameters(env.unwrapped.run)
    assert not torch.equal(parameters(proxy(env.unwrapped)), trained)
    env.reset(seed=1, options={"checkpoint": tmp_path / "run"})
    assert torch.equal(parameters(proxy(env.unwrapped)), trained)
    env.reset(seed=1)
    assert not torch.equal(parameters(proxy(env.unwrapped)), trained)


def test_another_model_starts_from_its_own_base_which_is_charged_once() -> None:
    inner = continual()
    agent = MixingLawAgent(proxies=4, steps=2, model=OTHER)
    agent.start(inner, 0)
    runs = [agent.proxy(inner, 7) for _ in range(2)]
    spec = inner.arguments.updated({"model": OTHER}).base_spec(inner.settings)
    base = ensure_base(spec)
    assert base.folder != inner.base.folder
    expected = runs[0].fork()
    load_weights(expected, base.folder / "checkpoint", base.corpus)
    for run in runs:
        assert torch.equal(parameters(run), parameters(expected))
    cost = base.record["ledger"]
    paid = sum(account["tokens"] for account in cost.values())
    assert inner.ledger.accounts["proxy"].tokens == paid > 0
    fresh = continual(base={"steps": 0})
    assert not torch.equal(parameters(proxy(fresh, model=OTHER)), parameters(expected))


def test_references_start_from_the_base_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixgym_agents.proxies.store, "cache_root", lambda: tmp_path)
    inner = continual(validation="all")
    dbl = DynamicBatchLoading(steps=1)
    dbl.start(inner, 0)
    reference = inner.run.fork()
    measured = dbl.measure(inner)
    started = reference.evaluate(windows=2)
    assert np.abs(measured - started).max() < 0.2
    seen: list[torch.Tensor] = []

    def keep(self: Any, run: Any, trained: Any, sampling: Any) -> Any:
        seen.extend([parameters(run), parameters(trained)])
        raise KeyboardInterrupt

    monkeypatch.setattr(DoReMi, "dro_run", keep)
    doremi = DoReMi(steps=1)
    doremi.start(inner, 0)
    with pytest.raises(KeyboardInterrupt):
        doremi.act(np.zeros(0), {})
    start = parameters(reference)
    assert torch.equal(seen[0], start)
    assert 0 < float((seen[1] - start).abs().max()) < 0.1


def test_reports_compare_with_the_start_though_its_checkpoint_is_gone(tmp_path: Path) -> None:
    first = continual()
    first.step(np.array([0.5, 0.5], dtype=np.float32))
    first.run.save(tmp_path / "run")
    inner = continual({"checkpoint": tmp_path / "run"})
    before = inner.report()
    assert before["retention"] == before["gain"] == 0.0
    inner.step(np.array([0.0, 1.0], dtype=np.float32))
    expected = inner.report()
    shutil.rmtree(tmp_path / "run")
    inner.run.save(tmp_path / "run")
    assert inner.report() == expected
    assert expected["gain"] == pytest.approx(before["domain_loss"][1] - expected["domain_loss"][1])
    assert expected["gain"] != 0.0

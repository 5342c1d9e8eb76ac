"""DoReMi and DoGE with their proxies: the rules, the reweighted loss, the bill."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mixgym_agents.proxies.doge import Doge
from mixgym_agents.proxies.doremi import DoReMi, ExcessWeights, GroupDro

from mixgym.errors import CheckpointError, MixgymError
from tests.agents import short
from tests.agents.short import UNIFORM, first_action

LONGER: dict[str, Any] = {"decisions": 4, "steps_per_decision": 3, "batch_size": 8}


def make(**arguments: Any) -> Any:
    return short.make(**{**LONGER, **arguments})


# --- the rule


def test_group_dro_follows_its_equation() -> None:
    rng = np.random.default_rng(0)
    dro = GroupDro(4, eta=0.7, smoothing=1e-2)
    weights, last, total = np.full(4, 0.25), np.zeros(4), np.zeros(4)
    for _ in range(6):
        domains = rng.integers(0, 3, size=8)  # domain 3 is never sampled
        excess = rng.normal(size=(8, 5))
        for d in range(4):
            tokens = excess[domains == d]
            if len(tokens):
                last[d] = np.maximum(tokens, 0).mean()
        raised = np.exp(np.log(weights) + 0.7 * last)
        weights = (1 - 1e-2) * raised / raised.sum() + 1e-2 / 4
        total += weights
        np.testing.assert_allclose(dro.update(excess, domains), weights, rtol=1e-12)
    np.testing.assert_allclose(dro.average, total / 6, rtol=1e-12)
    assert weights[3] < 0.25


def test_clipping_is_per_token() -> None:
    """Excesses that cancel within a sequence still count (clipping the mean would hide them)."""
    dro = GroupDro(2, eta=1.0, smoothing=0.0)
    dro.update(np.array([[3.0, -3.0], [0.0, 0.0]]), np.array([0, 1]))
    np.testing.assert_allclose(dro.excess, [1.5, 0.0])
    raised = np.exp([1.5, 0.0])
    np.testing.assert_allclose(dro.weights, raised / raised.sum())


# --- the proxies


def test_the_dro_proxys_loss_is_really_reweighted() -> None:
    """A released reimplementation's proxy trained on the plain loss; ours must not."""
    env = make()
    agent = DoReMi(steps=4, eta=5.0)
    agent.start(env, 0)
    inner = env.unwrapped
    reference, proxy = agent.proxy(inner, 1), agent.proxy(inner, 1)
    plain, replayed = agent.proxy(inner, 1), agent.proxy(inner, 1)
    reference.advance([0.9, 0.05, 0.05], 4)
    # Recompute the weights by hand, step by step, on a twin that trains with them fixed.
    expected, last = np.full(3, 1 / 3), np.zeros(3)
    for _ in range(4):
        (batch,) = copy.deepcopy(replayed.stream).batches(UNIFORM, 1)
        windows = torch.from_numpy(batch.tokens)
        with torch.no_grad():
            loss, ours = (
                -torch.log_softmax(run.model(input_ids=windows[:, :-1]).logits.double(), -1)
                .gather(-1, windows[:, 1:, None])
                .squeeze(-1)
                .numpy()
                for run in (reference, replayed)
            )
        for d in np.unique(batch.domains):
            last[d] = np.maximum(ours - loss, 0)[batch.domains == d].mean()
        raised = expected * np.exp(5.0 * last)
        expected = (1 - 1e-3) * raised / raised.sum() + 1e-3 / 3
        replayed.advance(UNIFORM, 1, loss_weights=expected * 3)
    dro = agent.dro_run(proxy, reference, UNIFORM)
    np.testing.assert_allclose(dro.weights, expected, rtol=1e-4)
    plain.advance(UNIFORM, 4)

    def parameters(run: Any) -> torch.Tensor:
        return torch.cat([p.detach().flatten() for p in run.model.parameters()])

    torch.testing.assert_close(parameters(proxy), parameters(replayed), rtol=1e-3, atol=1e-5)
    difference = float((parameters(proxy) - parameters(plain)).norm())
    assert difference > 100 * float((parameters(proxy) - parameters(replayed)).norm())
    assert np.abs(dro.weights - 1 / 3).max() > 0.02


def test_sampling_is_corrected_for(monkeypatch: pytest.MonkeyPatch) -> None:
    env = make()
    agent = DoReMi(steps=2, sampling=[0.5, 0.25, 0.25])
    agent.start(env, 0)
    reference, proxy = agent.proxy(env.unwrapped, 0), agent.proxy(env.unwrapped, 0)
    given: list[np.ndarray] = []
    monkeypatch.setattr(GroupDro, "update", lambda self, excess, domains: np.array([0.2, 0.3, 0.5]))
    original = ExcessWeights.__call__

    def spy(self: ExcessWeights, batch: Any, losses: Any) -> np.ndarray:
        given.append(original(self, batch, losses))
        return given[-1]

    monkeypatch.setattr(ExcessWeights, "__call__", spy)
    agent.dro_run(proxy, reference, np.array([0.5, 0.25, 0.25]))
    np.testing.assert_allclose(given, np.tile([0.4, 1.2, 2.0], (2, 1)))


@pytest.mark.parametrize("kind", [DoReMi, Doge])
def test_the_mixture_is_found_once_and_then_fixed(kind: Any) -> None:
    env = make()
    agent = kind(steps=6)
    first = first_action(agent, env)
    assert first in env.action_space and np.abs(first - 1 / 3).max() > 1e-4
    paid = env.unwrapped.ledger.accounts["proxy"].tokens
    assert paid > 0
    for _ in range(3):
        _, _, _, _, info = env.step(first)
        np.testing.assert_array_equal(agent.act(np.zeros(0), info), first)
    assert env.unwrapped.ledger.accounts["proxy"].tokens == paid
    np.testing.assert_array_equal(first_action(kind(steps=6), make()), first)
    assert not np.array_equal(first_action(kind(steps=6), make(), seed=1), first)


def test_every_token_of_doremis_proxies_is_on_the_ledger() -> None:
    env = make()
    first_action(DoReMi(), env)
    inner, tokens = env.unwrapped, 4 * 3 * 8 * 16
    account = inner.ledger.accounts["proxy"]
    # reference and proxy trained with the run's budget, the reference run on the proxy's batches
    assert account.tokens == 3 * tokens
    assert account.flops == (6 + 6 + 2) * inner.run.n_parameters * tokens
    assert account.seconds > 0
    assert inner.ledger.accounts["train"].tokens == 0


def test_every_token_of_doges_proxy_is_on_the_ledger() -> None:
    env = make()
    first_action(Doge(interval=5), env)
    inner, tokens = env.unwrapped, 4 * 3 * 8 * 16
    account = inner.ledger.accounts["proxy"]
    assert account.tokens == tokens
    assert account.flops > 6 * inner.run.n_parameters * tokens  # and the gradients' products


@pytest.mark.parametrize("kind", [DoReMi, Doge])
def test_searching_does_not_touch_the_run(kind: Any) -> None:
    plain, searched = make(), make()
    first_action(kind(steps=4), searched)
    for env in (plain, searched):
        env.step(UNIFORM.astype(np.float32))
    np.testing.assert_array_equal(
        plain.unwrapped.signals.train_loss, searched.unwrapped.signals.train_loss
    )


def test_doges_proxy_follows_its_rule() -> None:
    env = make()
    agent = Doge(steps=7, interval=3, mu=0.01)
    agent.start(env, 4)
    inner = env.unwrapped
    from mixgym.lm.settings import GradientSettings

    twin = agent.proxy(inner, 9, GradientSettings())
    weights, scores, seen = UNIFORM, np.zeros(3), []
    for steps in (3, 3, 1):
        signals = twin.advance(UNIFORM, steps, loss_weights=weights)
        gram = signals.gram.astype(np.float64)
        for i in range(3):
            if signals.counts[i]:
                product = np.nansum(gram[i]) - gram[i, i]
                scaled = product / (np.nanmean(signals.gradient_norms) + 1e-6)
                scores[i] = signals.learning_rate * np.clip(scaled, 0, 5) / 0.01
        weights = weights * np.exp(scores)
        weights = weights / weights.sum()
        seen.append(weights)
    np.testing.assert_allclose(agent.search(inner, 9), np.mean(seen, axis=0), rtol=1e-4)


def test_a_smaller_proxy_keeps_the_token_budget() -> None:
    small = {"model_type": "gpt_neox", "hidden_size": 16, "num_hidden_layers": 1,
             "num_attention_heads": 2, "intermediate_size": 32}  # fmt: skip
    env = make()
    agent = DoReMi(model=small)
    agent.start(env, 0)
    proxy = agent.proxy(env.unwrapped, 0)
    assert proxy.n_parameters < env.unwrapped.run.n_parameters
    assert (proxy.settings.batch_size, proxy.settings.context) == (8, 16)
    assert proxy.total_steps == 12
    assert proxy.seed == 0 and agent._seed != 0


@pytest.mark.parametrize("kind", [DoReMi, Doge])
def test_a_saved_search_is_not_repeated(kind: Any, tmp_path: Path) -> None:
    env = make()
    agent = kind(steps=4)
    first = first_action(agent, env)
    agent.save(tmp_path / "agent.json")
    again, other = kind(steps=4), make()
    again.start(other, 0)
    again.load(tmp_path / "agent.json")
    np.testing.assert_array_equal(again.act(np.zeros(0), {}), first)
    assert other.unwrapped.ledger.accounts["proxy"].tokens == 0
    different = kind(steps=5)
    different.start(other, 0)
    with pytest.raises(CheckpointError, match="arguments"):
        different.load(tmp_path / "agent.json")


def test_what_the_environment_cannot_do_is_said() -> None:
    with pytest.raises(MixgymError, match="simplex"):
        DoReMi().start(make(action_map="softmax"), 0)
    with pytest.raises(ValueError, match="every domain needs some"):
        DoReMi(sampling={"recipes": 1.0}).start(make(), 0)
    with pytest.raises(ValueError, match="recipe"):
        DoReMi(reference="recipe").start(make(), 0)


def test_a_diverging_proxy_is_an_error_and_still_paid() -> None:
    env = make(learning_rate=1e6, warmup_steps=0, clip=1e6, decisions=40)
    with pytest.raises(MixgymError, match="diverged"):
        first_action(DoReMi(), env)
    assert env.unwrapped.ledger.accounts["proxy"].tokens > 0

"""The swarm: its random mixtures, its proxies and their cache, its bill."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import mixgym_agents.proxies.store
import numpy as np
import pytest
from mixgym_agents.proxies.mixing_law import MixingLawAgent
from mixgym_agents.proxies.regmix import RegMix
from mixgym_agents.proxies.store import ProxyStore
from mixgym_agents.proxies.swarm import draw_mixtures, repetition_caps

from mixgym.errors import CheckpointError, MixgymError
from tests.agents.short import UNIFORM, first_action, make

PRIOR = np.array([0.6, 0.3, 0.08, 0.02])
SMALL: dict[str, Any] = {"proxies": 4, "steps": 2, "repetitions": None}
REGMIX: dict[str, Any] = {**SMALL, "draws": 50, "top": 5, "trees": 20}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(mixgym_agents.proxies.store, "cache_root", lambda: tmp_path)
    return tmp_path / "proxies"


# --- random mixtures


def test_drawn_mixtures_scatter_about_the_prior() -> None:
    drawn = draw_mixtures(PRIOR, 4000, np.random.default_rng(0), strengths=(5.0, 5.0))
    np.testing.assert_allclose(drawn.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(drawn.mean(axis=0), PRIOR, atol=0.02)
    # a Dirichlet's variance: m (1 - m) / (strength + 1)
    np.testing.assert_allclose(drawn.var(axis=0), PRIOR * (1 - PRIOR) / 6, rtol=0.15)


def test_strengths_are_spread_evenly_in_their_logarithm() -> None:
    drawn = draw_mixtures(PRIOR, 6000, np.random.default_rng(1), strengths=(0.5, 50.0))
    expected = np.mean([1 / (s + 1) for s in 10 ** np.linspace(np.log10(0.5), np.log10(50), 15)])
    # equal draws at small strengths are drawn once, hence the tolerance
    assert abs(drawn[:, 0].var() / (0.6 * 0.4) - expected) < 0.1 * expected


def test_bounds_and_least_weights_are_kept() -> None:
    caps = np.array([0.9, 0.6, 0.4, 0.1])
    drawn = draw_mixtures(PRIOR, 300, np.random.default_rng(0), minimum=0.01, caps=caps)
    assert drawn.shape == (300, 4) and (drawn <= caps).all()
    assert (drawn[drawn > 0] >= 0.01).all() and (drawn == 0).any()
    assert len(np.unique(drawn.round(5), axis=0)) == 300
    with pytest.raises(MixgymError, match="repetition bounds"):
        draw_mixtures(PRIOR, 10, np.random.default_rng(0), caps=np.full(4, 0.2500001))


def test_caps_count_passes_over_each_domains_own_text() -> None:
    limit = {"recipes": 3000, "python": 6000}
    inner = make(limit=limit).unwrapped
    turned = make(limit=limit, domains=["icd10", "python", "recipes"]).unwrapped
    sequences = 3 * 2 * 4
    for environment in (inner, turned):
        caps = dict(zip(environment.task.names, repetition_caps(environment, 0.1), strict=True))
        for domain in environment.corpus.domains:
            windows = (len(domain.tokens("train")) - 1) // 16
            assert caps[domain.name] == pytest.approx(min(1.0, 0.1 * windows / sequences))
    np.testing.assert_array_equal(repetition_caps(inner, 0.1), repetition_caps(turned, 0.1)[::-1])
    np.testing.assert_array_equal(repetition_caps(inner, None), np.ones(3))
    with pytest.raises(MixgymError, match="of the budget"):
        repetition_caps(inner, 1e-4)


# --- proxies and their cache


def prototype(env: Any, seed: int = 0, **arguments: Any) -> Any:
    agent = MixingLawAgent(**{**SMALL, **arguments})
    agent.start(env, 0)
    return agent.proxy(env.unwrapped, seed)


def test_an_outcome_is_what_a_run_on_that_mixture_gives(cache: Path) -> None:
    env = make()
    run = prototype(env)
    mixture = np.array([0.5, 0.25, 0.25])
    ((row, found),) = ProxyStore(run, np.array([0, 2]), 2).outcomes(mixture[None])
    twin = prototype(env)
    twin.advance(mixture, 2)
    expected = twin.evaluate("validation", domains=[0, 2], windows=2)
    np.testing.assert_array_equal(found.losses, expected)
    assert row == 0 and np.isnan(found.losses[1]) and not found.diverged
    assert run.step == 0 and run.ledger.accounts["train"].tokens == 0
    assert found.cost.accounts["train"].tokens == 2 * 4 * 16
    assert found.cost.accounts["evaluation"].tokens == 2 * 2 * 16


def test_a_finished_proxy_is_read_back_whole_and_not_trained_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = make()
    mixtures = np.array([UNIFORM, [1.0, 0.0, 0.0]])
    store = ProxyStore(prototype(env), np.arange(3), 2)
    first = dict(store.outcomes(mixtures))
    assert len(list(cache.rglob("*.json"))) == 2 and not list(cache.rglob("*.lock"))
    monkeypatch.setattr(ProxyStore, "_train", lambda *_: pytest.fail("trained again"))
    again = dict(ProxyStore(prototype(env), np.arange(3), 2).outcomes(mixtures))
    for row in (0, 1):
        np.testing.assert_array_equal(first[row].losses, again[row].losses)
        assert first[row].cost.to_json() == again[row].cost.to_json()


def test_nothing_that_changes_a_proxy_is_left_out_of_its_key(monkeypatch: Any) -> None:
    env = make()

    def path(run: Any, mixture: np.ndarray = UNIFORM, domains: int = 3, windows: int = 2) -> Path:
        return ProxyStore(run, np.arange(domains), windows).path(mixture)

    base = path(prototype(env))
    changed = prototype(env)
    next(iter(changed.model.parameters())).data.view(-1)[0] += 1e-3
    small = {"model_type": "gpt_neox", "hidden_size": 16, "num_hidden_layers": 1,
             "num_attention_heads": 2, "intermediate_size": 32}  # fmt: skip
    others = [
        path(prototype(env), mixture=np.array([0.3334, 0.3333, 0.3333])),
        path(prototype(env), domains=2),
        path(prototype(env), windows=3),
        path(prototype(env, seed=1)),
        path(prototype(env, steps=3)),
        path(prototype(env, model=small)),
        path(prototype(make(learning_rate=1e-3))),
        path(prototype(make(limit={"recipes": 20_000}))),
        path(prototype(make(domains=["python", "recipes", "icd10"]))),
        path(prototype(make(evaluation_seed=1))),
        path(changed),
    ]
    monkeypatch.setattr(mixgym_agents.proxies.store, "_code_digest", lambda: "edited")
    others.append(path(prototype(env)))
    monkeypatch.undo()
    resolved = prototype(env)
    resolved.precision = "bf16"  # as "auto" is on another device
    others.append(path(resolved))
    monkeypatch.undo()
    assert len({base.name, *(p.name for p in others)}) == len(others) + 1
    assert path(prototype(make())).name == base.name  # and what doesn't change it isn't in it


def test_a_damaged_or_foreign_file_is_trained_anew(cache: Path) -> None:
    store = ProxyStore(prototype(make()), np.arange(3), 2)
    ((_, first),) = store.outcomes(UNIFORM[None])
    path = store.path(UNIFORM)
    whole = json.loads(path.read_text())
    foreign = {**whole, "run": {**whole["run"], "seed": 99}, "losses": [9.0, 9.0, 9.0]}
    for text in ("{", "[]", json.dumps(foreign), json.dumps({**whole, "losses": [1.0]})):
        path.write_text(text)
        ((_, found),) = store.outcomes(UNIFORM[None])
        np.testing.assert_array_equal(found.losses, first.losses)
        assert json.loads(path.read_text())["losses"] == whole["losses"]


def test_without_the_cache_nothing_is_written(cache: Path) -> None:
    store = ProxyStore(prototype(make()), np.arange(3), 2, keep=False)
    assert len(list(store.outcomes(np.eye(3)[:2]))) == 2 and not cache.exists()


def _hold(path: str, ready: Any, release: Any, text: str) -> None:
    from filelock import FileLock

    with FileLock(Path(path).with_suffix(".lock")):
        ready.set()
        release.wait(60)
        Path(path).write_text(text)


def test_processes_share_the_work(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another process trains is left to it; the rest is done meanwhile."""
    env, mixtures = make(), np.array([UNIFORM, [1.0, 0.0, 0.0]])
    store = ProxyStore(prototype(env), np.arange(3), 2)
    ((_, done),) = store.outcomes(UNIFORM[None])
    path = store.path(UNIFORM)
    text = path.read_text()
    path.unlink()
    context = multiprocessing.get_context("fork")
    ready, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(path), ready, release, text))
    other.start()
    try:
        assert ready.wait(60)
        trained: list[int] = []
        train = ProxyStore._train
        monkeypatch.setattr(
            ProxyStore, "_train", lambda self, mixture: trained.append(1) or train(self, mixture)
        )
        outcomes = store.outcomes(mixtures)
        assert next(outcomes)[0] == 1  # the held one is waited for at the end
        release.set()
        row, found = next(outcomes)
    finally:
        release.set()
        other.join(60)
    assert row == 0 and len(trained) == 1
    np.testing.assert_array_equal(found.losses, done.losses)


# --- agents on the swarm


def test_arms_share_the_swarm_and_each_pays_for_all_of_it(cache: Path) -> None:
    bills = []
    for agent in (RegMix(**REGMIX), MixingLawAgent(**SMALL), MixingLawAgent(**SMALL, cache=False)):
        env = make()
        first_action(agent, env)
        account = env.unwrapped.ledger.accounts["proxy"]
        bills.append((account.tokens, account.flops))
        assert account.seconds > 0
    assert len(list(cache.rglob("*.json"))) == 4
    assert bills[0] == bills[1] == bills[2]
    assert bills[0][0] == 4 * (2 * 4 * 16 + 3 * 2 * 16)


def test_seeds_have_swarms_of_their_own_unless_told_otherwise(cache: Path) -> None:
    def files(swarm_seed: int | None) -> list[int]:
        counts = []
        for seed in (0, 1):
            first_action(MixingLawAgent(**SMALL, swarm_seed=swarm_seed), make(), seed)
            counts.append(len(list(cache.rglob("*.json"))))
        return counts

    assert files(None) == [4, 8]
    assert files(7) == [12, 12]


@pytest.mark.parametrize("kind", ["regmix", "mixing-law"])
def test_the_mixture_is_found_once_saved_and_the_same_from_the_cache(
    kind: str, tmp_path: Path
) -> None:
    def build() -> Any:
        return RegMix(**REGMIX) if kind == "regmix" else MixingLawAgent(**SMALL)

    state = np.random.get_state()[1].copy()  # type: ignore[index]
    env, agent = make(), build()
    first = first_action(agent, env)
    assert first in env.action_space
    paid = env.unwrapped.ledger.accounts["proxy"].tokens
    np.testing.assert_array_equal(agent.act(np.zeros(0), {}), first)
    assert env.unwrapped.ledger.accounts["proxy"].tokens == paid
    np.testing.assert_array_equal(first_action(build(), make()), first)
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # type: ignore[index]
    agent.save(tmp_path / "agent.json")
    again, other = build(), make()
    again.start(other, 0)
    again.load(tmp_path / "agent.json")
    np.testing.assert_array_equal(again.act(np.zeros(0), {}), first)
    assert other.unwrapped.ledger.accounts["proxy"].tokens == 0
    different = MixingLawAgent(**{**SMALL, "proxies": 5})
    different.start(other, 0)
    with pytest.raises(CheckpointError, match="was saved with"):
        different.load(tmp_path / "agent.json")


def test_diverged_proxies_are_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, env = MixingLawAgent(**{**SMALL, "proxies": 5}), make()
    agent.start(env, 0)
    train = mixgym_agents.proxies.store.train
    calls: list[int] = []

    def sometimes(run: Any, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) <= bad:
            run._recorder.diverged = True
            raise MixgymError("diverged")
        return train(run, *arguments)

    monkeypatch.setattr(mixgym_agents.proxies.store, "train", sometimes)
    bad = 1
    with pytest.warns(UserWarning, match="1 of 5 proxies diverged"):
        assert agent.act(np.zeros(0), {}) in env.action_space
    calls.clear()
    bad = 2
    agent = MixingLawAgent(**{**SMALL, "proxies": 5}, swarm_seed=1)
    agent.start(env, 0)
    with pytest.raises(MixgymError, match="2 of 5 proxies diverged"):
        agent.act(np.zeros(0), {})


def test_a_prior_without_a_domain_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="leaves domains out"):
        MixingLawAgent(prior={"recipes": 1.0}).start(make(), 0)

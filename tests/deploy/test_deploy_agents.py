from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import Trainer, TrainingArguments

import mixgym  # noqa: F401
from mixgym.agents import list_agents, make_agent
from mixgym.corpus import Corpus
from mixgym.deploy import MixtureController
from mixgym.errors import CheckpointError, MixgymError
from mixgym.lm.stream import MixtureStream

Arguments = Callable[..., TrainingArguments]
Control = Callable[..., MixtureController]
Watch = Callable[..., Any]
Train = Callable[..., Trainer]

#: What agents are given that cannot or need not run as they are.
GIVEN = {
    "static": "static:{mixture: {recipes: 0.3, python: 0.7}}",
    "temperature": "temperature:{T: 2}",
    "schedule": "schedule:{start: natural, end: uniform}",
    "doremi": "doremi:{steps: 2}",
    "doge": "doge:{steps: 2}",
    "regmix": "regmix:{proxies: 4, steps: 2, draws: 10, top: 2, cache: false}",
    "mixing-law": "mixing-law:{proxies: 4, steps: 2, cache: false}",
    "olmix": "olmix:{proxies: 4, steps: 2, cap: null, cache: false}",
    "mixmin": "mixmin:{steps: 2}",
    "dbl": "dbl:{steps: 2, cache: false}",
    "skill-it": "skill-it:{steps: 2, cache: false}",
    "sac": "sac:{reward: progress, network: mlp, gradient_steps: 1}",
    "tqc": "tqc:{reward: progress, network: mlp, gradient_steps: 1}",
    "ppo": "ppo:{reward: progress, network: mlp}",
    "acodm": "acodm:{reward: progress, updates_per_decision: 1, width: 8, network: tokens}",
    "untrained-actor": "untrained-actor:{width: 8, network: tokens}",
}
#: They act by a policy that was learned from logged trajectories, and by nothing else.
OFFLINE = ("cql", "bc", "iql", "td3-bc")
#: They branch the run, whose weights are the Trainer's.
BRANCHING = ("aioli", "oracle-lookahead")
STEERING = [name for name in list_agents() if name not in (*OFFLINE, *BRANCHING)]


@pytest.mark.parametrize("name", STEERING)
def test_every_agent_can_steer_a_trainer(
    name: str, model: Any, arguments: Arguments, control: Control, train: Train, watch: Watch
) -> None:
    controller = control(GIVEN.get(name, name), steps=2, evaluation_windows=2, validation="all")
    seen = watch(controller)
    train(model, arguments(max_steps=4), controller)
    assert len(seen.signals) == 2
    assert controller.signals.counts.sum() == 8
    assert abs(controller.mixture.sum() - 1) < 1e-12


@pytest.mark.parametrize("name", BRANCHING)
def test_an_agent_that_branches_the_run_is_refused(
    name: str, model: Any, arguments: Arguments, control: Control, train: Train
) -> None:
    controller = control(name, steps=2, evaluation_windows=2, validation="all")
    with pytest.raises(MixgymError, match="choose an agent that does not branch it"):
        train(model, arguments(max_steps=4), controller)


def per_sequence_gradients(model: Any, corpus: Corpus, steps: int) -> tuple[Any, Any]:
    """Of the last MLP output matrix, one sequence at a time; and their domains."""
    _, order, _ = np.random.SeedSequence(0).generate_state(3, dtype=np.uint64)
    stream = MixtureStream(corpus, 4, 15, int(order >> 1))
    weight = model.model.layers[-1].mlp.down_proj.weight
    gradients, domains = [], []
    for batch in stream.batches(np.array([0.5, 0.5]), 2 * steps):
        for row in torch.from_numpy(batch.tokens):
            logits = model(input_ids=row[None]).logits[0, :-1].float()
            loss = functional.cross_entropy(logits, row[1:])
            gradients.append(torch.autograd.grad(loss, weight)[0].flatten())
        domains.extend(batch.domains)
    return torch.stack(gradients).double().numpy(), np.array(domains)


def test_the_domains_gradients_are_their_own_whatever_the_accumulation(
    without_dropout: Any, arguments: Arguments, control: Control, train: Train, two_domains: Corpus
) -> None:
    model = without_dropout
    kinds = {"kinds": ["gram", "variance"], "every": 2}
    controller = control(steps=2, gradients=kinds)
    args = arguments(learning_rate=1e-12, max_steps=2, gradient_accumulation_steps=2)
    train(model, args, controller)
    gradients, domains = per_sequence_gradients(model, two_domains, 1)
    means = np.stack([gradients[domains == k].mean(axis=0) for k in range(2)])
    signals = controller.signals
    np.testing.assert_allclose(signals.gram, means @ means.T, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(signals.alignment, [means[0] @ means[1]] * 2, rtol=1e-3, atol=1e-7)
    variance = [
        ((gradients[domains == k] - means[k]) ** 2).sum() / ((domains == k).sum() - 1)
        for k in range(2)
    ]
    np.testing.assert_allclose(signals.gradient_variance, variance, rtol=1e-4)


def test_measuring_gradients_changes_nothing(
    model: Any, untrained: Any, arguments: Arguments, control: Control, train: Train
) -> None:
    import copy

    other = copy.deepcopy(untrained)
    train(model, arguments(gradient_accumulation_steps=2), control())
    controller = control(gradients={"kinds": ["gram", "objective"], "windows": 2})
    train(other, arguments(gradient_accumulation_steps=2), controller)
    assert np.isfinite(controller.signals.objective_alignment).all()
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_gradients_that_cannot_be_measured_are_refused(
    model: Any, arguments: Arguments, control: Control, train: Train
) -> None:
    controller = control("pike")
    given = controller.trainer_arguments(arguments())
    trainer = Trainer(model, **given)
    trainer.args.fp16 = True
    with pytest.raises(MixgymError, match=r"agent 'pike' needs .*variance.* fp16"):
        trainer.train()


def saved_policy(path: Path, **arguments: Any) -> Path:
    """A policy that learned from two decisions on eight domains."""
    env = gym.make(
        "mixgym/NanoPretrain-v0",
        action_map="simplex",
        observation="acodm",
        decisions=3,
        steps_per_decision=1,
        evaluation_windows=2,
    )
    env.reset(seed=0)
    agent = make_agent("acodm", width=8, updates_per_decision=1, batch_size=2, **arguments)
    agent.start(env, 0)
    agent.learn(env, 3)
    agent.save(path)
    return path


def test_a_policy_of_eight_domains_steers_two(
    model: Any, arguments: Arguments, control: Control, train: Train, watch: Watch, tmp_path: Path
) -> None:
    folder = saved_policy(tmp_path / "policy", network="tokens")
    controller = control(folder, steps=1)
    seen = watch(controller)
    train(model, arguments(max_steps=3), controller)
    assert controller.env is not None
    assert controller.ledger.accounts["reward"].tokens == 0  # no validation in this observation
    assert controller.ledger.accounts["agent"].tokens > 0
    # The mixture of every decision is the policy's answer to the observation before it.
    agent = make_agent("acodm", policy=str(folder))
    layout, task = controller.env.layout, controller.env.task
    agent.start(controller.env, 0)
    for action, signals in zip(seen.actions[1:], seen.signals, strict=False):
        observation = layout.pack(signals, task)
        np.testing.assert_array_equal(agent.act(observation, {}), action)


def test_a_policy_bound_to_its_domains_is_refused(
    model: Any, arguments: Arguments, control: Control, train: Train, tmp_path: Path
) -> None:
    folder = saved_policy(tmp_path / "policy", network="mlp")
    with pytest.raises(CheckpointError, match="network='tokens'"):
        train(model, arguments(), control(str(folder)))


def test_an_observation_with_validation_losses_has_them_measured(
    model: Any, arguments: Arguments, control: Control, train: Train
) -> None:
    for agent, given, observation, measured in (
        ("uniform", {}, "training", False),
        ("uniform", {"validation": "objective"}, "default", True),
        ("uniform", {"reward": "progress"}, "default", True),
        ("uniform", {"observation": {"scalar": ["objective_loss"]}}, None, True),
        ("untrained-actor:{width: 8, network: tokens, observation: default}", {}, "default", True),
    ):
        controller = control(agent, evaluation_windows=1, **given)
        train(model, arguments(max_steps=2), controller)
        assert controller.env is not None
        if observation is not None:
            assert controller.env.arguments.observation == observation
        assert (controller.ledger.accounts["reward"].tokens > 0) == measured
        assert np.isfinite(controller.signals.objective_loss) == measured

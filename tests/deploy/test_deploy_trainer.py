from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

import mixgym  # noqa: F401
from mixgym.agents import Agent
from mixgym.corpus import Corpus
from mixgym.deploy import MixtureCallback, MixtureController
from mixgym.deploy.requirements import check_processes
from mixgym.deploy.run import TrainerRun
from mixgym.errors import MixgymError, UnknownNameError
from mixgym.lm.stream import MixtureStream
from mixgym.mixer import Mixer, MixerAgent
from mixgym.signals import Signals

Arguments = Callable[..., TrainingArguments]
Control = Callable[..., MixtureController]
Watch = Callable[..., Any]
Train = Callable[..., Trainer]


class Alternating(Mixer):
    """All weight on one domain, then all on the other."""

    name = "alternating"

    def start(self, task: Any, rng: np.random.Generator) -> None:
        self.seen: list[Signals] = []

    def update(self, signals: Signals) -> np.ndarray:
        self.seen.append(signals)
        return np.eye(2)[len(self.seen) % 2]


class Still(Agent):
    """The middle of the action space, whatever it means."""

    name = "still"

    def start(self, env: Any, seed: int) -> None:
        self.K = len(env.action_space.low)

    def act(self, observation: Any, info: Any) -> np.ndarray:
        return np.zeros(self.K, dtype=np.float32)

    def save(self, path: Any) -> None: ...

    def load(self, path: Any) -> None: ...


class Windows(Dataset):
    def __init__(self, tokens: np.ndarray) -> None:
        self.tokens = torch.from_numpy(tokens)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.tokens[index], "labels": self.tokens[index]}


def windows(corpus: Corpus, seed: int, size: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    _, order, _ = np.random.SeedSequence(seed).generate_state(3, dtype=np.uint64)
    stream = MixtureStream(corpus, size, 15, int(order >> 1))
    batches = list(stream.batches(np.array([0.5, 0.5]), number))
    return (
        np.concatenate([batch.tokens for batch in batches]),
        np.concatenate([batch.domains for batch in batches]),
    )


def weights(model: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_training_is_that_of_a_plain_trainer_on_the_same_windows_bit_for_bit(
    model: Any,
    untrained: Any,
    arguments: Arguments,
    control: Control,
    train: Train,
    two_domains: Corpus,
) -> None:
    import copy

    plain = copy.deepcopy(untrained)
    controller = control("odm-exp3:{initial: uniform}", steps=6, seed=3)
    args = arguments(gradient_accumulation_steps=2, train_sampling_strategy="sequential")
    train(model, args, controller)
    tokens, _ = windows(two_domains, 3, 4, 12)
    Trainer(plain, args, train_dataset=Windows(tokens)).train()
    for ours, theirs in zip(weights(model), weights(plain), strict=True):
        assert torch.equal(ours, theirs)


def test_a_decision_holds_from_its_first_sequence_on(
    model: Any, arguments: Arguments, control: Control, train: Train, watch: Watch
) -> None:
    mixer = Alternating()
    controller = control(MixerAgent(mixer), steps=1)
    seen = watch(controller)
    args = arguments(gradient_accumulation_steps=2, max_steps=5, dataloader_pin_memory=True)
    train(model, args, controller)
    counts = [signals.counts.tolist() for signals in seen.signals]
    assert counts == [[0.0, 8.0], [8.0, 0.0]] * 2 + [[0.0, 8.0]]
    assert len(mixer.seen) == 5 and len(seen.actions) == 5


def test_a_last_decision_may_be_shorter(
    model: Any, arguments: Arguments, control: Control, train: Train, watch: Watch
) -> None:
    controller = control(steps=4)
    seen = watch(controller)
    train(model, arguments(max_steps=6), controller)
    first, last = seen.signals
    assert (first.step, last.step) == (4, 6)
    assert (first.counts.sum(), last.counts.sum()) == (16, 8)
    assert last.remaining == 0.0
    assert controller.ledger.accounts["train"].tokens == 6 * 4 * 15
    assert controller.history.steps == [0, 4, 6]


def test_losses_are_each_sequences_own(
    without_dropout: Any, arguments: Arguments, control: Control, train: Train, two_domains: Corpus
) -> None:
    model = without_dropout
    controller = control(steps=3, seed=1, loss_decay=0.5)
    args = arguments(gradient_accumulation_steps=2, learning_rate=1e-12, max_steps=3)
    train(model, args, controller)
    tokens, domains = windows(two_domains, 1, 4, 6)
    with torch.no_grad():
        own = np.array(
            [
                float(model(input_ids=row[None], labels=row[None]).loss)
                for row in torch.from_numpy(tokens)
            ]
        )
    signals = controller.signals
    for k in range(2):
        np.testing.assert_allclose(signals.last_loss[k], own[domains == k].mean(), rtol=1e-5)
        average = np.nan
        for step in range(3):
            part = slice(step * 8, step * 8 + 8)
            mean = own[part][domains[part] == k].mean()
            average = mean if np.isnan(average) else 0.5 * average + 0.5 * mean
        np.testing.assert_allclose(signals.train_loss[k], average, rtol=1e-5)
    assert signals.learning_rate == pytest.approx(1e-12 / 3)


def test_observation_is_the_environments(
    model: Any, arguments: Arguments, train: Train, watch: Watch, two_domains: Corpus
) -> None:
    """The same weights, kept still, under the same actions in both."""
    common: dict[str, Any] = {"observation": "default", "evaluation_windows": 4}
    env = gym.make(
        "mixgym/NanoPretrain-v0",
        domains=["recipes", "python"],
        action_map="simplex",
        context=15,
        batch_size=8,
        decisions=2,
        steps_per_decision=2,
        learning_rate=1e-12,
        weight_decay=0.0,
        reward="progress",
        objective="mean",
        limit=None,
        **common,
    )
    env.reset(seed=5)
    inner: Any = env.unwrapped
    theirs = inner.run.model
    config = theirs.config.to_diff_dict()
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**{**config, "max_position_embeddings": 16})
    ours = AutoModelForCausalLM.from_config(config)
    ours.load_state_dict(theirs.state_dict())
    alternating: Any = MixerAgent(Alternating())
    controller = MixtureController(
        two_domains,
        alternating,
        2,
        context=15,
        seed=5,
        reward="progress",
        validation="objective",
        **common,
    )
    args = arguments(learning_rate=1e-12, max_steps=4, gradient_accumulation_steps=2)
    seen = watch(controller)
    train(ours, args, controller)
    expected, reward = np.zeros(0), 0.0
    for action in seen.actions:
        expected, reward, _, _, _ = env.step(action)
    assert controller.env is not None
    observed = controller.env.layout.pack(controller.signals, controller.env.task)
    assert controller.env.layout.domain_features == inner.layout.domain_features
    names = np.array(inner.layout.names)
    still = ~np.char.startswith(names, "update_norm")
    np.testing.assert_allclose(observed[still], expected[still], atol=2e-5)
    assert controller._info["scalar_reward"] == pytest.approx(reward, abs=1e-5)
    assert controller.ledger.accounts["reward"].tokens == inner.ledger.accounts["reward"].tokens


def test_validation_does_not_change_training(
    model: Any, untrained: Any, arguments: Arguments, control: Control, train: Train
) -> None:
    import copy

    other = copy.deepcopy(untrained)
    train(model, arguments(), control())
    controller = control(validation="all", evaluation_windows=2, reward="progress")
    train(other, arguments(), controller)
    assert np.isfinite(controller.signals.validation_loss).all()
    for a, b in zip(weights(model), weights(other), strict=True):
        assert torch.equal(a, b)


def test_the_trainers_own_evaluation_is_left_alone(
    model: Any, arguments: Arguments, control: Control, train: Train, two_domains: Corpus
) -> None:
    tokens, _ = windows(two_domains, 9, 4, 2)
    args = arguments(eval_strategy="steps", eval_steps=1, per_device_eval_batch_size=8)
    controller = control()
    trainer = train(model, args, controller, eval_dataset=Windows(tokens))
    assert controller.ledger.accounts["train"].tokens == 6 * 4 * 15
    with torch.no_grad():
        rows = torch.from_numpy(tokens)
        expected = float(model.eval()(input_ids=rows, labels=rows).loss)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-5)


def test_training_again_starts_afresh(
    model: Any, untrained: Any, arguments: Arguments, control: Control, watch: Watch
) -> None:
    controller = control("odm-smoothed")
    seen = watch(controller)
    trainer = Trainer(model, **controller.trainer_arguments(arguments(max_steps=4)))
    trainer.train()
    first = [action.tolist() for action in seen.actions]
    seen.actions.clear()
    model.load_state_dict(untrained.state_dict())
    trainer.optimizer = None
    torch.manual_seed(42)
    trainer.train()
    assert len(seen.actions) == 2 and controller.run.step == 4
    assert seen.actions[0].tolist() == first[0]


@pytest.mark.parametrize("max_steps", [8, 7])
def test_a_diverged_run_keeps_its_mixture(
    model: Any, arguments: Arguments, control: Control, train: Train, max_steps: int, watch: Watch
) -> None:
    controller = control("odm-smoothed")
    seen = watch(controller)
    with torch.no_grad():
        model.lm_head.weight *= 1e4
    with pytest.warns(UserWarning, match="diverged"):
        train(model, arguments(max_steps=max_steps), controller)
    assert controller.signals.diverged and controller.run.step == max_steps
    assert len(seen.signals) == len(seen.actions) == 1
    assert controller.ledger.accounts["train"].tokens == max_steps * 4 * 15


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dataloader_num_workers": 2}, "dataloader_num_workers=2.*set it to 0"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor=0.1"),
        ({"accelerator_config": {"split_batches": True}}, "split_batches"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_that_would_spoil_a_decision_are_refused(
    arguments: Arguments, control: Control, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(MixgymError, match=message):
        control().trainer_arguments(arguments(**given))


def test_fewer_processes_than_were_asked_for_are_noticed(arguments: Arguments) -> None:
    args = arguments()
    check_processes(args, {"WORLD_SIZE": "1", "MASTER_ADDR": "here"})
    with pytest.raises(MixgymError, match=r"WORLD_SIZE=2 processes.*torchrun"):
        check_processes(args, {"WORLD_SIZE": "2"})
    with pytest.warns(UserWarning, match="torchrun --nproc-per-node"):
        check_processes(args, {"ACCELERATE_USE_CPU": "True", "MASTER_ADDR": "127.0.0.1"})


def test_a_trainer_put_together_by_hand_is_checked(
    model: Any, arguments: Arguments, control: Control, train: Train, two_domains: Corpus
) -> None:
    controller = control()
    with pytest.raises(MixgymError, match="dispatch_batches"):
        Trainer(model, arguments(), callbacks=[MixtureCallback(controller)])
    args = arguments()
    tokens, _ = windows(two_domains, 0, 4, 2)
    with pytest.raises(MixgymError, match=r"train_dataset=controller[.]stream"):
        train(model, args, controller, train_dataset=Windows(tokens))
    with pytest.raises(MixgymError, match=r"data_collator=controller[.]collate"):
        train(model, args, controller, data_collator=lambda features: features)
    with pytest.raises(MixgymError, match=r"compute_loss_func=controller[.]compute_loss"):
        train(model, args, controller, compute_loss_func=None)
    with pytest.raises(MixgymError, match="has not started"):
        train(model, args, control(), callbacks=[])
    with pytest.raises(MixgymError, match="has no controller"):
        train(model, args, controller, callbacks=[MixtureCallback()])


def test_reading_batches_ahead_is_an_error_not_a_stale_mixture(
    model: Any, arguments: Arguments, control: Control, train: Train
) -> None:
    controller = control(steps=1)

    lazy = controller.collate

    def eager(features: list[Any]) -> Any:
        return dict(lazy(features).items())

    controller.collate = eager  # type: ignore[method-assign]
    with pytest.raises(MixgymError, match="before the decision that it belongs to"):
        train(model, arguments(), controller)


def test_bad_arguments_are_named(
    model: Any, arguments: Arguments, control: Control, train: Train, two_domains: Corpus
) -> None:
    with pytest.raises(UnknownNameError, match="odm-smoothed"):
        control("odm-smoothd")
    with pytest.raises(UnknownNameError, match="recipes"):
        control(objective="recipe")
    with pytest.raises(UnknownNameError, match="learning_rate"):
        control(learning_rate=1e-3)
    with pytest.raises(MixgymError, match="at most 15"):
        train(model, arguments(), MixtureController(two_domains, "uniform", 2, context=16))
    with pytest.raises(ValueError, match="steps_per_decision"):
        control(steps=0)


def test_what_is_trained_by_is_what_a_random_action_map_then_draws(
    model: Any, arguments: Arguments, control: Control, train: Train, monkeypatch: Any
) -> None:
    trained_by = []
    begin = TrainerRun.begin

    def recorded(run: TrainerRun, mixture: np.ndarray, steps: int) -> None:
        trained_by.append(mixture.tolist())
        begin(run, mixture, steps)

    monkeypatch.setattr(TrainerRun, "begin", recorded)
    controller = control(Still(), 2, action_map="dirichlet")
    train(model, arguments(), controller)
    assert [mixture.tolist() for mixture in controller.history.mixtures[1:]] == trained_by
    assert len({tuple(mixture) for mixture in trained_by}) == len(trained_by) == 3

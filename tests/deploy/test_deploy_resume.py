from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_deploy_trainer import Still
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainingArguments

from mixgym.deploy import MixtureCallback, MixtureController
from mixgym.deploy.run import TrainerRun
from mixgym.errors import CheckpointError, MixgymError
from mixgym.lm.settings import gpt_neox
from tests.tiny import flip_last_bit

Arguments = Callable[..., TrainingArguments]
Control = Callable[..., MixtureController]
Train = Callable[..., Trainer]

SAVING = {"save_strategy": "steps", "save_steps": 3, "gradient_accumulation_steps": 2}
ACODM = (
    "acodm:{reward: alignment, observation: acodm, updates_per_decision: 1, batch_size: 2, "
    "network: tokens}"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the Trainer saves in the middle."""
    return tmp_path / "out" / "checkpoint-3"


def outcome(model: Any, controller: MixtureController) -> dict[str, Any]:
    assert controller.env is not None
    episode = controller.env.episode.state_dict()
    plain = {
        **episode["scalars"],
        **{name: values.tolist() for name, values in episode["arrays"].items()},
        "stream": controller.run.stream.state_dict(),
    }
    accounts = controller.ledger.to_json()
    for account in accounts.values():
        account.pop("seconds")
    weights = {name: value.tolist() for name, value in model.state_dict().items()}
    return json.loads(json.dumps({**plain, "ledger": accounts, "weights": weights}))


# Step 3 is in the middle of a decision of 2 steps and at the end of one of 3.
@pytest.mark.parametrize(
    ("agent", "steps"),
    [("odm-exp3", 2), ("odm-smoothed", 3), ("dga", 2), (ACODM, 2), (ACODM, 1)],
    ids=["odm-exp3-amid", "odm-smoothed-between", "dga-amid", "acodm-amid", "acodm-between"],
)
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(
    model: Any,
    untrained: Any,
    arguments: Arguments,
    control: Control,
    train: Train,
    folder: Path,
    agent: str,
    steps: int,
) -> None:
    whole = control(agent, steps)
    train(model, arguments(**SAVING), whole)
    expected = outcome(model, whole)

    other = copy.deepcopy(untrained)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    torch.manual_seed(11)
    again = control(agent, steps)
    train(other, arguments(**SAVING), again, resume=str(folder))
    assert outcome(other, again) == expected


@pytest.mark.filterwarnings("ignore:.*diverged")
def test_a_run_that_diverged_to_nan_is_resumed(
    model: Any, untrained: Any, arguments: Arguments, control: Control, train: Train, folder: Path
) -> None:
    whole, again = control("odm-exp3"), control("odm-exp3")
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    train(model, arguments(**SAVING), whole)
    other = copy.deepcopy(untrained)
    train(other, arguments(**SAVING), again, resume=str(folder))
    assert torch.isnan(other.lm_head.weight).all() and again.run.diverged
    expected, found = outcome(model, whole), outcome(other, again)
    assert found["ledger"] == expected["ledger"] and found["stream"] == expected["stream"]


def test_skipping_no_data_resumes_exactly_too(
    without_dropout: Any, arguments: Arguments, control: Control, train: Train, folder: Path
) -> None:
    # The Trainer then restores its generators before the loader draws from them: no dropout.
    models = [without_dropout, copy.deepcopy(without_dropout)]
    whole, again = control("odm-exp3"), control("odm-exp3")
    train(models[0], arguments(**SAVING), whole)
    args = arguments(**SAVING, ignore_data_skip=True)
    train(models[1], args, again, resume=str(folder))
    assert outcome(models[1], again) == outcome(models[0], whole)


def test_a_checkpoint_can_be_resumed_from_elsewhere(
    model: Any, arguments: Arguments, control: Control, train: Train, tmp_path: Path
) -> None:
    train(model, arguments(**SAVING), control("odm-exp3"))
    shutil.move(tmp_path / "out", tmp_path / "moved")
    folder = tmp_path / "moved" / "checkpoint-3"
    with pytest.raises(CheckpointError, match="resume_from=FOLDER"):
        train(model, arguments(), control("odm-exp3"), resume=str(folder))
    args = arguments(gradient_accumulation_steps=2, resume_from_checkpoint=str(folder))
    controller = control("odm-exp3")
    train(model, args, controller, resume=str(folder))
    assert controller.run.step == 6
    controller = control("odm-exp3")
    callback = MixtureCallback(controller, resume_from=folder)
    train(
        model,
        arguments(gradient_accumulation_steps=2),
        controller,
        resume=str(folder),
        callbacks=[callback],
    )
    assert controller.run.step == 6


def test_what_cannot_be_resumed_says_why(
    model: Any, arguments: Arguments, control: Control, train: Train, folder: Path
) -> None:
    args = arguments(**SAVING)
    train(model, args, control("odm-exp3"))
    with pytest.raises(CheckpointError, match=r"agent .saved 'odm-exp3', now 'uniform'"):
        train(model, args, control("uniform"), resume=str(folder))
    with pytest.raises(CheckpointError, match=r"seed .saved 0, now 1"):
        train(model, args, control("odm-exp3", seed=1), resume=str(folder))
    with pytest.raises(MixgymError, match="restore_callback_states_from_checkpoint"):
        restoring = arguments(**SAVING, restore_callback_states_from_checkpoint=True)
        train(model, restoring, control("odm-exp3"), resume=str(folder))
    state = folder / "mixgym" / "state.json"
    state.write_text(state.read_text()[:-20])
    with pytest.raises(CheckpointError, match=r"is damaged.*state[.]json is not valid JSON"):
        train(model, args, control("odm-exp3"), resume=str(folder))
    state.unlink()
    with pytest.raises(CheckpointError, match="resume_from=FOLDER"):
        train(model, args, control("odm-exp3"), resume=str(folder))


def test_a_checkpoint_without_a_controller_is_refused(
    model: Any, arguments: Arguments, control: Control, train: Train, folder: Path
) -> None:
    train(model, arguments(**SAVING), control())
    state = json.loads((folder / "trainer_state.json").read_text())
    del state["stateful_callbacks"]["MixtureCallback"]
    (folder / "trainer_state.json").write_text(json.dumps(state))
    with pytest.raises(CheckpointError, match="saved without MixtureCallback"):
        train(model, arguments(**SAVING), control(), resume=str(folder))


def test_weights_that_the_trainer_does_not_find_again_are_no_silent_loss(
    arguments: Arguments, control: Control, train: Train, folder: Path
) -> None:
    """transformers saves GPT-NeoX's lm_head as embed_out and does not load it on resuming."""
    config = AutoConfig.for_model(**gpt_neox(16, 1, 2), vocab_size=256, max_position_embeddings=16)
    models = [AutoModelForCausalLM.from_config(config) for _ in range(2)]
    whole, again = control("odm-exp3"), control("odm-exp3")
    train(models[0], arguments(**SAVING), whole)
    with pytest.raises(CheckpointError, match=r"lm_head[.]weight.*from_pretrained"):
        train(models[1], arguments(**SAVING), again, resume=str(folder))
    restored = AutoModelForCausalLM.from_pretrained(folder)
    train(restored, arguments(**SAVING), again, resume=str(folder))
    assert outcome(restored, again) == outcome(models[0], whole)


def as_format_1(folder: Path, journal: dict[str, Any]) -> None:
    """Rewrite a checkpoint as the format before had it: with a journal, without digests."""
    file = folder / "mixgym" / "state.json"
    state = json.loads(file.read_text())
    tensors = load_file(folder / "mixgym" / "tensors.safetensors")
    own = {name: x for name, x in tensors.items() if not name.startswith("episode.")}
    save_file(own, folder / "mixgym" / "tensors.safetensors")
    run = {name: value for name, value in state["run"].items() if name != "ends"}
    old = {name: state[name] for name in ("identity", "mark")}
    run["journal"] = journal
    file.write_text(json.dumps({"format": 1, **old, "run": run, "tensors": list(own)}))


@pytest.mark.parametrize("steps", [1, 2])
def test_a_checkpoint_of_format_1_is_resumed_bit_for_bit(
    model: Any,
    untrained: Any,
    arguments: Arguments,
    control: Control,
    train: Train,
    watch: Callable[..., Any],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
) -> None:
    given = {"validation": "all", "evaluation_windows": 2, "reward": "progress"}
    whole = control(Still(), steps, action_map="dirichlet", **given)
    losses: list[list[float]] = []
    starts: list[Any] = []
    evaluate, signals = TrainerRun.evaluate, TrainerRun.signals

    def evaluated(run: TrainerRun, *args: Any, **kwargs: Any) -> Any:
        result = evaluate(run, *args, **kwargs)
        losses.append(result.tolist())
        return result

    def started(run: TrainerRun) -> Any:
        found = signals(run)
        starts.append(found.to_json())
        return found

    with monkeypatch.context() as patched:
        patched.setattr(TrainerRun, "evaluate", evaluated)
        patched.setattr(TrainerRun, "signals", started)
        seen = watch(whole)
        train(model, arguments(**SAVING), whole)
    done = 3 // steps
    journal = {
        "start": starts[0],
        "actions": [action.tolist() for action in seen.actions[: done + 1]],
        "signals": [signals.to_json() for signals in seen.signals[:done]],
        "losses": losses[: done + 1],
    }
    as_format_1(folder, journal)
    again = control(Still(), steps, action_map="dirichlet", **given)
    other = copy.deepcopy(untrained)
    train(other, arguments(**SAVING), again, resume=str(folder))
    expected, found = outcome(model, whole), outcome(other, again)
    assert found == expected


@pytest.mark.parametrize(
    ("place", "value"),
    [(("run", "step"), 2), (("run", "train_loss"), [1.0]), (("episode", "reward"), 3.0)],
)
def test_a_changed_state_is_refused(
    model: Any,
    arguments: Arguments,
    control: Control,
    train: Train,
    folder: Path,
    place: tuple[str, str],
    value: Any,
) -> None:
    train(model, arguments(**SAVING), control("odm-exp3"))
    file = folder / "mixgym" / "state.json"
    state = json.loads(file.read_text())
    state[place[0]][place[1]] = value
    file.write_text(json.dumps(state))
    with pytest.raises(CheckpointError, match=r"state[.]json was changed.*an earlier checkpoint"):
        train(model, arguments(**SAVING), control("odm-exp3"), resume=str(folder))


def test_changed_tensors_are_refused(
    model: Any, arguments: Arguments, control: Control, train: Train, folder: Path
) -> None:
    train(model, arguments(**SAVING), control("odm-exp3"))
    file = folder / "mixgym" / "tensors.safetensors"
    flip_last_bit(file)
    with pytest.raises(CheckpointError, match=r"tensors[.]safetensors.*an earlier checkpoint"):
        train(model, arguments(**SAVING), control("odm-exp3"), resume=str(folder))

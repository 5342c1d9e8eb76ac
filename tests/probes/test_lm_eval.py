"""The lm-eval adapter, on a task of a local file."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("lm_eval")

from mixgym.corpus import Corpus
from mixgym.errors import CheckpointError, MixgymError
from mixgym.lm.settings import PRESETS
from mixgym.lm.training import TrainingRun
from mixgym.probes import Item, Probe
from mixgym.probes.encoding import encode_probe
from mixgym.probes.lm_eval import (
    HarnessModel,
    _global_states,
    evaluate_checkpoint,
    evaluate_with_harness,
)
from mixgym.probes.measure import continuation_scores, result_of

TASK = """
task: local_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {path}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: gold
target_delimiter: " "
metric_list:
  - metric: acc
"""
ROWS = [
    {"question": f"What comes after {n}?", "choices": [str(n + 1), "x" * 5, "no"], "gold": n % 3}
    for n in range(9)
]


@pytest.fixture
def run(two_domains: Corpus) -> TrainingRun:
    settings = PRESETS["nano"].settings.updated({"context": 16, "batch_size": 4})
    run = TrainingRun(two_domains, "nano", total_steps=60, seed=3, settings=settings)
    run.advance([0.5, 0.5], 2)
    return run


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ROWS))
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "local_choice.yaml").write_text(TASK.format(path=path))
    return folder


def test_a_local_task_gives_the_accuracy_that_a_probe_does(
    run: TrainingRun, task: Path, tmp_path: Path
) -> None:
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # type: ignore
    twin = run.fork()
    found = evaluate_with_harness(run, ["local_choice"], include_path=task)
    assert states[0] == random.getstate() and torch.equal(states[2], torch.get_rng_state())
    np.testing.assert_array_equal(states[1], np.random.get_state()[1])  # type: ignore[arg-type]
    asked = [
        Item(str(n), row["question"], tuple(f" {c}" for c in row["choices"]), row["gold"])
        for n, row in enumerate(ROWS)
    ]
    probe = Probe("local", "", "", lambda: asked, lambda: [])
    encoded = encode_probe(probe, "feedback", run.corpus.tokenizer, 16)
    twin.model.eval()
    expected = result_of(encoded, continuation_scores(twin.model, encoded, twin.autocast()))
    twin.model.train()
    assert found["local_choice"]["acc,none"] == pytest.approx(expected.accuracy)
    assert run.ledger.accounts["evaluation"].tokens == encoded.evaluated
    np.testing.assert_array_equal(
        run.advance([0.3, 0.7], 2).train_loss, twin.advance([0.3, 0.7], 2).train_loss
    )
    run.save(tmp_path / "run")
    again = evaluate_checkpoint(tmp_path / "run", ["local_choice"], include_path=task, limit=4)
    assert 0 <= again["local_choice"]["acc,none"] <= 1
    with pytest.raises(CheckpointError, match="no checkpoint"):
        evaluate_checkpoint(tmp_path / "none", ["local_choice"])


def test_cudas_generators_are_restored_where_there_are_any(monkeypatch: Any) -> None:
    devices = [torch.tensor([1]), torch.tensor([2])]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: [d.clone() for d in devices])
    monkeypatch.setattr(
        torch.cuda,
        "set_rng_state_all",
        lambda states: [d.copy_(s) for d, s in zip(devices, states, strict=True)],
    )
    with _global_states():
        for device in devices:
            device.zero_()
    assert [int(d) for d in devices] == [1, 2]


@pytest.mark.slow
def test_an_unknown_task_is_named(run: TrainingRun, task: Path) -> None:
    with pytest.raises(MixgymError, match="knows no task local_choise"):
        evaluate_with_harness(run, ["local_choise"], include_path=task)


class Request:
    def __init__(self, *args: Any) -> None:
        self.args = args


def test_generation_is_greedy_and_stops(run: TrainingRun) -> None:
    run.advance([0.5, 0.5], 40)
    model = HarnessModel(run)
    (text,) = model.generate_until([Request("The", {"until": [], "max_gen_toks": 8})])
    assert 0 < len(text) <= 8 and text.isascii()
    (cut,) = model.generate_until([Request("The", {"until": text[3], "max_gen_toks": 8})])
    assert cut == text[: text.index(text[3])]
    ((score, greedy),) = model.loglikelihood([Request("The", text)])
    assert greedy and score < 0
    ((_, wrong),) = model.loglikelihood([Request("The", "\x7f\x7f")])
    assert not wrong
    (rolling,) = model.loglikelihood_rolling([Request("The" + text)])
    assert rolling < score
    with pytest.raises(MixgymError, match="greedily"):
        model.generate_until([Request("The", {"do_sample": True})])

"""Saved policies: older ones load, damaged ones are refused by the name of the file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from mixgym.agents import make_agent
from mixgym.errors import CheckpointError
from tests.agents.toy import Boxed, ContextualSimplex

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
COMMITTED = sorted(path.parent for path in RESULTS.glob("*/policies/**/cost.json"))
LIBRARIES = {"acodm": "torch", "sac": "sb3_contrib", "tqc": "sb3_contrib", "ppo": "sb3_contrib"}
SMALL: dict[str, Any] = {"width": 8, "heads": 2, "depth": 1, "batch_size": 2}


def test_policies_were_committed() -> None:
    assert len(COMMITTED) > 10


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda path: str(path.relative_to(RESULTS)))
def test_every_committed_policy_still_loads(folder: Path) -> None:
    """Format, digest, hyperparameters, tensors; with the digest that their results name."""
    policy = json.loads((folder / "cost.json").read_text())["policy"]
    record = json.loads((folder / policy / "policy.json").read_text())
    pytest.importorskip(LIBRARIES.get(record["agent"], "d3rlpy"))
    agent: Any = make_agent(record["agent"], policy=str(folder), digest=record["digest"])
    assert {**record["config"], **vars(agent.config)}.keys() == record["config"].keys()
    assert agent.tally.total.tokens == 0 and agent._saved.scalars["cost"]["tokens"] > 0


def saved(name: str, folder: Path) -> Callable[[], Any]:
    """Save a learned policy; returns what acts by it."""
    if name != "acodm":
        pytest.importorskip("sb3_contrib")
    env: Any = ContextualSimplex(4, decisions=5)
    env = env if name == "acodm" else Boxed(env)
    further = {} if name == "acodm" else {"warmup": 2, "gradient_steps": 1}
    agent = make_agent(name, **SMALL, **further)
    env.reset(seed=0)
    agent.start(env, 0)
    agent.learn(env, 5)
    agent.save(folder)

    def use() -> None:
        for frozen in (True, False):
            again = make_agent(name, policy=str(folder), frozen=frozen)
            observation, info = env.reset(seed=1)
            again.start(env, 1)
            again.act(observation, info)
            if not frozen:
                again.load(folder)

    use()
    return use


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the record and make it consistent again, as no accident does."""
    record = json.loads((folder / "policy.json").read_text())
    record.pop("digest")
    change(record)
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    (folder / "policy.json").write_text(json.dumps({**record, "digest": digest}))


def retensor(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Change the tensors and make the record consistent again."""
    file = next(folder.glob("*.safetensors"))
    tensors = load(file.read_bytes())
    change(tensors)
    content = save(tensors)
    file.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    rewrite(folder, lambda record: record["tensors"].update(sha256=digest))


@pytest.mark.parametrize("name", ["acodm", "sac"])
@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", "null", "[" * 5000, '{"format": 1}', '{"format": "1"}']
)
def test_a_record_that_is_none_is_refused_by_name(name: str, text: str, tmp_path: Path) -> None:
    use = saved(name, tmp_path)
    (tmp_path / "policy.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"policy\.json.*restore it from a copy"):
        use()


@pytest.mark.parametrize("name", ["acodm", "sac"])
def test_every_flipped_byte_is_noticed(name: str, tmp_path: Path) -> None:
    use = saved(name, tmp_path)
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        for place in np.random.default_rng(0).integers(len(content), size=20).tolist():
            flipped = bytearray(content)
            flipped[place] ^= 1
            file.write_bytes(bytes(flipped))
            with pytest.raises(CheckpointError, match=r"policy\.json|\.safetensors|is missing"):
                use()
        file.write_bytes(content)
    use()


def test_values_of_another_kind_are_refused_by_name(tmp_path: Path) -> None:
    changes: list[Callable[[dict[str, Any]], Any]] = [
        lambda record: record["scalars"].pop("decisions"),
        lambda record: record["scalars"].update(seed="0"),
        lambda record: record["scalars"].update(normaliser=[]),
        lambda record: record["scalars"]["normaliser"].update(mean=[1.0]),
        lambda record: record["scalars"].update(rng={}),
        lambda record: record["scalars"].update(added=99),
        lambda record: record["layout"].update(domains="code"),
        lambda record: record["config"].update(gamma=2.0),
        lambda record: record["config"].update(gama=0.5),
    ]
    use = saved("acodm", tmp_path)
    whole = (tmp_path / "policy.json").read_bytes()
    for change in changes:
        (tmp_path / "policy.json").write_bytes(whole)
        rewrite(tmp_path, change)
        with pytest.raises(CheckpointError, match=str(tmp_path)):
            use()


@pytest.mark.parametrize("name", ["acodm", "sac"])
def test_tensors_of_other_names_shapes_and_dtypes_and_nan_are_refused(
    name: str, tmp_path: Path
) -> None:
    use = saved(name, tmp_path)
    weights = "actor.head.weight" if name == "acodm" else "policy.actor.mu.weight"
    moments = "actor_optimiser.0.exp_avg"
    rows = "replay.reward" if name == "acodm" else "replay.rewards"
    changes: list[Callable[[dict[str, torch.Tensor]], Any]] = [
        lambda t: t.pop(weights),
        lambda t: t.update({weights + "s": t[weights].clone()}),
        lambda t: t.update({weights: t[weights][:, :-1].clone()}),
        lambda t: t.update({weights: t[weights].double()}),
        lambda t: t.update({weights: t[weights] * float("nan")}),
        lambda t: t.update({moments: t[moments][:-1].clone()}),
        lambda t: t.update({moments.replace(".0.", ".99."): t[moments].clone()}),
        lambda t: t.update({rows: t[rows][:-1].clone()}),
        lambda t: t.pop(rows),
    ]
    kept = {file: file.read_bytes() for file in tmp_path.iterdir()}
    for number, change in enumerate(changes):
        retensor(tmp_path, change)
        with pytest.raises(CheckpointError, match=str(tmp_path)):
            use()
            raise AssertionError(number)
        for file, content in kept.items():
            file.write_bytes(content)
    use()

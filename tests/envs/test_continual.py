"""What is particular to the continual environments."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from test_registry import make, rollout

import mixgym  # noqa: F401
from mixgym.envs.continual_arguments import ContinualArguments
from mixgym.envs.fields import FIELD_PROBES, FIELDS, field_corpus, field_domains
from mixgym.envs.nano_continual import NanoContinualEnv
from mixgym.errors import MixgymError, UnknownNameError
from mixgym.lm.base import BaseSpec
from mixgym.probes import PROBES
from mixgym.probes.measure import measure

NANO = "mixgym/NanoContinual-v0"
ACTIONS = [np.array(a, dtype=np.float32) for a in ([0.5, -0.5], [-1.0, 1.0], [0.0, 0.3])]


def nano(**arguments: Any) -> Any:
    return make(NANO, **arguments).unwrapped


def parameters(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_every_seed_starts_from_the_base() -> None:
    env = nano()
    weights = []
    for seed in (1, 2):
        _, info = env.reset(seed=seed)
        weights.append(parameters(env.run.model))
        assert info["base_hash"] == env.base.hash and len(env.base.hash) == 64
        assert env.run.step == 0 and info["retention"] == info["gain"] == 0.0
    assert torch.equal(*weights)
    env.step(ACTIONS[0])
    assert not torch.equal(weights[0], parameters(env.run.model))
    other = nano(base={"seed": 1})
    other.reset(seed=1)
    assert not torch.equal(weights[0], parameters(other.run.model))
    none = nano(base={"steps": 0})
    _, info = none.reset(seed=1)
    assert info["base_hash"] == "" and none.base is None
    assert not torch.equal(weights[0], parameters(none.run.model))


def test_reward_is_the_change_of_the_feedback_in_info() -> None:
    weights = {"source": 2.0, "target": 0.5}
    env = nano(reward={"feedback": weights})
    steps = rollout(env, ACTIONS)
    infos = [steps[0][1], *(step[4] for step in steps[1:])]
    for step, before, after in zip(steps[1:], infos, infos[1:], strict=False):
        expected = sum(w * (after["feedback"][f] - before["feedback"][f])
                       for f, w in weights.items())  # fmt: skip
        assert step[1] == pytest.approx(expected, abs=1e-6)
        assert after["reward_terms"]["feedback"] == step[1]
    last = infos[-1]
    assert last["feedback"]["source"] == pytest.approx(
        (last["probes"]["lambada"] + last["probes"]["sciq"]) / 2, abs=1e-6
    )
    for name, longest in (("lambada", 96), ("gsm8k", 128)):
        found = measure(env.run, [name], "feedback", items=2, longest=longest, choices=False)
        assert found[name].log_probability == pytest.approx(last["probes"][name], rel=1e-9)


def test_retention_and_gain_are_against_the_base_on_the_same_windows() -> None:
    env = nano()
    steps = rollout(env, ACTIONS)
    start, last = steps[0][1]["validation_loss"], steps[-1][4]
    assert last["retention"] == pytest.approx(start[0] - last["validation_loss"][0], abs=1e-5)
    assert last["gain"] == pytest.approx(start[1] - last["validation_loss"][1], abs=1e-5)
    assert last["source_tokens"] == env.signals.tokens[0]
    fresh = nano()
    fresh.reset(seed=0)
    base, now = fresh.report(), env.report()
    assert base["retention"] == base["gain"] == 0.0
    assert now["retention"] == pytest.approx(base["domain_loss"][0] - now["domain_loss"][0])
    assert now["gain"] == pytest.approx(base["domain_loss"][1] - now["domain_loss"][1])
    assert now["probes"].keys() == {"lambada", "sciq", "gsm8k", "arithmetic"}
    assert all(probe["purpose"] == "report" for probe in now["probes"].values())
    assert now["probes"]["sciq"]["chance"] == 0.25
    assert base["feedback"] == {"source": 0.0, "target": 0.0} and base["overall"] == 0.0
    risen = {
        n: now["probes"][n]["log_probability"] - p["log_probability"]
        for n, p in base["probes"].items()
    }
    source = (risen["lambada"] + risen["sciq"]) / 2
    target = (risen["gsm8k"] + risen["arithmetic"]) / 2
    assert now["feedback"]["source"] == pytest.approx(source) and source != 0
    assert now["feedback"]["target"] == pytest.approx(target)
    assert now["overall"] == pytest.approx(source + target)


def test_report_of_other_starts() -> None:
    env = nano(base={"steps": 0})
    env.reset(seed=4)
    assert env.report()["retention"] == 0.0
    base = nano().base
    checkpoint = nano(base={"steps": 0})
    # A base is of its own text, so it is no checkpoint of this corpus.
    with pytest.raises(MixgymError, match="was trained on corpus"):
        checkpoint.reset(seed=4, options={"checkpoint": base.folder / "checkpoint"})


def test_a_saved_run_can_replace_the_base(tmp_path: Path) -> None:
    env = nano()
    rollout(env, ACTIONS)
    env.run.save(tmp_path / "run")
    again = nano()
    again.reset(seed=8, options={"checkpoint": tmp_path / "run"})
    assert torch.equal(parameters(env.run.model), parameters(again.run.model))
    assert again.report()["gain"] == 0.0


def test_the_window_holds_past_mixtures_and_feedback() -> None:
    env = nano(decisions=10)
    observation, info = env.reset(seed=0)
    assert env.layout.domain_features[:4] == ("target", "natural", "feedback", "mixture")
    named = dict(zip(env.layout.names, observation, strict=True))
    assert named["target.source"] == 0 and named["target.target"] == 1
    assert named["feedback.source"] == np.float32(info["feedback"]["source"])
    assert all(named[f"mixture_{i}.source"] == named[f"feedback_{i - 1}.source"] == 0
               for i in range(1, 8))  # fmt: skip
    start = info["feedback"]
    infos = []
    for n in range(10):
        observation, *_, info = env.step(ACTIONS[n % 3])
        infos.append(info)
    named = dict(zip(env.layout.names, observation, strict=True))
    for i in range(8):
        past = infos[-1 - i]
        for k, field in enumerate(("source", "target")):
            if i:
                assert named[f"mixture_{i}.{field}"] == np.float32(past["mixture"][k])
            assert named[f"feedback_{i}.{field}"] == pytest.approx(
                past["feedback"][field] - start[field], abs=1e-5
            )


@pytest.mark.parametrize("field", ["maths", "code", "prose"])
def test_a_fields_own_probes_have_as_many_feedback_items_as_are_asked_for(field: str) -> None:
    if field == "prose":
        pytest.importorskip("pyarrow")
    arguments = ContinualArguments()
    assert arguments.feedback_items == 64
    for name in FIELD_PROBES[field]:
        longest = arguments.longest_answer(name)
        assert len(PROBES[name].items("feedback", longest=longest)) >= 64, name
    assert ContinualArguments(feedback_longest=96).longest_answer("gsm8k") == 96


def test_fewer_feedback_items_than_asked_for_are_told() -> None:
    with pytest.warns(UserWarning, match="probe 'gsm8k' is 13 items, not the 64 asked for"):
        assert nano(feedback_items=64, feedback_longest=96).feedback_tokens > 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert nano(feedback_items=16).feedback_tokens > 0
        assert [p.items for p in nano(feedback_items=64).probes["target"]] == [64, 64]


def test_fields_are_arguments() -> None:
    env = nano(target="code", feedback={"target": ["mbpp"]})
    assert env.corpus.names == ("source", "target")
    assert "python of nano8" in env.corpus.domain("target").description
    assert env.arguments.probes == {"source": ("lambada", "sciq"), "target": ("mbpp",)}
    _, info = env.reset(seed=0)
    assert set(info["probes"]) == {"lambada", "sciq", "mbpp"}
    assert env.base.folder == nano().base.folder
    # The default probes of a field go with it.
    assert nano(target="code").arguments.probes["target"] == ("humaneval", "mbpp")
    assert nano(target="maths").arguments.probes["target"] == ("gsm8k", "arithmetic")
    assert nano(source="documents").base.folder != env.base.folder
    own = nano(source=["wiki_fr", "wiki_en"], target="icd10",
               feedback={"source": "lambada", "target": "arithmetic"})  # fmt: skip
    assert own.base.record["corpus_spec"]["domains"] == ["wiki_fr", "wiki_en"]


def test_general_sources_share_no_domain_nor_do_targets() -> None:
    assert not set(FIELDS["prose"]) & set(FIELDS["documents"])
    assert not set(FIELDS["maths"]) & set(FIELDS["code"])
    every = field_corpus("core19", "prose", "code", topics=26)
    assert every.name == (
        "topics:core19?source=wiki_en,speeches,legal,bible,recipes&target=python,js_ts,cpp"
    )
    assert field_domains("prose", "core19~legal") == ("wiki_en", "speeches", "bible", "recipes")
    for names in ContinualArguments().probes.values():
        assert all(name in PROBES for name in names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "prosa"}, "did you mean 'prose'"),
        ({"target": ["maths"]}, "unknown field or domain 'maths'"),
        ({"target": "recipes"}, "'recipes' twice"),
        ({"target": []}, "without domains"),
        ({"feedback": {"targets": ["mbpp"]}}, "did you mean 'target'"),
        ({"feedback": {"target": ["mbp"]}}, "did you mean 'mbpp'"),
        ({"feedback_items": 0}, "feedback_items must be a whole number >= 1"),
        ({"base": {"step": 3}}, "did you mean 'steps'"),
        ({"base": {"steps": -1}}, "base: steps"),
        ({"tokenizer": "bpe-512"}, "'bytes' or 'hf:NAME_OR_PATH'"),
    ],
)
def test_bad_arguments_are_explained(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((MixgymError, ValueError), match=message):
        gym.make(NANO, **arguments)


def test_a_field_without_known_probes_needs_feedback() -> None:
    arguments = ContinualArguments(target=["python"])
    with pytest.raises(MixgymError, match=r"feedback=\{'target'"):
        _ = arguments.probes


def test_the_base_depends_on_the_source_and_model_only() -> None:
    defaults = NanoContinualEnv.DEFAULTS

    def spec(**arguments: Any) -> BaseSpec | None:
        changed = defaults.updated(arguments)
        return changed.base_spec(changed.training_settings())

    same = spec()
    assert same is not None and same.steps == 300
    assert spec(target="code", learning_rate=0.1, batch_size=2, decisions=3) == same
    assert spec(base={"seed": 2}) != same and spec(base={"seed": 2}).steps == 300  # type: ignore
    assert spec(context=32) != same and spec(source="documents") != same
    assert spec(base={"learning_rate": 0.1}).settings.learning_rate == 0.1  # type: ignore
    with pytest.raises(UnknownNameError, match="did you mean 'learning_rate'"):
        spec(base={"learning_rat": 0.1})


def test_topics_belong_to_fields() -> None:
    pytest.importorskip("sklearn")
    env: Any = make("mixgym/MicroContinual52-v0").unwrapped
    groups = env.task.groups
    assert env.task.K == 52 and len(groups["source"]) == len(groups["target"]) == 26
    assert groups["source"] + groups["target"] == env.task.names
    np.testing.assert_allclose(env.fields.sum(axis=1), 1.0)
    assert (env.fields[0, :26] > 0).all() and (env.fields[0, 26:] == 0).all()
    mixture = env.task.mixture({"source": 0.3, "target": 0.7})
    assert mixture[:26].sum() == pytest.approx(0.3)
    whole: Any = make("mixgym/MicroContinual-v0").unwrapped
    assert whole.base.folder == env.base.folder

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from mixgym.compare.plan import Comparison, Study, merge, read_suite
from mixgym.compare.report import agent_text, command
from mixgym.errors import MixgymError, UnknownNameError
from mixgym.experiment.configuration import absolute_paths, configuration_id
from mixgym.experiment.request import AgentSpec, parse_agent, parse_assignment

ROOT = Path(__file__).parents[2]
A, B, C = (AgentSpec(name, name) for name in ("uniform", "natural", "random"))


def study(*agents: AgentSpec, seeds: tuple[int, ...] = (0, 1), **changes: object) -> Study:
    comparison = Comparison("mixgym/NanoPretrain-v0", agents, seeds, corpus_hash="abc")
    return Study("s", (replace(comparison, **changes),), "1.0")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "label", "agent", "arguments"),
    [
        ("uniform", "uniform", "uniform", {}),
        ("flat=uniform", "flat", "uniform", {}),
        ("static:{mixture: natural}", "static", "static", {"mixture": "natural"}),
        (
            "half=static:{mixture: {natural: 0.5, objective: 0.5}}",
            "half",
            "static",
            {"mixture": {"natural": 0.5, "objective": 0.5}},
        ),
        ("t=temperature: {T: 2}", "t", "temperature", {"T": 2}),
        ("s=static:{mixture: 'a=b:c'}", "s", "static", {"mixture": "a=b:c"}),
    ],
)
def test_agent_specs(text: str, label: str, agent: str, arguments: dict[str, object]) -> None:
    spec = parse_agent(text)
    assert spec == AgentSpec(label, agent, arguments)
    assert parse_agent(agent_text(spec)) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "LABEL=NAME"),
        ("a=b=c", "LABEL=NAME"),
        ("../x=uniform", "cannot name a folder"),
        ("static:natural", "not a mapping"),
        ("static:{mixture: [", "not YAML"),
        ("static:{mixture: .nan}", "finite"),
        ("static:{mixture: 2020-01-01}", "cannot be written as JSON"),
    ],
)
def test_bad_agent_specs_are_refused(text: str, message: str) -> None:
    with pytest.raises(MixgymError, match=message):
        parse_agent(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 1e5),
        ("-2.5e-4", -2.5e-4),
        ("+1.e2", 100.0),
        ("{a: [1e-3, 2]}", {"a": [0.001, 2]}),
        ("'1e-3'", "1e-3"),
        ("1e", "1e"),
        ("nano-1e5", "nano-1e5"),
    ],
)
def test_numbers_may_have_a_bare_exponent(text: str, value: object) -> None:
    found = parse_assignment(f"key={text}")[1]
    assert found == value and type(found) is type(value)
    assert parse_agent(f"static:{{key: {text}}}").arguments == {"key": value}


def test_assignments() -> None:
    assert parse_assignment("limit={recipes: 40000}") == ("limit", {"recipes": 40000})
    with pytest.raises(MixgymError, match="key=value"):
        parse_assignment("decisions")


def test_reference_must_be_an_arm() -> None:
    assert study(A, B).comparisons[0].reference == "uniform"
    with pytest.raises(UnknownNameError, match="did you mean 'natural'"):
        study(A, B, reference="naturl")


def test_labels_and_seeds_must_be_unique() -> None:
    with pytest.raises(MixgymError, match="labelled 'uniform'"):
        study(A, A)
    with pytest.raises(MixgymError, match="repeat"):
        study(A, seeds=(1, 1))
    with pytest.raises(MixgymError, match="-1"):
        study(A, seeds=(-1,))


def test_runs_are_planned_seed_by_seed() -> None:
    planned = [(r.seed, r.agent.label) for _, r in study(A, B).requests()]
    assert planned == [(0, "uniform"), (0, "natural"), (1, "uniform"), (1, "natural")]


def test_config_reads_back_equal() -> None:
    one = study(A, parse_agent("half=static:{mixture: {natural: 0.5}}"))
    two = replace(one, comparisons=(*one.comparisons, replace(one.comparisons[0], name="other")))
    for each in (one, two):
        assert Study.from_json(json.loads(json.dumps(each.to_json()))) == each


def test_one_comparison_and_several_lie_in_folders_of_their_own() -> None:
    one = study(A)
    first = one.comparisons[0]
    two = replace(one, comparisons=(first, replace(first, name="other")))
    assert one.run_directory(first, "uniform", 3) == Path("runs/uniform/seed-3")
    assert two.run_directory(first, "uniform", 3) == Path("runs/NanoPretrain-v0/uniform/seed-3")


def test_a_suite_of_one_has_the_folders_of_a_suite(tmp_path: Path) -> None:
    demo = read_suite(ROOT / "benchmarks" / "suites" / "demo.yml")
    planned = {demo.run_directory(c, r.agent.label, r.seed).as_posix() for c, r in demo.requests()}
    printed = re.findall(r"mixgym replay runs/demo/(\S+)", (ROOT / "Makefile").read_text())
    assert printed == ["runs/NanoPretrain-v0/natural/seed-0"] and printed[0] in planned
    path = tmp_path / "config.json"
    path.write_text(json.dumps(demo.to_json()))
    assert read_suite(path) == demo == demo.unbound()


def test_resuming_may_add_agents_and_seeds() -> None:
    merged = merge(study(A, B), study(A, B, C, seeds=(1, 2)))
    assert merged.comparisons[0].labels == ("uniform", "natural", "random")
    assert merged.comparisons[0].seeds == (0, 1, 2)


def test_resuming_keeps_the_reference_unless_another_is_asked_for() -> None:
    stored, asked = study(A, B, reference="natural"), study(A, B)
    assert merge(stored, asked, keep_reference=True).comparisons[0].reference == "natural"
    with pytest.raises(MixgymError, match="reference"):
        merge(stored, asked)


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        (study(A, B, env_arguments={"decisions": 3}), "env_arguments"),
        (study(A, B, corpus_hash="def"), "corpus_hash"),
        (study(A, B, resolved={"settings": {"learning_rate": 0.005}}), "older mixgym"),
        (study(A, AgentSpec("natural", "random")), "agent natural"),
        (replace(study(A, B), version="2.0"), "version"),
        (study(A, B, name="other"), "comparisons"),
    ],
)
def test_resuming_something_else_names_what_differs(asked: Study, key: str) -> None:
    with pytest.raises(MixgymError, match=f"{key}.*choose another --out"):
        merge(study(A, B), asked)


def test_resuming_after_a_preset_has_changed_names_the_keys() -> None:
    old = {"settings": {"learning_rate": 0.008, "clip": 1.0}, "arguments": {"reward": "a"}}
    new = {"settings": {"learning_rate": 0.005, "clip": 1.0}, "arguments": {"reward": "a", "b": 1}}
    stored, asked = study(A, resolved=old), study(A, resolved=new)
    with pytest.raises(MixgymError) as error:
        merge(stored, asked)
    assert "settings.learning_rate (stored 0.008, now 0.005)" in str(error.value)
    assert "arguments.b (stored 'nothing', now 1)" in str(error.value)
    assert "clip" not in str(error.value) and "reward" not in str(error.value)
    assert merge(stored, study(A, B, resolved=old)).comparisons[0].resolved == old
    first, second = (each.requests()[0][1] for each in (stored, asked))
    assert re.fullmatch("[0-9a-f]{16}", first.configuration)
    assert first.configuration != second.configuration
    assert configuration_id(dict(reversed(old.items()))) == first.configuration
    assert any("learning_rate" in line for line in second.differences(first.to_json()))
    assert first.differences(json.loads(json.dumps(first.to_json()))) == []


def test_paths_in_arguments_become_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    given = {"corpus": "files:text?field=body", "model": "model", "tokenizer": "hf:model", "a": 1}
    found = {
        "corpus": f"files:{tmp_path}/text?field=body",
        "model": f"{tmp_path}/model",
        "tokenizer": f"hf:{tmp_path}/model",
        "a": 1,
    }
    assert absolute_paths(given) == found == absolute_paths(found)
    assert absolute_paths({"corpus": "text"}) == {"corpus": f"files:{tmp_path}/text"}
    named = {"corpus": "core19~legal", "model": "nano", "tokenizer": "bytes"}
    assert absolute_paths(named) == named


def test_suite_files(tmp_path: Path) -> None:
    path = tmp_path / "foundation.yml"
    path.write_text(
        """
comparisons:
  - env: mixgym/MicroTarget-v0
    arguments: {decisions: 4, learning_rate: 1e-3}
    seeds: 2
    reference: natural
    agents:
      - agent: natural
      - {label: half, agent: static, arguments: {mixture: {natural: 0.5, objective: 0.5}}}
  - {env: mixgym/NanoPretrain-v0, seeds: [4, 7], agents: [uniform]}
"""
    )
    suite = read_suite(path)
    assert suite.name == "foundation"
    assert [c.name for c in suite.comparisons] == ["MicroTarget-v0", "NanoPretrain-v0"]
    assert suite.comparisons[0].env_arguments == {"decisions": 4, "learning_rate": 0.001}
    assert suite.comparisons[0].labels == ("natural", "half")
    assert suite.comparisons[1].seeds == (4, 7)


def test_misspelt_suite_keys_are_named(tmp_path: Path) -> None:
    path = tmp_path / "s.yml"
    path.write_text("comparisons: [{env: e, seed: 3, agents: [uniform]}]")
    with pytest.raises(UnknownNameError, match="did you mean 'seeds'"):
        read_suite(path)
    with pytest.raises(MixgymError, match="cannot be read"):
        read_suite(tmp_path / "none.yml")


def test_reports_command_means_the_same_study() -> None:
    spec = parse_agent("half=static:{mixture: {natural: 0.5, objective: 0.5}}")
    one = study(A, spec, seeds=(2, 3), env_arguments={"limit": {"recipes": 40000}})
    words = shlex.split(command(one))
    assert [parse_agent(words[i + 1]) for i, x in enumerate(words) if x == "--agent"] == [A, spec]
    assert parse_assignment(words[words.index("--env-arg") + 1]) == ("limit", {"recipes": 40000})
    assert words[words.index("--first-seed") + 1] == "2"

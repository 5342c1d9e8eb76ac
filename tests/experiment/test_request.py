"""What people write: bounded, checked when it is read, and named in the error."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from mixgym.compare.plan import Comparison, read_suite, seed_range
from mixgym.errors import MixgymError
from mixgym.experiment.request import AgentSpec, parse_agent
from mixgym.experiment.yamltext import MAX_VALUES, load_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 10)}]\n" for i in range(12)
)


def suite(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "suite.yml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ("1000000000", "seeds is 1000000000: give at least 1 and at most 10,000"),
        ("true", "seeds is True: give a whole number, or a list of them"),
        ("0", "seeds is 0: give at least 1"),
        ("3.5", "seeds is 3.5: give a whole number"),
        ("abc", "seeds is 'abc': give a whole number"),
        ("null", "seeds is None: give a whole number"),
        ("[true]", "seed True is not a whole number"),
        ("{a: 1}", "give a whole number"),
    ],
)
def test_seeds_of_a_suite_are_bounded_whole_numbers(
    seeds: str, message: str, tmp_path: Path
) -> None:
    path = suite(tmp_path, f"comparisons: [{{env: e, seeds: {seeds}, agents: [uniform]}}]")
    began = time.monotonic()
    with pytest.raises(MixgymError, match=message) as error:
        read_suite(path)
    assert time.monotonic() - began < 5 and str(path) in str(error.value)


def test_seeds_may_be_any_sequence() -> None:
    assert seed_range(3, 2) == (2, 3, 4) and seed_range(range(2)) == (0, 1)
    with pytest.raises(MixgymError, match="first_seed is True"):
        seed_range(3, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{BOMB}comparisons: []", "aliases written out"),
        ("comparisons: &a [*a]", "contains itself"),
        ("comparisons: " + "[" * 5000, "nested too deeply"),
        ("comparisons: 5", "not a list of mappings"),
        ("comparisons: [x]", "not a list of mappings"),
        ("comparisons: [{env: e, seeds: 1, agents: uniform}]", "agents of e are 'uniform'"),
        ("comparisons: [{env: e, seeds: 1, agents: [a], arguments: [1]}]", "not a mapping"),
        (
            "comparisons: [{env: e, seeds: 1, agents: [{agent: a, arguments: [1]}]}]",
            "arguments of agent 'a' are",
        ),
        ("comparisons: [{env: e, seeds: 1, agents: [a], first_seed: x}]", "first_seed is 'x'"),
    ],
)
def test_a_suite_that_is_none_says_so_at_once(text: str, message: str, tmp_path: Path) -> None:
    path = suite(tmp_path, text)
    began = time.monotonic()
    with pytest.raises(MixgymError, match=message) as error:
        read_suite(path)
    assert time.monotonic() - began < 10 and str(path) in str(error.value)


def test_aliases_that_stand_for_little_are_read() -> None:
    assert load_yaml("{a: &x [1, 2], b: *x}") == {"a": [1, 2], "b": [1, 2]}
    big = yaml.safe_dump({"a": list(range(MAX_VALUES // 2))}, default_flow_style=True)
    assert len(load_yaml(big)["a"]) == MAX_VALUES // 2
    with pytest.raises(yaml.YAMLError, match="at most"):
        load_yaml(BOMB)


def test_names_that_name_folders_are_bounded_when_they_are_read() -> None:
    long = "x" * 300
    with pytest.raises(MixgymError, match=r"agent label 'x+'\.\.\. has 300 characters"):
        parse_agent(f"{long}=uniform")
    with pytest.raises(MixgymError, match=r"comparison name 'x+'\.\.\. has 300 characters"):
        Comparison("e", (AgentSpec("a", "a"),), (0,), name=long)
    assert len(AgentSpec("x" * 100, "a").label) == 100

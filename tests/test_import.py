import inspect
import subprocess
import sys
from importlib import import_module

import pytest

import mixgym

HEAVY = (
    "torch",
    "transformers",
    "matplotlib",
    "pydantic",
    "typer",
    "scipy",
    "safetensors",
    "stable_baselines3",
    "mixgym_agents",
)


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_mixgym_is_light() -> None:
    assert _python(f"import mixgym, sys; print([m for m in {HEAVY!r} if m in sys.modules])") == "[]"


def test_environments_are_registered_by_the_import() -> None:
    code = "import mixgym, gymnasium; print(gymnasium.spec('mixgym/MicroTarget-v0').entry_point)"
    assert _python(code) == "mixgym.envs.micro_target:MicroTargetEnv"


@pytest.mark.parametrize("package", ["mixgym", "mixgym.compare"])
def test_every_public_name_resolves(package: str) -> None:
    module = import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_public_names_are_listed_before_they_are_loaded() -> None:
    assert _python("import mixgym; print(set(mixgym.__all__) <= set(dir(mixgym)))") == "True"


def test_what_agents_build_on_needs_no_torch() -> None:
    names = "Agent, Mixer, FixedMixer, MixerAgent, as_agent, RewardTerm, make_agent, list_agents"
    code = f"from mixgym import {names}; import sys; print('torch' in sys.modules)"
    assert _python(code) == "False"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'comparr'"):
        mixgym.comparr  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(
    "first",
    [
        "import mixgym.compare.study as study",
        "from mixgym.compare.plan import Study",
        "from mixgym.compare import compare",
        "mixgym.compare",
    ],
)
def test_compare_is_function_and_package_whatever_is_imported_first(first: str) -> None:
    code = f"""
import mixgym
{first}
import mixgym.compare.study as study
from mixgym import compare
def stub(*args, **kwargs): return args, kwargs
study.compare = stub
assert compare is mixgym.compare
print(compare("env", ["natural"], out="x"), mixgym.compare.study is study)
"""
    assert _python(code) == "(('env', ['natural']), {'out': 'x'}) True"


def test_collect_is_the_function() -> None:
    from mixgym.trajectories import collect

    assert mixgym.collect is collect and inspect.isfunction(collect)


def test_mixgym_never_imports_agents() -> None:
    from pathlib import Path

    for file in (Path(__file__).parents[1] / "mixgym").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "import mixgym_agents" not in text and "from mixgym_agents" not in text, file

import subprocess
import sys

HEAVY = (
    "torch",
    "transformers",
    "matplotlib",
    "typer",
    "scipy",
    "stable_baselines3",
    "mixgym_agents",
)


def test_importing_mixgym_is_light() -> None:
    code = f"import mixgym, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert output.stdout.strip() == "[]", output.stderr


def test_environments_are_registered_by_the_import() -> None:
    code = "import mixgym, gymnasium; print(gymnasium.spec('mixgym/MicroTarget-v0').entry_point)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert output.stdout.strip() == "mixgym.envs.micro_target:MicroTargetEnv", output.stderr


def test_mixgym_never_imports_agents() -> None:
    from pathlib import Path

    for file in (Path(__file__).parents[1] / "mixgym").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "import mixgym_agents" not in text and "from mixgym_agents" not in text, file

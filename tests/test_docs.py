from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import gymnasium as gym

import mixgym  # noqa: F401
from mixgym.agents import list_agents
from mixgym.envs.registration import ENVIRONMENTS

ROOT = Path(__file__).parents[1]


def test_generated_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_info_table_has_every_key() -> None:
    env = gym.make("mixgym/NanoPretrain-v0", decisions=1, steps_per_decision=1)
    _, info = env.reset(seed=0)
    page = (ROOT / "docs" / "environments" / "nano_pretrain.md").read_text()
    table = page.split("## Info")[1].split("##")[0]
    assert re.findall(r"^\| `(\w+)`", table, flags=re.MULTILINE) == list(info)


def test_every_environment_and_agent_is_documented() -> None:
    text = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "docs").rglob("*.md"))
    for name in [*ENVIRONMENTS, *(f"`{agent}`" for agent in list_agents())]:
        assert name in text, f"{name} is on no page of docs/"


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)} -> {target}")
    assert not broken

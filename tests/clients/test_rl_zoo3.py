"""rl_zoo3 from a YAML file, as its command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rl_zoo3", reason="of the extra clients: make test-clients")

HYPERPARAMETERS = """
mixgym/NanoPretrain-v0:
  normalize: true
  n_timesteps: 16
  policy: MlpPolicy
  n_steps: 8
  batch_size: 8
  n_epochs: 1
"""


def test_ppo_from_yaml(tmp_path: Path) -> None:
    (tmp_path / "ppo.yml").write_text(HYPERPARAMETERS)
    command = [sys.executable, "-m", "rl_zoo3.train", "--algo", "ppo"]
    command += ["--env", "mixgym/NanoPretrain-v0", "--gym-packages", "mixgym"]
    command += ["--env-kwargs", "decisions:4", "-conf", "ppo.yml", "-f", "logs"]
    command += ["--eval-freq", "-1", "--seed", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("logs/ppo/*/mixgym-NanoPretrain-v0.zip"))

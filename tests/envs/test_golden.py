"""Rollouts as they were when the version was given: a silent change of dynamics shows here.

The tolerance admits another processor's rounding, not another algorithm. After a deliberate
change raise the environment's version and rewrite the file: UPDATE_GOLDEN=1 pytest <this file>
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from test_registry import SCALAR, short

from mixgym.lm.settings import PRESETS

FILE = Path(__file__).with_name("golden.json")


def model_facts(env: Any) -> dict[str, Any]:
    preset = PRESETS[env.arguments.model]
    return {"config": dict(preset.config), "context": env.settings.context}


def measured(env_id: str) -> dict[str, Any]:
    env: Any = gym.make(
        env_id, **{**short(env_id), "steps_per_decision": 5, "action_map": "softmax"}
    )
    _, info = env.reset(seed=123)
    rng = np.random.default_rng(0)
    losses, rewards = [info["objective_loss"]], []
    for _ in range(3):
        action = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
        _, reward, _, _, info = env.step(action)
        losses.append(info["objective_loss"])
        rewards.append(reward)
    registered: Any = gym.make(env_id).unwrapped
    return {
        "configuration": json.loads(
            json.dumps(
                {
                    "arguments": asdict(registered.arguments),
                    "settings": asdict(registered.settings),
                    "model": model_facts(registered),
                }
            )
        ),
        "corpus_hash": info["corpus_hash"],
        "mixture": info["mixture"].tolist(),
        "objective_loss": losses,
        "rewards": rewards,
        "test_loss": env.unwrapped.report("test")["domain_loss"],
    }


@pytest.mark.parametrize("env_id", SCALAR)
def test_rollout_is_the_versions_own(env_id: str) -> None:
    found = measured(env_id)
    golden = json.loads(FILE.read_text()) if FILE.exists() else {}
    if os.environ.get("UPDATE_GOLDEN"):
        FILE.write_text(json.dumps({**golden, env_id: found}, indent=1) + "\n")
        return
    expected = golden[env_id]
    assert found["configuration"] == expected["configuration"]
    assert found["corpus_hash"] == expected["corpus_hash"]
    for name in ("mixture", "objective_loss", "rewards", "test_loss"):
        np.testing.assert_allclose(found[name], expected[name], atol=2e-3, err_msg=name)

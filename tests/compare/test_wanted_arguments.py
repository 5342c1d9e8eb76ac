"""Agents that want gradients measured, from the environment's making to the replay."""

from __future__ import annotations

import json
from pathlib import Path

from small_study import TINY

from mixgym.compare import replay_run
from mixgym.compare.plan import Comparison, Study
from mixgym.compare.validate import prepare
from mixgym.experiment.request import AgentSpec
from mixgym.experiment.run import execute_run


def test_a_run_of_a_gradient_mixer_is_made_and_replayed(tmp_path: Path) -> None:
    agents = tuple(AgentSpec(name, name) for name in ("natural", "dga"))
    comparison = Comparison("NanoPretrain-v0", agents, (0,), TINY, "natural")
    study = prepare(Study("s", (comparison,)))
    results = {}
    for _, request in study.requests():
        folder = tmp_path / request.agent.label
        results[request.agent.label] = execute_run(request, folder, timing_steps=0)
        assert replay_run(folder).difference is None
    config = json.loads((tmp_path / "dga" / "config.json").read_text())
    assert config["agent_env_arguments"] == {"gradients": {"kinds": ["objective"], "every": 1}}
    assert "gradients" in config["env_spec"]["kwargs"]
    natural, dga = results["natural"], results["dga"]
    assert dga["mixture_movement"] > 0
    assert dga["ledger"]["reward"]["tokens"] > natural["ledger"]["reward"]["tokens"]
    # arms share a configuration, whatever an agent wants measured for itself
    assert len({request.configuration for _, request in study.requests()}) == 1

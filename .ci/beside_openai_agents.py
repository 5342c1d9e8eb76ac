"""beside_openai_agents.py PLACE: both libraries import from the environment in PLACE."""

import sys
from pathlib import Path

import mixgym_agents

import agents
import mixgym

place = Path(sys.argv[1]).resolve()
for package in (agents, mixgym, mixgym_agents):
    if place not in Path(str(package.__file__)).resolve().parents:
        sys.exit(f"{package.__name__} comes from {package.__file__}, not from {place}")
assert agents.Runner is not None and agents.Agent is not mixgym.Agent
assert mixgym.make_agent("uniform").name == "uniform"

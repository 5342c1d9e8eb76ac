"""The environments' ids; entry points are strings, so registering imports nothing heavy."""

from __future__ import annotations

import gymnasium as gym

#: id -> entry point. A new environment is one file and one line here.
ENVIRONMENTS: dict[str, str] = {
    "mixgym/NanoPretrain-v0": "mixgym.envs.nano_pretrain:NanoPretrainEnv",
    "mixgym/MicroPretrain-v0": "mixgym.envs.micro_pretrain:MicroPretrainEnv",
    "mixgym/MicroTarget-v0": "mixgym.envs.micro_target:MicroTargetEnv",
    "mixgym/NanoContinual-v0": "mixgym.envs.nano_continual:NanoContinualEnv",
    "mixgym/MicroContinual-v0": "mixgym.envs.micro_continual:MicroContinualEnv",
    "mixgym/MicroContinual52-v0": "mixgym.envs.micro_continual52:MicroContinual52Env",
}


def register_environments() -> None:
    """Register every mixgym id with Gymnasium; calling it again changes nothing."""
    for env_id, entry_point in ENVIRONMENTS.items():
        if env_id not in gym.registry:
            gym.register(id=env_id, entry_point=entry_point)

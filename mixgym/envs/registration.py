"""The environments' ids; entry points are strings, so registering imports nothing heavy."""

from __future__ import annotations

import gymnasium as gym

#: id -> entry point. A new environment is one file and one line here.
ENVIRONMENTS: dict[str, str] = {
    "mixgym/NanoPretrain-v0": "mixgym.envs.nano_pretrain:NanoPretrainEnv",
    "mixgym/MicroPretrain-v0": "mixgym.envs.micro_pretrain:MicroPretrainEnv",
    "mixgym/MicroTarget-v0": "mixgym.envs.micro_target:MicroTargetEnv",
    "mixgym/MicroTarget-v1": "mixgym.envs.micro_target_v1:MicroTargetV1Env",
    "mixgym/mo-NanoPretrain-v0": "mixgym.envs.vector_reward:MoNanoPretrainEnv",
    "mixgym/mo-MicroPretrain-v0": "mixgym.envs.vector_reward:MoMicroPretrainEnv",
    "mixgym/mo-MicroTarget-v0": "mixgym.envs.vector_reward:MoMicroTargetEnv",
    "mixgym/NanoContinual-v0": "mixgym.envs.nano_continual:NanoContinualEnv",
    "mixgym/MicroContinual-v0": "mixgym.envs.micro_continual:MicroContinualEnv",
    "mixgym/MicroContinual52-v0": "mixgym.envs.micro_continual52:MicroContinual52Env",
}


def register_environments() -> None:
    """Register every mixgym id with Gymnasium; calling it again changes nothing."""
    for env_id, entry_point in ENVIRONMENTS.items():
        if env_id not in gym.registry:
            # Gymnasium's passive checker takes a reward that is no number for a mistake.
            vector = env_id.startswith("mixgym/mo-")
            gym.register(id=env_id, entry_point=entry_point, disable_env_checker=vector)

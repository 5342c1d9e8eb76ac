"""The environments' ids; entry points are strings, so registering imports nothing heavy."""

from __future__ import annotations

import gymnasium as gym

#: id -> entry point. A new environment is one file and one line here.
SCALAR_REWARD: dict[str, str] = {
    "mixgym/NanoPretrain-v0": "mixgym.envs.nano_pretrain:NanoPretrainEnv",
    "mixgym/MicroPretrain-v0": "mixgym.envs.micro_pretrain:MicroPretrainEnv",
    "mixgym/MicroTarget-v0": "mixgym.envs.micro_target:MicroTargetEnv",
    "mixgym/MicroTarget-v1": "mixgym.envs.micro_target_v1:MicroTargetV1Env",
    "mixgym/NanoContinual-v0": "mixgym.envs.nano_continual:NanoContinualEnv",
    "mixgym/MicroContinual-v0": "mixgym.envs.micro_continual:MicroContinualEnv",
    "mixgym/MicroContinual52-v0": "mixgym.envs.micro_continual52:MicroContinual52Env",
}

#: id -> entry point of `gym.make_vec`, of those whose runs can train together.
BATCHED: dict[str, str] = {
    "mixgym/NanoPretrain-v0": "mixgym.envs.nano_pretrain:BatchedNanoPretrainEnv",
    "mixgym/MicroPretrain-v0": "mixgym.envs.micro_pretrain:BatchedMicroPretrainEnv",
    "mixgym/MicroTarget-v0": "mixgym.envs.micro_target:BatchedMicroTargetEnv",
    "mixgym/MicroTarget-v1": "mixgym.envs.micro_target_v1:BatchedMicroTargetV1Env",
}

#: id -> entry point, and that of `gym.make_vec`, of those whose reward is a vector.
VECTOR_REWARD: dict[str, tuple[str, str]] = {
    "mixgym/mo-NanoPretrain-v0": (
        "mixgym.envs.vector_reward:MoNanoPretrainEnv",
        "mixgym.envs.vector_reward:mo_nano_pretrain",
    ),
    "mixgym/mo-MicroPretrain-v0": (
        "mixgym.envs.vector_reward:MoMicroPretrainEnv",
        "mixgym.envs.vector_reward:mo_micro_pretrain",
    ),
    "mixgym/mo-MicroTarget-v0": (
        "mixgym.envs.vector_reward:MoMicroTargetEnv",
        "mixgym.envs.vector_reward:mo_micro_target",
    ),
    "mixgym/mo-MicroTarget-v1": (
        "mixgym.envs.vector_reward:MoMicroTargetV1Env",
        "mixgym.envs.vector_reward:mo_micro_target_v1",
    ),
}

#: id -> entry point of every environment.
ENVIRONMENTS: dict[str, str] = {
    **SCALAR_REWARD,
    **{env_id: entry_point for env_id, (entry_point, _) in VECTOR_REWARD.items()},
}


def register_environments() -> None:
    """Register every mixgym id with Gymnasium; calling it again changes nothing."""
    for env_id, entry_point in SCALAR_REWARD.items():
        if env_id not in gym.registry:
            gym.register(id=env_id, entry_point=entry_point, vector_entry_point=BATCHED.get(env_id))
    for env_id, (entry_point, vector_entry_point) in VECTOR_REWARD.items():
        if env_id not in gym.registry:
            gym.register(
                id=env_id,
                entry_point=entry_point,
                vector_entry_point=vector_entry_point,
                # Gymnasium's passive checker takes a reward that is no number for a mistake.
                disable_env_checker=True,
            )

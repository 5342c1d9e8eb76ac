"""RLlib's runners are processes that know only the id: it has to name the module to import."""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("ray.rllib", reason="of the extra clients: make test-clients")

import ray
from ray.rllib.algorithms.ppo import PPOConfig


@pytest.fixture
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def test_ppo_with_a_remote_runner(cluster: None) -> None:
    config = (
        PPOConfig()
        .environment("mixgym:mixgym/NanoPretrain-v0", env_config={"decisions": 4})
        .env_runners(num_env_runners=1, rollout_fragment_length=8)
        .training(train_batch_size=8, minibatch_size=8, num_epochs=1)
    )
    algorithm = config.build_algo()
    try:
        result = algorithm.train()["env_runners"]
    finally:
        algorithm.stop()
    assert result["num_episodes"] == 2
    assert 0.5 < result["episode_return_mean"] < 5  # nats a byte

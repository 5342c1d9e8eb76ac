"""The cost of gradient signals and of the mixers that use them; parts of `overhead.py`."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import numpy as np
from beside import STEPS_PER_ROUND, measure

MICRO = "mixgym/MicroPretrain-v0"
#: LM steps of a decision, as in the micro environments.
STEPS_PER_DECISION = 40
#: width, layers, heads, rounds, steps a round: GPT-NeoX from the micro preset to 100 M parameters.
SIZES = (
    (64, 2, 4, 20, 20),
    (128, 4, 4, 8, 10),
    (256, 6, 8, 6, 5),
    (512, 8, 8, 6, 2),
    (1024, 8, 16, 5, 1),
)
#: Environment arguments of the parts `alignment` and `memory`.
ALIGNMENT = {"reward": {"progress": 1.0, "alignment": 1.0}}


def training_run(model: Any, rounds: int, steps: int, gradients: Any = None) -> Any:
    """Return a run of MicroPretrain's corpus and training settings on `model`."""
    import gymnasium as gym

    import mixgym  # noqa: F401
    from mixgym.lm.training import TrainingRun

    env: Any = gym.make(MICRO, disable_env_checker=True).unwrapped
    return TrainingRun(
        env.corpus,
        model,
        total_steps=(rounds + 1) * steps,
        settings=env.settings,
        gradients=gradients,
    )


def alignment(
    every: int | None,
    rounds: int,
    model: Any = "micro",
    steps: int = STEPS_PER_ROUND,
) -> dict[str, Any]:
    """Compare a run that measures the Gram matrix every so many steps (None: never)."""
    from mixgym.lm.settings import GradientSettings

    gradients = None if every is None else GradientSettings(every=every)
    run = training_run(model, rounds, steps, gradients)
    uniform = np.full(run.corpus.K, 1 / run.corpus.K)

    def advance() -> float:
        run.advance(uniform, steps)
        return 0.0

    figures = measure(run, advance, rounds, steps)
    if run._gradients is not None:
        size = 4 * run.corpus.K * run._gradients.size
        # Weights, gradients and two moments of AdamW are what any training holds.
        figures["gradient_MiB"] = size / 2**20
        figures["of_training_state"] = size / (16 * run.n_parameters)
    figures["parameters"] = run.n_parameters
    # Rounds of large models are shorter than decisions, whose own work they would overstate.
    once = figures["round_ms"] / figures["bare_ms_per_step"] / STEPS_PER_DECISION
    figures["ratio_of_decisions"] = figures["step_ratio"] + once
    return figures


def agent(name: str, rounds: int, **arguments: Any) -> dict[str, Any]:
    """Compare an environment driven by an agent; its own computing counts and stands apart too."""
    import gymnasium as gym

    import mixgym  # noqa: F401
    from mixgym.agents import make_agent

    chosen = make_agent(name, **arguments)
    wanted = dict(chosen.env_arguments)
    if chosen.action_map is not None:
        wanted["action_map"] = chosen.action_map
    env: Any = gym.make(
        MICRO,
        decisions=rounds + 1,
        steps_per_decision=STEPS_PER_ROUND,
        disable_env_checker=True,
        **wanted,
    )
    observation, info = env.reset(seed=0)
    chosen.start(env, 0)
    inner = env.unwrapped
    own: list[float] = []

    def decision() -> float:
        nonlocal observation, info
        paid = inner.ledger.accounts["reward"].seconds
        start = time.perf_counter()
        action = chosen.act(observation, info)
        own.append(time.perf_counter() - start)
        observation, _, _, _, info = env.step(action)
        return inner.ledger.accounts["reward"].seconds - paid

    figures = measure(inner.run, decision, rounds)
    figures["agent_ms_per_decision"] = 1000 * median(own[1:])
    return figures


def doremi_proxy(rounds: int) -> dict[str, Any]:
    """Compare DoReMi's proxy, the reference model's losses included, to a plain loop."""
    from mixgym_agents.proxies.doremi import DoReMi

    steps = (rounds + 1) * STEPS_PER_ROUND
    reference, proxy = (training_run("micro", rounds, STEPS_PER_ROUND) for _ in range(2))
    uniform = np.full(proxy.corpus.K, 1 / proxy.corpus.K)

    def search() -> float:
        DoReMi().dro_run(proxy, reference, uniform)
        return 0.0

    return {**measure(proxy, search, 1, steps, warm_up=0), "rounds": rounds}

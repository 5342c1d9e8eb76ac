"""What an environment's arguments are in a Trainer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from mixgym.deploy.environment import TrainerEnv
from mixgym.envs.arguments import EnvironmentArguments, with_wanted
from mixgym.envs.task import domain_weights
from mixgym.errors import unknown_name
from mixgym.lm.settings import MAX_THREADS, Settings
from mixgym.rewards import REWARD_TERMS
from mixgym.rewards.build import build_terms

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from mixgym.agents import Agent
    from mixgym.corpus import Corpus

#: Arguments that may be given beside the controller's own.
FREE: tuple[str, ...] = (
    *("groups", "observation", "reward", "gradients", "action_map", "action_arguments"),
    *("evaluation_windows", "report_windows", "evaluation_seed", "divergence_penalty"),
    *("layers", "loss_decay"),
)
_CONTROLLERS = ("objective", "validation", "context", "steps_per_decision")
#: What does not have to be the same to go on: the Trainer's, or in the corpus's hash.
_CHANGEABLE = ("model", "training", "corpus", "tokenizer", "limit", "corpus_hash")


def environment_arguments(corpus: Corpus, agent: Agent, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the environment arguments that do not wait for the Trainer, checked.

    Args:
        corpus: the text.
        agent: whose wishes complete what is given.
        given: of `FREE` and of the controller's own arguments. Without `observation`, nor an
            agent that asks for one, it is `"training"` where nothing else needs validation losses.

    Raises:
        UnknownNameError, ValueError: a name or value that does not exist.
    """
    for name in given:
        if name not in (*FREE, *_CONTROLLERS):
            raise unknown_name("argument of MixtureController", name, (*FREE, *_CONTROLLERS))
    result = with_wanted(given, agent.env_arguments)
    if agent.action_map is not None:
        result["action_map"] = agent.action_map
    spec = corpus.spec
    result["corpus"] = spec["name"]
    result |= {name: spec[name] for name in ("tokenizer", "domains", "limit")}
    if "observation" not in result and not _validated(TrainerEnv.DEFAULTS.updated(result)):
        result["observation"] = "training"
    checked = TrainerEnv.DEFAULTS.updated(result)
    checked.training_settings()
    domain_weights(checked.objective, corpus.names, checked.groups or {}, "objective")
    return result


def _validated(arguments: EnvironmentArguments) -> bool:
    """Whether validation losses are measured whatever the observation."""
    terms = build_terms(REWARD_TERMS, arguments.reward).values()
    return arguments.validation != "reward" or any("objective" in term.needs for _, term in terms)


def trainer_settings(args: TrainingArguments, max_steps: int) -> dict[str, Any]:
    """Return a Trainer's arguments as those of `lm.settings.Settings`.

    `batch_size` is what the run needs; the rest is for agents that train proxies.
    """
    defaults = Settings()
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    return {
        "batch_size": batch,
        "learning_rate": args.learning_rate or defaults.learning_rate,
        "warmup_steps": args.get_warmup_steps(max_steps),
        "weight_decay": args.weight_decay,
        "betas": (args.adam_beta1, args.adam_beta2),
        "clip": args.max_grad_norm or defaults.clip,
        "precision": "bf16" if args.bf16 else "fp32",
        "threads": min(torch.get_num_threads(), MAX_THREADS),
        "device": str(args.device) if args.device.type in ("cpu", "cuda") else "cpu",
    }


def identity(env: TrainerEnv) -> dict[str, Any]:
    """Return what a checkpoint's environment must have been, to go on in `env`."""
    arguments = {k: v for k, v in asdict(env.arguments).items() if k not in _CHANGEABLE}
    kept = ("batch_size", "context", "layers", "loss_decay")
    return {**arguments, **{name: getattr(env.settings, name) for name in kept}}

"""Configuration of the `acodm` agent: hyperparameters, the release's deviations, their YAML."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from mixgym.envs.task import MixtureSpec
from mixgym.errors import unknown_name
from mixgym_agents.learning.hyperparameters import Hyperparameters, Ranges, packaged
from mixgym_agents.mixers.static import checked_spec

HYPERPARAMETERS = "acodm.yml"


@dataclass(frozen=True, kw_only=True)
class Released:
    """Each way in which the released AC-ODM code differs from the paper; all off by default.

    Line numbers and consequences: docs/agents/acodm.md.

    Attributes:
        actor_never_stepped: the actor's optimiser is never stepped: it stays at its random start.
        critic_steps_on_actor_loss: after the actor's backward pass the *critic's* optimiser is
            stepped, along the gradient of -mean Q(s, mu(s)).
        vector_critic: the critic has one Q a domain, trained on a reward a domain; the actor
            maximises their mean. Needs an environment with per-domain rewards (see
            `reward_vector`).
        zscored_rewards: the per-domain rewards are z-scored over domains and clipped to +-3, which
            makes their sum about zero under every policy.
        delta_since_start: changes of losses in the state are against the first decision at which
            they were known, not against the previous one.
        zscored_state: every feature is z-scored over its own domains (or layers), clipped to +-3,
            which hides its level.
        percent_iteration: time is in the state as 0 to 100, not as a share of the budget.
        odm_warmup: warm-up plays ODM's smoothed mean instead of the noisy natural mixture.
        warmup_imitation: during warm-up the actor's loss is its squared distance to the mixture
            played; when warm-up ends the target networks become copies.
        bootstrapped_reward: during warm-up the critic's target is r + gamma r.
        warmup_when_frozen: a transferred policy too starts with the warm-up mixtures.
        uniform_action_noise: exploration subtracts U(0, 1) / 1000 from every weight (what gets
            negative is set to zero here; the release leaves it negative).
        forced_floor: 22 of 144 micro-batches are forced to be one from each of 22 domains, so
            that 22/144 of what is executed is uniform; the replay holds the action without it.
        annealed_learning_rate: both learning rates rise to 1e-2 over 2 % of the decisions and
            fall to 1e-3 along a cosine.
    """

    actor_never_stepped: bool = False
    critic_steps_on_actor_loss: bool = False
    vector_critic: bool = False
    zscored_rewards: bool = False
    delta_since_start: bool = False
    zscored_state: bool = False
    percent_iteration: bool = False
    odm_warmup: bool = False
    warmup_imitation: bool = False
    bootstrapped_reward: bool = False
    warmup_when_frozen: bool = False
    uniform_action_noise: bool = False
    forced_floor: bool = False
    annealed_learning_rate: bool = False

    @property
    def per_domain_rewards(self) -> bool:
        """Whether a reward for every domain is needed, not only their scalar sum."""
        return self.vector_critic or self.zscored_rewards

    @classmethod
    def parse(cls, spec: Released | str | Sequence[str] | Mapping[str, bool]) -> Released:
        """Build from `"none"`, `"all"`, a list of switches, or `{switch: bool}`.

        Raises:
            UnknownNameError: a switch that does not exist, with the closest one.
        """
        if isinstance(spec, Released):
            return spec
        names = [item.name for item in fields(cls)]
        if isinstance(spec, str):
            if spec not in ("none", "all"):
                raise unknown_name("value of released", spec, ["none", "all"])
            return cls(**dict.fromkeys(names, spec == "all"))
        given = dict(spec) if isinstance(spec, Mapping) else dict.fromkeys(spec, True)
        for name, value in given.items():
            if name not in names:
                raise unknown_name("released switch", name, names)
            if not isinstance(value, bool):
                raise ValueError(f"released.{name}={value!r} must be true or false")
        return cls(**given)


_CHOICES: dict[str, tuple[str, ...]] = {
    "network": ("mlp", "tokens"),
    "interaction": ("attention", "deepsets"),
    "actor": ("softmax", "dirichlet"),
    "critic": ("joint", "factored"),
    "anchor": ("prior", "current"),
    "normalise": ("running", "none"),
    "exploration": ("logits", "dirichlet", "none"),
}

# name -> least, most, whole number
_RANGES: dict[str, tuple[float, float, bool]] = {
    "width": (1, 65536, True),
    "depth": (1, 64, True),
    "blocks": (0, 64, True),
    "heads": (1, 256, True),
    "output_gain": (0, 100, False),
    "logit_bound": (0, 100, False),
    "gamma": (0, 1, False),
    "tau": (0, 1, False),
    "actor_learning_rate": (0, 1, False),
    "critic_learning_rate": (0, 1, False),
    "weight_decay": (0, 10, False),
    "updates_per_decision": (0, 100_000, True),
    "batch_size": (1, 1_000_000, True),
    "buffer_size": (1, 100_000_000, True),
    "warmup_share": (0, 1, False),
    "warmup_noise": (0, 1, False),
    "noise": (0, 100, False),
    "noise_decay": (0, 1, False),
    "concentration": (1e-3, 1e9, False),
    "entropy": (0, 1e6, False),
    "floor": (0, 1, False),
}


@dataclass(frozen=True, kw_only=True)
class Config(Hyperparameters):
    """Hyperparameters of AC-ODM; the defaults are the paper's where it gives them.

    Attributes:
        network: `"mlp"`, the paper's, for one set of domains, or `"tokens"`, one token a domain
            with shared weights, for any number and order of domains.
        width: units of a hidden layer (paper: 1024).
        depth: hidden layers of an `mlp` (paper: 5).
        blocks: layers in which domain tokens exchange information.
        interaction: `"attention"` or `"deepsets"`, how they do.
        heads: attention heads; must divide `width`.
        actor: `"softmax"` (paper) or `"dirichlet"`, whose concentrations the actor gives and
            whose mean acts when frozen.
        critic: `"joint"` (paper), one Q(s, w), or `"factored"` (ours), Q(s, w) = sum_i w_i q_i(s)
            with q_i learned from domain i's own reward: the paper's reward is linear in the
            mixture, so its critic can be, and a decision then teaches K values instead of one.
            Needs an environment with per-domain rewards (`reward: alignment` or the like).
        prior: named mixture whose logarithm is added to the actor's logits: where an actor of
            zero output starts.
        anchor: where the actor's logits start from: the `prior` (paper), or the mixture that is
            `current` (ours), so that a decision multiplies it, w <- w exp(l) / sum, as mirror
            descent does; the first starts from the prior. Needs `mixture` in the observation.
        output_gain: factor on the initial weights of the actor's last layer; small starts at the
            prior.
        logit_bound: logits are squashed to within +-this (scaled tanh), which keeps the softmax
            from saturating; 0 for none (paper).
        pool_layers: average layer features over layers, as `tokens` always does, so that an `mlp`
            transfers to a model of another depth.
        normalise: `"running"` (mean and deviation of each feature seen so far) or `"none"`.
        gamma: discount.
        tau: step of the target networks towards the learned ones, an update.
        actor_learning_rate, critic_learning_rate, weight_decay: AdamW's.
        updates_per_decision: gradient steps of each network a decision.
        batch_size: transitions a gradient step.
        buffer_size: transitions the replay buffer holds.
        standardise_rewards: subtract the mean and divide by the deviation of the buffer's rewards.
        warmup_share: share of an episode's decisions at the start of *learning* (once, not in
            every episode) that play warm-up mixtures instead of the policy.
        warmup_noise: deviation of the noise on the natural weights in warm-up.
        exploration: `"logits"` (Gaussian noise on log weights), `"dirichlet"` (a draw around the
            policy's mixture) or `"none"`. A Dirichlet actor explores by its own draws instead.
        noise: deviation of the logit noise.
        noise_decay: factor on `noise` a decision.
        concentration: of the exploring Dirichlet; higher is nearer to the policy.
        entropy: bonus on the mixture's entropy in the actor's objective; with the anchor
            `current`, penalty on its Kullback-Leibler divergence from the current mixture, whose
            optimum under a factored critic is w exp(q / entropy) / sum.
        floor: share of the uniform mixture in every mixture of the policy.
        released: deviations of the released code, see `Released`.
    """

    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = _CHOICES
    RANGES: ClassVar[Ranges] = _RANGES

    network: Literal["mlp", "tokens"] = "mlp"
    width: int = 128
    depth: int = 5
    blocks: int = 1
    interaction: Literal["attention", "deepsets"] = "attention"
    heads: int = 4
    actor: Literal["softmax", "dirichlet"] = "softmax"
    critic: Literal["joint", "factored"] = "joint"
    prior: MixtureSpec = "uniform"
    anchor: Literal["prior", "current"] = "prior"
    output_gain: float = 1.0
    logit_bound: float = 0.0
    pool_layers: bool = False
    normalise: Literal["running", "none"] = "running"
    gamma: float = 0.95
    tau: float = 0.001
    actor_learning_rate: float = 1e-4
    critic_learning_rate: float = 1e-4
    weight_decay: float = 0.1
    updates_per_decision: int = 1
    batch_size: int = 256
    buffer_size: int = 10_000
    standardise_rewards: bool = False
    warmup_share: float = 0.02
    warmup_noise: float = 0.02
    exploration: Literal["logits", "dirichlet", "none"] = "logits"
    noise: float = 0.1
    noise_decay: float = 1.0
    concentration: float = 100.0
    entropy: float = 0.0
    floor: float = 0.0
    released: Released = field(default_factory=Released)

    def __post_init__(self) -> None:
        object.__setattr__(self, "released", Released.parse(self.released))
        object.__setattr__(self, "prior", checked_spec(self.prior))
        super().__post_init__()
        if self.critic == "factored" and self.released.per_domain_rewards:
            raise ValueError(
                "critic='factored' has no released.vector_critic or released.zscored_rewards: "
                "take critic='joint' with them"
            )

    @property
    def domain_values(self) -> bool:
        """Whether the critic gives one value a domain and learns from one reward a domain."""
        return self.critic == "factored" or self.released.vector_critic


def hyperparameters(env_id: str | None) -> dict[str, Any]:
    """Return `packaged` hyperparameters of `acodm`."""
    return packaged(HYPERPARAMETERS, env_id)


def annealed_learning_rate(decision: int, decisions: int) -> float:
    """Learning rate of the release at a 0-based decision: linear to 1e-2, then cosine to 1e-3."""
    warmup = max(1, math.ceil(0.02 * decisions))
    if decision < warmup:
        return 1e-2 * (decision + 1) / warmup
    progress = min(1.0, (decision - warmup) / max(1, decisions - warmup))
    return 1e-3 + (1e-2 - 1e-3) * 0.5 * (1.0 + math.cos(math.pi * progress))

"""The arguments every training environment takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from mixgym.errors import unknown_argument, unknown_name
from mixgym.lm.settings import PRESETS, GradientSettings, Settings

if TYPE_CHECKING:
    from mixgym.corpus import Corpus

#: What reward terms and observation features call the kinds of gradient signals.
GRADIENT_NEEDS: dict[str, str] = {"gram": "gram", "objective_gradient": "objective"}

TRAINING_ARGUMENTS: tuple[str, ...] = tuple(item.name for item in fields(Settings))


@dataclass(frozen=True)
class EnvironmentArguments:
    """Arguments of `gym.make`; all JSON-plain, so that an `EnvSpec` round-trips.

    Besides these, every field of `lm.settings.Settings` (`learning_rate`, `batch_size`, `context`,
    `precision`, `threads`, ...) is an argument and replaces the preset's value.

    Attributes:
        corpus: registered corpus (`mixgym data list`), or `"files:FOLDER"` for your own text.
        domains: subset and order of its domains; all by default.
        limit: cap on a domain's training text in bytes, `{"recipes": 120_000}`; merged into the
            environment's own limits (`{"recipes": None}` lifts one, `limit=None` all of them).
        tokenizer: `"bytes"`, `"bpe-4096"`, `"hf:NAME_OR_PATH"`.
        model: preset, `AutoConfig` mapping, or local checkpoint directory.
        decisions: decisions in an episode.
        steps_per_decision: optimiser steps between decisions; the budget is their product.
        objective: whose validation loss counts: `"mean"` (all domains), a domain, a group, a list
            of either, or `{domain: weight}`.
        groups: named sets of domains for objectives and named mixtures; of their domains, those
            that `domains` leaves out do not count.
        reward: reward term, `{term: weight}`, or `{term: {"weight": 1.0, argument: value}}`; `{}`
            for none, where a policy only acts.
        action_map: `"softmax"`, `"ilr"`, `"delta"`, `"dirichlet"` or `"simplex"`.
        action_arguments: of the map, `{"scale": 5.0}`.
        observation: named set, or `{"domain": [...], "layer": [...], "scalar": [...]}`; with
            `"set"` those replace a named set's, and `"normalise"` may be `"zscore"`.
        gradients: gradient signals to measure, the fields of `lm.settings.GradientSettings`:
            `{"kinds": ["gram"], "every": 10}`. What the reward terms and the observation need is
            measured without being named; None for nothing more.
        validation: validation losses measured at each decision: `"objective"`, `"all"` or
            `"reward"` (only what the reward terms and the observation need: the default
            observation shows those of the objective, `"training"` and `"minimal"` none).
        evaluation_windows: validation windows a domain at each decision.
        report_windows: windows a domain in reports.
        evaluation_seed: selects the held-out windows; not the run's seed.
        divergence_penalty: a diverged run ends with the reward `-divergence_penalty`.
        corpus_hash: if given, the corpus must have this content hash.
        training: training arguments that replace the preset's (filled from the keywords).
    """

    corpus: str = "nano8"
    domains: Sequence[str] | None = None
    limit: Mapping[str, int] | None = None
    tokenizer: str = "bytes"
    model: Any = "nano"
    decisions: int = 20
    steps_per_decision: int = 10
    objective: Any = "mean"
    groups: Mapping[str, Sequence[str]] | None = None
    reward: Any = "progress"
    action_map: str = "softmax"
    action_arguments: Mapping[str, Any] | None = None
    observation: Any = "default"
    gradients: Mapping[str, Any] | None = None
    validation: str = "objective"
    evaluation_windows: int = 64
    report_windows: int = 256
    evaluation_seed: int = 0
    divergence_penalty: float = 5.0
    corpus_hash: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("decisions", "steps_per_decision", "evaluation_windows", "report_windows"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a positive whole number, got {value!r}")
        if self.validation not in ("objective", "all", "reward"):
            raise unknown_name("validation", self.validation, ["objective", "all", "reward"])
        penalty = self.divergence_penalty
        number = isinstance(penalty, (int, float)) and not isinstance(penalty, bool)
        if not number or not 0 <= penalty < float("inf"):
            raise ValueError(f"divergence_penalty must be finite and not negative, got {penalty!r}")
        seed = self.evaluation_seed
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
            raise ValueError(f"evaluation_seed must be a whole number from 0 up, got {seed!r}")
        if isinstance(self.domains, Mapping):
            raise ValueError(
                f"domains={dict(self.domains)!r} has weights, which domains do not take: name "
                f"them, domains={list(self.domains)!r}; weights belong into objective=... or a "
                "mixture"
            )
        if self.domains is not None:
            _check_names("domains", self.domains)
        _check_mapping("groups", self.groups, "{group: [domain, ...]}")
        for group, members in (self.groups or {}).items():
            _check_names(f"groups[{group!r}]", members)
        _check_mapping("action_arguments", self.action_arguments, "{argument: value}")
        _check_mapping("gradients", self.gradients, "{setting: value}")
        for name in ("reward", "observation"):
            value = getattr(self, name)
            if not isinstance(value, (str, Mapping)):
                raise ValueError(f"{name} must be a name or a mapping, got {value!r}")

    @property
    def corpus_name(self) -> str:
        """What `load_corpus` is asked for."""
        return self.corpus

    def open_corpus(self, progress: bool | None = None) -> Corpus:
        """Return the corpus, built where the cache lacks it; see `mixgym.corpus.load_corpus`."""
        from mixgym.corpus import load_corpus

        return load_corpus(
            self.corpus_name,
            tokenizer=self.tokenizer,
            domains=self.domains,
            limit=self.limit,
            progress=progress,
        )

    def updated(self, arguments: Mapping[str, Any]) -> EnvironmentArguments:
        """Return a copy with some arguments replaced (`UnknownArgumentError` for an unknown one).

        Limits given are merged into the default ones (`None` lifts a domain's, and `limit=None`
        all). Default limits go with their corpus: another `corpus` drops them, and a subset of
        `domains` keeps those of its own domains.
        """
        own = [item.name for item in fields(self) if item.name != "training"]
        training = dict(self.training)
        changed: dict[str, Any] = {}
        for name, value in arguments.items():
            if name in own:
                changed[name] = value
            elif name in TRAINING_ARGUMENTS:
                training[name] = value
            else:
                known = [*own, *TRAINING_ARGUMENTS]
                raise unknown_argument("the environment", name, known)
        _check_mapping("limit", changed.get("limit"), "{domain: bytes}")
        if changed.get("limit", {}) is not None:
            same_corpus = changed.get("corpus", self.corpus) == self.corpus
            domains = changed.get("domains")
            kept = {
                k: v
                for k, v in (self.limit or {}).items()
                if same_corpus and (domains is None or k in domains)
            }
            merged = {**kept, **changed.get("limit", {})}
            changed["limit"] = {k: v for k, v in merged.items() if v is not None} or None
        return replace(self, **changed, training=training)

    def training_settings(self) -> Settings:
        """Return the model preset's settings with the given training arguments on top."""
        preset = PRESETS.get(self.model) if isinstance(self.model, str) else None
        return (preset.settings if preset else Settings()).updated(self.training)

    def gradient_settings(
        self, needs: Iterable[str], objective: Sequence[float]
    ) -> GradientSettings | None:
        """Return which gradient signals the run measures, None for none.

        Args:
            needs: of the reward terms and the observation; keys of `GRADIENT_NEEDS` count.
            objective: (K,) weights of the domains in the objective.
        """
        needed = [GRADIENT_NEEDS[need] for need in sorted(needs) if need in GRADIENT_NEEDS]
        if self.gradients is None and not needed:
            return None
        given = dict(self.gradients or {})
        if "objective" in given:
            raise ValueError(
                "gradients: the objective's weights are the environment's own; drop 'objective' "
                "and give objective=... to the environment"
            )
        kinds = [] if needed and "kinds" not in given else _kinds(given)
        return GradientSettings.from_plain(
            {**given, "kinds": (*kinds, *needed), "objective": tuple(objective)}
        )


def with_wanted(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the environment arguments `given`, completed by those that an agent wants.

    What is given stands, but that the kinds of gradients that both ask for are measured.
    """
    result = {**wanted, **given}
    ours, theirs = given.get("gradients"), wanted.get("gradients")
    if ours is not None and theirs is not None:
        kinds = dict.fromkeys([*_kinds(ours), *_kinds(theirs)])
        result["gradients"] = {**theirs, **ours, "kinds": list(kinds)}
    return result


def _check_mapping(name: str, value: Any, form: str) -> None:
    if value is not None and not isinstance(value, Mapping):
        raise ValueError(f"{name} must be a mapping {form}, got {value!r}")


def _check_names(name: str, value: Any) -> None:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError(f"{name} must be a list of domains, got {value!r}")


def _kinds(gradients: Mapping[str, Any]) -> list[str]:
    named = gradients.get("kinds", ["gram"])
    return [named] if isinstance(named, str) else list(named)

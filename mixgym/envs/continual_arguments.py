"""The arguments of the continual environments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mixgym.envs.arguments import TRAINING_ARGUMENTS, EnvironmentArguments
from mixgym.envs.fields import (
    FEEDBACK_LONGEST,
    FIELD_PROBES,
    LONGER_FEEDBACK,
    FieldSpec,
    field_corpus,
    field_domains,
)
from mixgym.errors import MixgymError, unknown_name
from mixgym.lm.base import BaseSpec
from mixgym.lm.settings import PRESETS, Settings

FIELD_NAMES = ("source", "target")


@dataclass(frozen=True)
class ContinualArguments(EnvironmentArguments):
    """Arguments of `gym.make` for continual pretraining, besides `EnvironmentArguments`.

    `corpus` is the corpus the fields are made of; `domains` and `limit` name the domains of the
    result: `source` and `target`, or the topics.

    Attributes:
        source: the general field the base was pretrained on: a name of `envs.fields.FIELDS`
            (`"prose"`, `"documents"`), a domain, or a list of domains.
        target: the field to learn: `"maths"`, `"code"`, a domain or a list.
        topics: topics each field is cut into; 0 keeps fields whole.
        topic_seed: of the topic model.
        base: the base checkpoint: `steps`, `seed`, and settings that replace those of the model's
            preset (`{"steps": 2000, "learning_rate": 1e-3}`); merged into the default. The
            environment's own training arguments do not change it, but for `context`, `precision`,
            `threads` and `device`. `{"steps": 0}` starts from the model as it is: a local
            checkpoint given as `model`, or a fresh one.
        feedback: probes of each field, `{"source": ["mmlu"], "target": ["gsm8k"]}`; a field that
            is named in `FIELD_PROBES` has its own by default.
        feedback_items: items of each probe at every decision; a warning tells where there are
            fewer.
        feedback_longest: items with a longer right answer, in bytes, are left out of feedback, so
            that it costs little; reports have no such limit. None is 96, but what 64 items need
            where a probe has fewer: 128 for `gsm8k` and `mbpp`, 256 for `humaneval`.
        report_items: items of each probe in reports, at most.
    """

    source: FieldSpec = "prose"
    target: FieldSpec = "maths"
    topics: int = 0
    topic_seed: int = 0
    base: Mapping[str, Any] = field(default_factory=lambda: {"steps": 1500})
    feedback: Mapping[str, Sequence[str]] | None = None
    feedback_items: int = 64
    feedback_longest: int | None = None
    report_items: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (
            ("topics", 0),
            ("topic_seed", 0),
            ("feedback_items", 1),
            ("feedback_longest", 1),
            ("report_items", 1),
        ):
            value = getattr(self, name)
            if name == "feedback_longest" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} must be a whole number >= {least}, got {value!r}")
        for name in self.feedback or {}:
            if name not in FIELD_NAMES:
                raise unknown_name("field in feedback", name, FIELD_NAMES)

    @property
    def corpus_name(self) -> str:
        """The corpus of the two fields."""
        return field_corpus(
            self.corpus, self.source, self.target, self.topics, self.topic_seed
        ).name

    @property
    def probes(self) -> dict[str, tuple[str, ...]]:
        """Probes of the source and the target field; `MixgymError` for a field without."""
        chosen: dict[str, tuple[str, ...]] = {}
        for name in FIELD_NAMES:
            spec = getattr(self, name)
            given = (self.feedback or {}).get(name)
            if given is None and isinstance(spec, str):
                given = FIELD_PROBES.get(spec)
            if not given:
                raise MixgymError(
                    f"no feedback is known for {name}={spec!r}: name its probes, as in feedback="
                    f"{{{name!r}: ['mmlu']}} (mixgym.probes.PROBES has all)"
                )
            chosen[name] = (given,) if isinstance(given, str) else tuple(given)
        return chosen

    def longest_answer(self, probe: str) -> int:
        """Longest right answer, in bytes, of the items of `probe` that are feedback."""
        if self.feedback_longest is not None:
            return self.feedback_longest
        return LONGER_FEEDBACK.get(probe, FEEDBACK_LONGEST)

    def updated(self, arguments: Mapping[str, Any]) -> ContinualArguments:
        """As `EnvironmentArguments.updated`; `base` and `feedback` are merged into the default.

        Default probes go with their field: another `source` or `target` drops its own.
        """
        merged = dict(arguments)
        if merged.get("base") is not None:
            merged["base"] = {**self.base, **merged["base"]}
        kept = {
            name: probes
            for name, probes in (self.feedback or {}).items()
            if merged.get(name, getattr(self, name)) == getattr(self, name)
        }
        merged["feedback"] = {**kept, **(merged.get("feedback") or {})} or None
        updated = super().updated(merged)
        assert isinstance(updated, ContinualArguments)
        return updated

    def base_spec(self, settings: Settings) -> BaseSpec | None:
        """The base of a run with `settings`; None for none.

        Raises:
            UnknownNameError, ValueError: something in `base` that is no setting, or out of range.
            MixgymError: the tokenizer depends on the corpus.
        """
        given = dict(self.base)
        steps, seed = given.pop("steps", 0), given.pop("seed", 0)
        for name in given:
            if name not in TRAINING_ARGUMENTS:
                raise unknown_name("setting in base", name, ["steps", "seed", *TRAINING_ARGUMENTS])
        if steps == 0:
            return None
        if self.tokenizer.startswith("bpe-"):
            raise MixgymError(
                f"tokenizer={self.tokenizer!r} is trained on the corpus, and a base is pretrained "
                "on another one: use 'bytes' or 'hf:NAME_OR_PATH', or base={'steps': 0}"
            )
        preset = PRESETS.get(self.model) if isinstance(self.model, str) else None
        own = {k: getattr(settings, k) for k in ("context", "precision", "threads", "device")}
        trained = (preset.settings if preset else Settings()).updated({**own, **given})
        return BaseSpec(
            corpus=self.corpus,
            domains=field_domains(self.source, self.corpus),
            model=self.model,
            steps=steps,
            settings=trained,
            seed=seed,
            tokenizer=self.tokenizer,
        )

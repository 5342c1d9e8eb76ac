"""Continual pretraining: from a base checkpoint, towards a target field, keeping the source."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from mixgym.corpus.progress import reporter
from mixgym.envs.continual_arguments import FIELD_NAMES, ContinualArguments
from mixgym.envs.continual_episode import ContinualEpisode
from mixgym.envs.episode import Episode, Measurement
from mixgym.envs.pretrain import PretrainEnv
from mixgym.lm.base import Base, ensure_base
from mixgym.lm.settings import PRESETS
from mixgym.probes import PROBES
from mixgym.probes.encoding import EncodedProbe, encode_probe
from mixgym.signals import Signals

if TYPE_CHECKING:
    from mixgym.lm.models import ModelSpec
    from mixgym.lm.run import ModelRun
    from mixgym.lm.settings import Settings


class ContinualEnv(PretrainEnv):
    """Steer the continual pretraining of a base on a source and a target field.

    Subclasses give `DEFAULTS` (`ContinualArguments`). Every decision measures the feedback: the
    mean log-probability a token of the probes' right answers, for each field. Public besides
    `PretrainEnv`'s: `base`, `base_hash`, `fields`.
    """

    DEFAULTS: ClassVar[ContinualArguments] = ContinualArguments()  # type: ignore[misc]
    EPISODE: ClassVar[type[Episode]] = ContinualEpisode
    PROVIDES: ClassVar[frozenset[str]] = PretrainEnv.PROVIDES | {"feedback"}
    INFO: ClassVar[dict[str, str]] = {
        "feedback": "dict of float: mean log-probability a token (nats) of the right answers of "
        "each field's probes; inf where not measured",
        "probes": "dict of float: the same for each probe",
        "retention": "float: validation loss of the source field at reset (the base's) minus that "
        "now, nats per byte: negative where the run forgot; inf where not measured",
        "gain": "float: the same for the target field",
        "source_tokens": "int: training tokens spent on the source field so far",
        "base_hash": 'str: SHA-256 of the base checkpoint; "" without',
    }

    arguments: ContinualArguments
    episode: ContinualEpisode

    def __init__(self, render_mode: str | None = None, **arguments: Any) -> None:
        super().__init__(render_mode, **arguments)
        self._base: Base | None = None
        self._encoded: dict[str, tuple[EncodedProbe, ...]] | None = None
        a = self.arguments
        a.base_spec(self.settings)
        for names in a.probes.values():
            for name in names:
                PROBES[name]
        #: (2, K) share of each domain in the source and the target field: natural, summing to one.
        self.fields = self.episode.fields

    @classmethod
    def resolve(cls, arguments: Mapping[str, Any]) -> ContinualArguments:
        """As `PretrainEnv.resolve`."""
        return cast(ContinualArguments, super().resolve(arguments))

    @classmethod
    def prepare(cls, arguments: Mapping[str, Any], progress: bool = True) -> None:
        """Build the corpus, train the base and fetch the probes' items, where the cache lacks them.

        Raises:
            CorpusError: a package cannot be had.
            MixgymError: the base diverged.
        """
        super().prepare(arguments, progress)
        a = cls.resolve(arguments)
        spec = a.base_spec(a.training_settings())
        with reporter(progress) as report:
            if spec is not None:
                ensure_base(spec, reporter=report)
            names = [name for field in a.probes.values() for name in field]
            report.start(len(names), "reading benchmark items")
            for name in names:
                report.doing(f"reading benchmark items: {name}")
                PROBES[name].items("feedback")
                report.advance()

    @property
    def base(self) -> Base | None:
        """The base checkpoint, trained if the cache has it not; None with `base={"steps": 0}`."""
        if self._base is None:
            spec = self.arguments.base_spec(self.settings)
            self._base = None if spec is None else ensure_base(spec)
        return self._base

    @property
    def base_hash(self) -> str:
        """SHA-256 of the base; "" without."""
        return self.base.hash if self.base else ""

    def configuration(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """As `PretrainEnv.configuration`, with `base`, the hash of the base, where there is one."""
        parts = super().configuration(given)
        return {**parts, "base": self.base_hash} if self.base_hash else parts

    @property
    def probes(self) -> dict[str, tuple[EncodedProbe, ...]]:
        """The feedback items of each field, encoded."""
        if self._encoded is None:
            a = self.arguments
            self._encoded = {
                field: tuple(self._encode(name) for name in names)
                for field, names in a.probes.items()
            }
        return self._encoded

    def _encode(self, name: str) -> EncodedProbe:
        a = self.arguments
        longest = a.longest_answer(name)
        encoded = encode_probe(
            PROBES[name],
            "feedback",
            self.corpus.tokenizer,
            self.settings.context,
            limit=a.feedback_items,
            longest=longest,
            choices=False,
        )
        if encoded.items < a.feedback_items:
            warnings.warn(
                f"the feedback of probe {name!r} is {encoded.items} items, not the "
                f"{a.feedback_items} asked for: no more of them have answers of at most {longest} "
                "bytes; raise feedback_longest=..., or lower feedback_items=...",
                stacklevel=2,
            )
        return encoded

    @property
    def feedback_tokens(self) -> int:
        """Tokens that one measurement of the feedback pushes through the model."""
        return sum(probe.evaluated for encoded in self.probes.values() for probe in encoded)

    def _named_groups(self) -> Mapping[str, Sequence[str]]:
        names = self.corpus.names
        topics: dict[str, list[str]] = self.corpus.manifest.get("topics", {})
        own = {
            field: tuple(
                name
                for name in names
                if name == field or name in {f"{field}_{label}" for label in topics.get(field, ())}
            )
            for field in FIELD_NAMES
        }
        return {**own, **super()._named_groups()}

    def _set_weights(self, run: ModelRun) -> bool:
        if self.base is not None:
            self.base.load_into(run)
            return True
        model = self.arguments.model
        return isinstance(model, str) and model not in PRESETS

    def base_of(self, model: ModelSpec, settings: Settings) -> Base | None:
        """Return the base of another model, trained if the cache has it not, as its own would be.

        Args:
            model: see `lm.models.model_config`.
            settings: of the run that starts from it: context, precision, threads and device count.
        """
        spec = replace(self.arguments, model=model).base_spec(settings)
        return None if spec is None else ensure_base(spec)

    def _measure(self, run: ModelRun, signals: Signals) -> Measurement:
        from mixgym.probes.measure import score_probe

        measured = super()._measure(run, signals)
        if signals.diverged or measured.diverged:
            return measured
        feedback = {
            probe.name: score_probe(run, probe, "reward").log_probability
            for encoded in self.probes.values()
            for probe in encoded
        }
        return replace(measured, feedback=feedback)

    def _info(self) -> dict[str, Any]:
        return {**super()._info(), "base_hash": self.base_hash}

    def report(self, split: str = "test", windows: int | None = None) -> dict[str, Any]:
        """Measure for a report, as `PretrainEnv.report`; the `evaluation` account pays.

        Besides its keys: `retention` and `gain` (loss of the starting weights minus that of the
        run, on the same windows of the source and of the target field, nats per byte),
        `source_tokens`, `probes` (every feedback probe's `ProbeResult` on its report items, which
        feedback never sees, as plain numbers), `feedback` (`source` and `target`: the mean
        log-probability a token of the right answers over the field's probes, on report items,
        minus that of the starting weights, nats) and `overall`, the sum of these two.
        """
        from mixgym.probes.measure import measure

        run = self._active()
        result = super().report(split, windows)
        windows = self.arguments.report_windows if windows is None else windows
        loss = self.episode.by_field(np.array(result["domain_loss"]))
        first = self._starting_run()
        started = self.episode.by_field(
            first.evaluate(split, windows=windows, account="evaluation")
        )
        names = list(dict.fromkeys(n for probes in self.arguments.probes.values() for n in probes))
        items = self.arguments.report_items
        probes = measure(run, names, "report", items=items)
        before = measure(first, names, "report", items=items, choices=False)
        feedback = {
            field: float(
                np.mean([probes[n].log_probability - before[n].log_probability for n in own])
            )
            for field, own in self.arguments.probes.items()
        }
        return {
            **result,
            "retention": float(started[0] - loss[0]),
            "gain": float(started[1] - loss[1]),
            "source_tokens": self.episode.source_tokens,
            "feedback": feedback,
            "overall": float(sum(feedback.values())),
            "probes": {name: found.to_json() for name, found in probes.items()},
        }

    def _starting_run(self) -> ModelRun:
        """A run of the weights that the episode started from, which the same ledger pays."""
        run = self._active()
        if self.starting_weights is None:
            plain = replace(self.maker, gradients=None, text_sequences=0)
            first = plain.make(self.run_seed, 1)
        else:
            first = run.fork()
            self.starting_weights.load_into(first)
        first.ledger = run.ledger
        return first

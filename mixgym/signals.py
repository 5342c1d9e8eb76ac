"""Everything about a training run that is observable at a decision."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]

_TINY = 1e-12


def _empty() -> Float32Array:
    return np.zeros(0, dtype=np.float32)


@dataclass(frozen=True)
class Signals:
    """What a mixer, a reward term or an observation may see; arrays over K domains or L layers.

    All arrays are float32 copies owned by this object. Losses are in nats per byte of text, so
    that they compare across domains and tokenizers. A value that was not measured is NaN, never
    a stale or made-up number; `train_loss` is the exception by design, being a running mean with
    `train_loss_age` beside it.

    Attributes:
        mixture: (K,) the mixture applied since the previous decision; sums to one.
        counts: (K,) training sequences drawn from each domain since the previous decision.
        tokens: (K,) cumulative training tokens of each domain.
        epochs: (K,) passes made over each domain's training windows; 1.5 = one and a half.
        train_loss: (K,) exponential moving average over optimiser steps of the domain's training
            loss, NaN before its first sequence.
        train_loss_age: (K,) optimiser steps since the domain was last sampled (since the start
            of the run where it never was).
        train_loss_change: (K,) `train_loss` minus its value at the previous decision, 0 where
            either is NaN.
        last_loss: (K,) mean training loss of the sequences in `counts`, NaN where there were none.
        validation_loss: (K,) loss on the fixed validation windows, NaN where not measured.
        validation_change: (K,) its change since the previous decision, NaN where not measured.
        starved: (K,) bool; positive weight but no sequence since the previous decision.
        weight_norms: (L,) L2 norm of each signal layer's weight matrix.
        update_norms: (L,) L2 norm of its change since the previous decision.
        step: optimiser steps done.
        total_steps: optimiser steps in the budget.
        decision: decisions done.
        remaining: share of the budget left, 1 at the start and 0 at the end.
        objective_loss: objective-weighted mean of `validation_loss`; NaN where not measured.
        diverged: the training or validation loss stopped being finite.
        learning_rate: of the last optimiser step, NaN before the first.
        gram: (K, K) inner products <g_i, g_j> of the domains' gradients: g_i is the gradient of
            domain i's own mean loss (nats per token) in the weight matrices chosen by
            `lm.settings.GradientSettings`, over its sequences since the previous decision, before
            clipping. NaN for domains not sampled; this and the following fields are empty (the
            scalar NaN) unless the run was asked to measure them.
        gradient_norms: (K,) ||g_i||.
        gradient_variance: (K,) sum over entries of the variance of one sequence's gradient,
            1/(n_i - 1) sum_b ||g_b - g_i||^2; NaN for fewer than two sequences.
        alignment: (K,) sum_{j != i} <g_i, g_j> over the domains that were sampled.
        objective_alignment: (K,) <g_i, g_o>, g_o the gradient of the objective's validation loss
            (nats per byte) after the decision.
        objective_gradient_norm: ||g_o||.
        lexical_diversity: (K,) MTLD of the words of the first training sequences drawn since the
            previous decision (`mixgym.lexical`), NaN where there were none; this and the next
            field are empty unless the run was asked to measure text.
        type_token_ratio: (K,) share of different words among the same words.
        feedback: (2,) mean log-probability a token, nats, of probes' answers on the source and the
            target field after the decision; this and the following fields are empty but in
            continual pretraining.
        past_mixtures: (W, K) mixtures of the last W decisions, the latest first; NaN before there
            were any.
        past_feedback: (W, 2) `feedback` after each of them, minus that at the start of the run;
            NaN before there was any.
    """

    mixture: Float32Array
    counts: Float32Array
    tokens: Float32Array
    epochs: Float32Array
    train_loss: Float32Array
    train_loss_age: Float32Array
    train_loss_change: Float32Array
    last_loss: Float32Array
    validation_loss: Float32Array
    validation_change: Float32Array
    starved: NDArray[np.bool_]
    weight_norms: Float32Array = field(default_factory=_empty)
    update_norms: Float32Array = field(default_factory=_empty)
    step: int = 0
    total_steps: int = 0
    decision: int = 0
    remaining: float = 1.0
    objective_loss: float = float("nan")
    diverged: bool = False
    learning_rate: float = float("nan")
    gram: Float32Array = field(default_factory=_empty)
    gradient_norms: Float32Array = field(default_factory=_empty)
    gradient_variance: Float32Array = field(default_factory=_empty)
    alignment: Float32Array = field(default_factory=_empty)
    objective_alignment: Float32Array = field(default_factory=_empty)
    objective_gradient_norm: float = float("nan")
    lexical_diversity: Float32Array = field(default_factory=_empty)
    type_token_ratio: Float32Array = field(default_factory=_empty)
    feedback: Float32Array = field(default_factory=_empty)
    past_mixtures: Float32Array = field(default_factory=_empty)
    past_feedback: Float32Array = field(default_factory=_empty)

    @property
    def K(self) -> int:
        """Number of domains."""
        return len(self.mixture)

    @property
    def alignment_cosines(self) -> NDArray[np.float64]:
        """(K,) cosines of g_i and the other domains' summed gradient, NaN where not measured."""
        if not self.gram.size:
            return np.full(self.K, np.nan)
        gram = self.gram.astype(np.float64)
        # ||sum_{j != i} g_j||^2, of the domains that were sampled
        others = np.nansum(gram) - 2.0 * np.nansum(gram, axis=1) + np.diagonal(gram)
        squares = np.maximum(others, _TINY) * np.maximum(np.diagonal(gram), _TINY)
        return self.alignment / np.sqrt(squares)

    @property
    def objective_cosines(self) -> NDArray[np.float64]:
        """(K,) cosines of g_i and the objective's gradient, NaN where not measured."""
        if not self.objective_alignment.size:
            return np.full(self.K, np.nan)
        norms = self.gradient_norms.astype(np.float64) * self.objective_gradient_norm
        return self.objective_alignment / np.maximum(norms, _TINY)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-plain dict that `from_json` restores bit for bit (NaN as None)."""
        plain: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            plain[item.name] = _plain(value.tolist() if isinstance(value, np.ndarray) else value)
        return plain

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Signals:
        """Inverse of `to_json`; fields that an older record lacks have their default."""
        values: dict[str, Any] = {}
        for item in fields(cls):
            if item.name not in plain:
                continue
            value = plain[item.name]
            if isinstance(value, list):
                dtype = np.bool_ if item.name == "starved" else np.float32
                value = np.array(_number(value), dtype=dtype)
            elif value is None:
                value = float("nan")
            values[item.name] = value
        return cls(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(x) for x in value]
    return None if isinstance(value, float) and value != value else value


def _number(value: Any) -> Any:
    if isinstance(value, list):
        return [_number(x) for x in value]
    return np.nan if value is None else value

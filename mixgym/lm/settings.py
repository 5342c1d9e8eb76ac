"""Presets and settings of a training run; plain data, nothing heavy imported."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from mixgym.errors import unknown_name

#: More threads than any machine has use for in one run; torch itself crashes on far more.
MAX_THREADS = 256


def whole_number(name: str, value: Any, least: int | None = None) -> int:
    """Return `value`, an integer of any type, as an int.

    Raises:
        ValueError: no integer, or less than `least`; the message begins with `name`.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or (least is not None and number < least):
        bound = "" if least is None else f" >= {least}"
        raise ValueError(f"{name} must be a whole number{bound}, got {value!r}")
    return number


def _check_pattern(name: str, pattern: Any) -> None:
    try:
        re.compile(pattern)
    except (re.error, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(
            f"{name} must be a regular expression of parameter names, got {pattern!r} ({error}): "
            "escape its special characters, or leave it empty for the MLP output matrices"
        ) from None


@dataclass(frozen=True)
class Settings:
    """How a language model is trained; every field is an argument of the environments.

    Attributes:
        context: tokens predicted in a sequence.
        batch_size: sequences in an optimiser step.
        learning_rate: AdamW's peak.
        warmup_steps: steps of linear warm-up; constant afterwards.
        final_decay: share of the budget, at its end, over which the learning rate falls linearly
            to zero; 0 (default) keeps it constant, so that steps-to-target is not an artefact of
            a schedule that knows the horizon.
        weight_decay: AdamW's, on matrices only.
        betas: AdamW's moment coefficients.
        clip: largest global gradient norm.
        precision: `"fp32"`, `"bf16"` (autocast) or `"auto"` (bf16 where the device has native
            bf16 matrix units and the model's width is at least 128, else fp32).
        threads: torch threads the run is pinned to, at most `MAX_THREADS`.
        device: `"cpu"`, `"cuda"`, `"cuda:1"`, ...
        loss_decay: coefficient of the running mean `train_loss` per optimiser step that sampled
            the domain.
        layers: regular expression of the weight matrices whose norms are signals; empty for the
            MLP output matrices.
    """

    context: int = 128
    batch_size: int = 16
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    final_decay: float = 0.0
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    precision: str = "fp32"
    threads: int = 1
    device: str = "cpu"
    loss_decay: float = 0.9
    layers: str = ""

    def __post_init__(self) -> None:
        for name in ("context", "batch_size", "threads"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a positive whole number, got {value!r}")
        if self.threads > MAX_THREADS:
            raise ValueError(
                f"threads must be at most {MAX_THREADS}, got {self.threads}: give the number of "
                "the machine's cores, or fewer"
            )
        numbers = ("learning_rate", "warmup_steps", "final_decay", "weight_decay", "clip")
        for name in (*numbers, "loss_decay"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                raise ValueError(f"{name} must be a number, got {value!r}")
            if not math.isfinite(value):
                raise ValueError(f"{name} must be finite, got {value!r}")
        betas = tuple(self.betas) if isinstance(self.betas, (list, tuple)) else ()
        if len(betas) != 2 or not all(isinstance(b, (int, float)) and 0 <= b < 1 for b in betas):
            raise ValueError(f"betas must be two numbers in [0, 1), got {self.betas!r}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate!r}")
        if self.warmup_steps < 0 or self.weight_decay < 0 or not self.clip > 0:
            raise ValueError(
                "warmup_steps and weight_decay must not be negative and clip must be positive, got "
                f"{self.warmup_steps!r}, {self.weight_decay!r}, {self.clip!r}"
            )
        if not 0 <= self.final_decay <= 1 or not 0 <= self.loss_decay < 1:
            raise ValueError(
                "final_decay must lie in [0, 1] and loss_decay in [0, 1), got "
                f"{self.final_decay!r} and {self.loss_decay!r}"
            )
        if self.precision not in ("fp32", "bf16", "auto"):
            raise unknown_name("precision", self.precision, ["fp32", "bf16", "auto"])
        if not isinstance(self.device, str) or not re.fullmatch(r"(cpu|cuda)(:\d+)?", self.device):
            raise unknown_name("device", self.device, ["cpu", "cuda", "cuda:0"])
        _check_pattern("layers", self.layers)
        object.__setattr__(self, "betas", tuple(self.betas))

    def learning_rate_at(self, step: int, total_steps: int) -> float:
        """Learning rate of the 0-based optimiser `step` of a budget of `total_steps`."""
        rate = self.learning_rate * min(1.0, (step + 1) / max(1, self.warmup_steps))
        decay_steps = self.final_decay * total_steps
        if decay_steps > 0:
            rate *= min(1.0, max(0.0, (total_steps - step) / decay_steps))
        return rate

    def updated(self, arguments: Mapping[str, Any]) -> Settings:
        """Return a copy with some fields replaced (`UnknownNameError` for an unknown one)."""
        known = [item.name for item in fields(self)]
        for name in arguments:
            if name not in known:
                raise unknown_name("training argument", name, known)
        return replace(self, **arguments)


#: Share of the layers whose gradients are measured by default.
LAST_SHARE = 3 / 16

GRADIENT_KINDS: tuple[str, ...] = ("gram", "objective", "variance")


@dataclass(frozen=True)
class GradientSettings:
    """Which gradient signals a run measures; nothing is measured that is not named.

    The domains' gradients are means over all their sequences in the measured steps of a decision,
    each taken at the weights of its own step.

    Attributes:
        kinds: of `"gram"` (inner products of the domains' gradients: `Signals.gram`,
            `gradient_norms`, `alignment`), `"objective"` (inner products with the validation
            gradient of the objective, taken once a decision: `objective_alignment`,
            `objective_gradient_norm`; also `gradient_norms`) and `"variance"` (of single
            sequences' gradients: `gradient_variance`; also `gradient_norms`).
        every: measure at the run's optimiser steps 0, n, 2n, ...; a decision without one of them
            has NaN.
        layers: regular expression of the weight matrices; empty for the MLP output matrices.
        last_n: only the last n matrices that match; 0 for all, None for the last 3 of every 16, at
            least one (AC-ODM: 3 of 16).
        windows: validation windows a domain for the objective's gradient.
        objective: (K,) weights of the domains' validation losses in the objective; an environment
            fills them in.

    Raises:
        UnknownNameError, ValueError: an unknown kind, or a number out of range.
    """

    kinds: tuple[str, ...] = ("gram",)
    every: int = 1
    layers: str = ""
    last_n: int | None = None
    windows: int = 16
    objective: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        kinds = (self.kinds,) if isinstance(self.kinds, str) else tuple(self.kinds)
        for kind in kinds:
            if kind not in GRADIENT_KINDS:
                raise unknown_name("kind of gradient", kind, GRADIENT_KINDS)
        if not kinds:
            raise ValueError(
                f"no kind of gradient is named: give some of {', '.join(GRADIENT_KINDS)}"
            )
        for name, least in (("every", 1), ("last_n", 0), ("windows", 1)):
            value = getattr(self, name)
            if name == "last_n" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"gradients: {name} must be a whole number >= {least}: {value!r}")
        _check_pattern("gradients: layers", self.layers)
        object.__setattr__(self, "kinds", tuple(kind for kind in GRADIENT_KINDS if kind in kinds))
        object.__setattr__(self, "objective", tuple(float(x) for x in self.objective))

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> GradientSettings:
        """Build from a mapping of the attributes (`UnknownNameError` for one that is not there)."""
        known = [item.name for item in fields(cls)]
        for name in plain:
            if name not in known:
                raise unknown_name("gradient setting", name, known)
        return cls(**plain)


@dataclass(frozen=True)
class Preset:
    """A model with the settings measured to suit it (docs/presets.md has the measurements).

    Attributes:
        config: arguments of `transformers.AutoConfig.for_model`, `model_type` included.
        settings: how it is trained.
        description: one line for listings.
    """

    config: Mapping[str, Any]
    settings: Settings
    description: str


def gpt_neox(width: int, layers: int, heads: int) -> dict[str, Any]:
    """Return a GPT-NeoX configuration with Pythia's proportions (MLP of 4 widths, rotary 1/4)."""
    return {
        "model_type": "gpt_neox",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "rotary_pct": 0.25,
        "use_parallel_residual": True,
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "use_cache": False,
    }


#: name -> preset; one line each.
PRESETS: dict[str, Preset] = {
    "nano": Preset(
        gpt_neox(32, 2, 2),
        Settings(context=64, batch_size=16, learning_rate=8e-3, warmup_steps=20),
        "GPT-NeoX of 0.04 M parameters: an episode in seconds",
    ),
    "micro": Preset(
        gpt_neox(64, 2, 4),
        Settings(context=64, batch_size=32, learning_rate=3e-3, warmup_steps=50),
        "GPT-NeoX of 0.13 M parameters: an episode in about a minute",
    ),
}

"""Running a model on probes: log-probabilities of answers, bits per byte, accuracy."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from mixgym.lm.evaluation import evaluating
from mixgym.lm.run import ModelRun
from mixgym.lm.torchstate import own_torch_state
from mixgym.probes.catalogue import PROBES
from mixgym.probes.encoding import Batch, EncodedProbe, encode_probe


@dataclass(frozen=True)
class ProbeResult:
    """What a model makes of one probe; errors are standard errors over items.

    Attributes:
        probe, purpose, items: which, what for, and how many.
        log_probability: mean over items of the right answer's mean log-probability a token, nats,
            at most 0 (the feedback of the Data Mixing Agent, arXiv 2507.15640).
        log_probability_error: its standard error.
        bits_per_byte: mean over items of the right answer's bits a byte of UTF-8, at least 0.
        bits_per_byte_error: its standard error.
        accuracy: share of items whose right answer has the highest log-probability of all; NaN
            where there is nothing to choose.
        accuracy_per_byte: the same by log-probability a byte, which does not favour short answers.
        accuracy_error: standard error of `accuracy`, sqrt(p (1 - p) / n).
        chance: expected accuracy of guessing, the mean over items of one by the number of choices.
    """

    probe: str
    purpose: str
    items: int
    log_probability: float
    log_probability_error: float
    bits_per_byte: float
    bits_per_byte_error: float
    accuracy: float = math.nan
    accuracy_per_byte: float = math.nan
    accuracy_error: float = math.nan
    chance: float = math.nan

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers, None where not measured."""
        return {k: None if v != v else v for k, v in asdict(self).items()}


def measure(
    run: ModelRun,
    probes: Sequence[str],
    purpose: str,
    *,
    items: int | None = 64,
    longest: int | None = None,
    choices: bool = True,
    account: str = "evaluation",
) -> dict[str, ProbeResult]:
    """Measure a run's model on probes without changing the run; the ledger's `account` pays.

    Args:
        run: whose model, tokenizer, context and precision count.
        probes: names in `PROBES`.
        purpose: `"feedback"` for anything that steers, `"report"` for reports.
        items: of each probe, at most; None for all.
        longest: leave out items with a longer right answer, in bytes.
        choices: score the wrong answers too, for accuracy.
        account: of the ledger.

    Raises:
        UnknownNameError: no such probe, or purpose.
        CorpusError: the items cannot be had.
    """
    found = [PROBES[name] for name in probes]
    encoded = [
        encode_probe(
            probe,
            purpose,
            run.corpus.tokenizer,
            run.settings.context,
            limit=items,
            longest=longest,
            choices=choices and probe.choice,
        )
        for probe in found
    ]
    return {probe.name: score_probe(run, probe, account) for probe in encoded}


def score_probe(run: ModelRun, probe: EncodedProbe, account: str) -> ProbeResult:
    """Measure one encoded probe (see `measure`)."""
    start = time.perf_counter()
    settings = run.settings
    with own_torch_state(settings.threads, settings.device), evaluating(run.model):
        scores = continuation_scores(run.model, probe, run.autocast())
    tokens = probe.evaluated
    run.ledger.charge(
        account,
        tokens=tokens,
        flops=2.0 * run.n_parameters * tokens,
        seconds=time.perf_counter() - start,
    )
    return result_of(probe, scores)


def continuation_scores(
    model: torch.nn.Module, probe: EncodedProbe, autocast: torch.autocast
) -> NDArray[np.float64]:
    """Return the (c,) log-probabilities of whole continuations, nats."""
    return batch_scores(model, probe.batches, len(probe.item), autocast)[0]


@torch.inference_mode()
def batch_scores(
    model: torch.nn.Module, batches: Iterable[Batch], owners: int, autocast: torch.autocast
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return (owners,) log-probabilities in nats, and whether each token was the likeliest."""
    device = next(model.parameters()).device
    total, greedy = np.zeros(owners), np.ones(owners, dtype=np.bool_)
    for batch in batches:
        windows = torch.from_numpy(batch.tokens).to(device)
        with autocast:
            logits = model(input_ids=windows[:, :-1], use_cache=False).logits.float()
        targets = windows[:, 1:]
        loss = functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), reduction="none"
        ).view_as(targets)
        losses = loss.double().cpu().numpy()
        np.add.at(total, batch.owner, -np.where(batch.scored, losses, 0.0).sum(axis=1))
        likeliest = (logits.argmax(dim=-1) == targets).cpu().numpy()
        np.logical_and.at(greedy, batch.owner, (likeliest | ~batch.scored).all(axis=1))
    return total, greedy


def result_of(probe: EncodedProbe, scores: NDArray[np.float64]) -> ProbeResult:
    """Summarise the (c,) log-probabilities of a probe's continuations."""
    gold = probe.gold
    each = scores[gold] / np.maximum(probe.tokens[gold], 1)
    bits = -scores[gold] / math.log(2) / np.maximum(probe.bytes[gold], 1)
    facts: dict[str, float] = {}
    if probe.choice:
        n = probe.items
        number = np.bincount(probe.item, minlength=n)
        accuracy = float(_right(probe, scores).mean())
        facts = {
            "accuracy": accuracy,
            "accuracy_per_byte": float(_right(probe, scores / np.maximum(probe.bytes, 1)).mean()),
            "accuracy_error": math.sqrt(accuracy * (1 - accuracy) / n),
            "chance": float((1 / number).mean()),
        }
    return ProbeResult(
        probe.name,
        probe.purpose,
        probe.items,
        float(each.mean()),
        _standard_error(each),
        float(bits.mean()),
        _standard_error(bits),
        **facts,
    )


def _right(probe: EncodedProbe, scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(items,) whether the right answer scores higher than every other; a tie is not."""
    wrong = np.full(probe.items, -np.inf)
    np.maximum.at(wrong, probe.item[~probe.gold], scores[~probe.gold])
    return scores[probe.gold] > wrong


def _standard_error(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan

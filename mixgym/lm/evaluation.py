"""Losses on fixed held-out windows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional

from mixgym.errors import CorpusError
from mixgym.ledger import Ledger
from mixgym.lm.permutation import permute, stable_key
from mixgym.lm.settings import whole_number

if TYPE_CHECKING:
    from mixgym.corpus import Corpus

_BATCH = 32


class EvaluationWindows:
    """The held-out windows every run of a corpus is measured on.

    The choice depends on the corpus, `seed` and the domain's name, not on the run's seed: all
    arms and seeds of a comparison are measured on the same text.

    Args:
        corpus: the text.
        context: tokens predicted in a window.
        seed: selects the windows; a whole number.

    Raises:
        ValueError: another seed.
    """

    def __init__(self, corpus: Corpus, context: int, seed: int = 0) -> None:
        self.corpus = corpus
        self.context = context
        self.seed = whole_number("evaluation_seed", seed)
        self._chosen: dict[tuple[str, int, int], NDArray[Any]] = {}

    def tokens(self, split: str, k: int, windows: int) -> NDArray[np.int64]:
        """Return up to `windows` windows of domain `k`, (n, context + 1) int64, n <= windows.

        Raises:
            CorpusError: the domain's split is shorter than one window.
        """
        if (split, k, windows) not in self._chosen:
            self._chosen[split, k, windows] = self._choose(split, k, windows)
        return self._chosen[split, k, windows].astype(np.int64)

    def _choose(self, split: str, k: int, windows: int) -> NDArray[Any]:
        domain = self.corpus.domains[k]
        array = domain.tokens(split)
        available = (len(array) - 1) // self.context
        if available < 1:
            raise CorpusError(
                f"the {split} split of domain {domain.name!r} has {len(array)} tokens, fewer than "
                f"the {self.context + 1} of one evaluation window: add text to the domain, lower "
                "the context or leave the domain out (domains=[...])"
            )
        key = stable_key("evaluation", self.seed, split, domain.name)
        chosen = np.sort(permute(np.arange(min(windows, available)), available, key))
        starts = chosen * self.context
        return np.stack([array[s : s + self.context + 1] for s in starts])


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Put a model in training into evaluation mode for a block."""
    model.eval()
    try:
        yield
    finally:
        model.train()


@torch.inference_mode()
def losses(
    model: torch.nn.Module, tokens: NDArray[np.int64], autocast: torch.autocast
) -> NDArray[np.float64]:
    """Return the mean loss of each window, (n,) float64, in nats per token."""
    device = next(model.parameters()).device
    result: list[NDArray[np.float64]] = []
    for first in range(0, len(tokens), _BATCH):
        windows = torch.from_numpy(tokens[first : first + _BATCH]).to(device)
        with autocast:
            logits = model(input_ids=windows[:, :-1], use_cache=False).logits
        loss = functional.cross_entropy(
            logits.float().flatten(0, 1), windows[:, 1:].flatten(), reduction="none"
        )
        result.append(loss.view(len(windows), -1).mean(dim=1).double().cpu().numpy())
    return np.concatenate(result)


@torch.inference_mode()
def token_losses(
    model: torch.nn.Module, tokens: NDArray[np.int64], autocast: torch.autocast
) -> torch.Tensor:
    """Return the (n, context) losses, in nats, of the tokens of (n, context + 1) windows."""
    windows = torch.from_numpy(tokens).to(next(model.parameters()).device)
    with autocast:
        logits = model(input_ids=windows[:, :-1], use_cache=False).logits
    loss = functional.cross_entropy(
        logits.float().flatten(0, 1), windows[:, 1:].flatten(), reduction="none"
    )
    return loss.view(len(windows), -1)


def domain_losses(
    model: torch.nn.Module,
    held_out: EvaluationWindows,
    split: str,
    domains: Sequence[int],
    windows: int,
    autocast: torch.autocast,
) -> tuple[NDArray[np.float64], int]:
    """Return (K,) mean losses in nats per *byte*, NaN where not asked for, and tokens evaluated.

    A window's nats per token become nats per byte by the whole split's mean bytes per token, which
    is exact for the bytes tokenizer and, for others, the same constant in every run.
    """
    corpus = held_out.corpus
    result = np.full(corpus.K, np.nan)
    count = 0
    for k in domains:
        tokens = held_out.tokens(split, k, windows)
        count += tokens.shape[0] * held_out.context
        bytes_per_token = corpus.domains[k].bytes_per_token(split)
        result[k] = losses(model, tokens, autocast).mean() / bytes_per_token
    return result, count


def charged_losses(
    model: torch.nn.Module,
    held_out: EvaluationWindows,
    autocast: torch.autocast,
    ledger: Ledger,
    split: str,
    *,
    domains: ArrayLike | None,
    windows: int,
    account: str,
) -> NDArray[np.float64]:
    """Measure a run's losses as `Run.evaluate` does, and charge its ledger.

    Raises:
        ValueError: no such split.
    """
    if split not in ("validation", "test"):
        raise ValueError(f"split must be 'validation' or 'test', got {split!r}")
    chosen = range(held_out.corpus.K) if domains is None else np.asarray(domains).tolist()
    start = time.perf_counter()
    with evaluating(model):
        result, tokens = domain_losses(model, held_out, split, chosen, windows, autocast)
    ledger.charge(
        account,
        tokens=tokens,
        flops=2.0 * sum(parameter.numel() for parameter in model.parameters()) * tokens,
        seconds=time.perf_counter() - start,
    )
    return result

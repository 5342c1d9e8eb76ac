"""Items as batches of windows that a model of a short context can score."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixgym.corpus.tokenizers import Tokenizer
from mixgym.probes.items import Probe

_BATCH_WINDOWS = 64
_CACHED = 64


@dataclass(frozen=True)
class Batch:
    """Windows of about one length, padded on the right.

    Attributes:
        tokens: (n, t + 1) int64; the model reads the first t and predicts the last t.
        scored: (n, t) bool; the predictions that belong to an answer.
        owner: (n,) int64; number of the continuation in its probe.
    """

    tokens: NDArray[np.int64]
    scored: NDArray[np.bool_]
    owner: NDArray[np.int64]


@dataclass(frozen=True)
class EncodedProbe:
    """The items of a probe for one tokenizer and context.

    Attributes:
        name, purpose: of the probe and its items.
        batches: what the model is run on.
        item: (c,) int64; number of the item that each of c continuations belongs to.
        gold: (c,) bool; whether it is the right one.
        tokens, bytes: (c,) int64 lengths of the continuations.
        choice: whether the wrong answers are there as well.
    """

    name: str
    purpose: str
    batches: tuple[Batch, ...]
    item: NDArray[np.int64]
    gold: NDArray[np.bool_]
    tokens: NDArray[np.int64]
    bytes: NDArray[np.int64]
    choice: bool

    @property
    def items(self) -> int:
        """Number of items."""
        return int(self.gold.sum())

    @property
    def evaluated(self) -> int:
        """Tokens that go through the model, padding included."""
        return sum(batch.scored.size for batch in self.batches)

    def __deepcopy__(self, memo: dict[int, object]) -> EncodedProbe:
        return self


_cache: OrderedDict[tuple[object, ...], EncodedProbe] = OrderedDict()


def encode_probe(
    probe: Probe,
    purpose: str,
    tokenizer: Tokenizer,
    context: int,
    *,
    limit: int | None = None,
    longest: int | None = None,
    choices: bool = True,
) -> EncodedProbe:
    """Encode the items of `probe`; the latest encodings are kept.

    A document begins with the tokenizer's separator, as in training. Where question and answer
    exceed `context` tokens, the question loses its beginning. An answer of more than half a
    context is scored in pieces of half a context, each with as much before it as fits, so that
    every token of the answer is predicted once, from at least half a context where there is one.

    Args:
        probe: what to encode.
        purpose: `"feedback"` or `"report"`.
        tokenizer: the model's.
        context: tokens the model can read, at least 2.
        limit, longest: see `Probe.items`.
        choices: encode the wrong answers too; without, accuracy cannot be measured.
    """
    key = (probe.name, purpose, tokenizer.hash, context, limit, longest, choices)
    if key in _cache:
        _cache.move_to_end(key)
        return _cache[key]
    encoded = _encode(probe, purpose, tokenizer, context, limit, longest, choices)
    _cache[key] = encoded
    while len(_cache) > _CACHED:
        _cache.popitem(last=False)
    return encoded


def _encode(
    probe: Probe,
    purpose: str,
    tokenizer: Tokenizer,
    context: int,
    limit: int | None,
    longest: int | None,
    choices: bool,
) -> EncodedProbe:
    if context < 2:
        raise ValueError(f"context must be at least 2 to score an answer, got {context}")
    windows: list[tuple[NDArray[np.int64], int, int]] = []
    item_of: list[int] = []
    gold: list[bool] = []
    tokens: list[int] = []
    sizes: list[int] = []
    for number, item in enumerate(probe.items(purpose, limit, longest)):
        before = np.concatenate([[tokenizer.separator], tokenizer.encode(item.context)])
        for index, continuation in enumerate(item.continuations):
            if not choices and index != item.gold:
                continue
            answer = tokenizer.encode(continuation).astype(np.int64)
            owner = len(item_of)
            windows += [(ids, n, owner) for ids, n in pieces(before, answer, context)]
            item_of.append(number)
            gold.append(index == item.gold)
            tokens.append(len(answer))
            sizes.append(len(continuation.encode()))
    return EncodedProbe(
        probe.name,
        purpose,
        tuple(batches(windows)),
        np.array(item_of, dtype=np.int64),
        np.array(gold, dtype=np.bool_),
        np.array(tokens, dtype=np.int64),
        np.array(sizes, dtype=np.int64),
        choices and probe.choice,
    )


def pieces(
    before: NDArray[np.integer], answer: NDArray[np.integer], context: int
) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield windows of at most `context + 1` tokens and how many of their last tokens count.

    Together the counted tokens are the answer, each once, in order.
    """
    sequence = np.concatenate([before, answer]).astype(np.int64)
    whole = len(sequence) - 1 <= context
    size = max(len(answer), 1) if whole else max(context // 2, 1)
    for start in range(0, len(answer), size):
        n = min(size, len(answer) - start)
        end = len(before) + start + n
        yield sequence[max(0, end - context - 1) : end], n


def batches(windows: Sequence[tuple[NDArray[np.int64], int, int]]) -> Iterator[Batch]:
    """Yield batches of (window, number of its last tokens that count, owner), short ones first."""
    order = sorted(range(len(windows)), key=lambda i: (len(windows[i][0]), i))
    for first in range(0, len(order), _BATCH_WINDOWS):
        group = [windows[i] for i in order[first : first + _BATCH_WINDOWS]]
        length = max(len(ids) for ids, _, _ in group)
        tokens = np.zeros((len(group), length), dtype=np.int64)
        scored = np.zeros((len(group), length - 1), dtype=np.bool_)
        for row, (ids, n, _) in enumerate(group):
            # Right padding: causal attention never looks at it from a token that counts.
            tokens[row, : len(ids)] = ids
            scored[row, len(ids) - 1 - n : len(ids) - 1] = True
        yield Batch(tokens, scored, np.array([owner for _, _, owner in group], dtype=np.int64))

"""Signals of the text a decision trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixgym.corpus.tokenizers import BytesTokenizer, Tokenizer
from mixgym.ledger import Ledger
from mixgym.lexical import CUT, mtld, type_token_ratio, words
from mixgym.lm.stream import Batch


def text_signals(
    batches: Sequence[Batch], sequences: int, tokenizer: Tokenizer, K: int, ledger: Ledger
) -> dict[str, NDArray[np.float32]]:
    """Return the text fields of a decision's `Signals`, and charge their seconds to `reward`.

    Args:
        batches: what the decision trained on; empty before the first.
        sequences: the first of each domain in the order they were drawn, which are read; 0 for
            none, and no fields.
        tokenizer: theirs.
        K: number of domains.
        ledger: that pays.
    """
    if not sequences:
        return {}
    with ledger.timed("reward"):
        diversity = np.full((2, K), np.nan, dtype=np.float32)
        for k, windows in _first_windows(batches, sequences).items():
            found = words(_text(tokenizer, windows))
            if found:
                diversity[:, k] = mtld(found), type_token_ratio(found)
    return {"lexical_diversity": diversity[0], "type_token_ratio": diversity[1]}


def _first_windows(batches: Sequence[Batch], number: int) -> dict[int, list[NDArray[np.int64]]]:
    """Return the first windows of each domain that has any, at most `number`."""
    if not batches:
        return {}
    domains = np.concatenate([batch.domains for batch in batches])
    size = len(batches[0].domains)
    chosen = {int(k): np.flatnonzero(domains == k)[:number].tolist() for k in np.unique(domains)}
    return {
        k: [batches[at // size].tokens[at % size] for at in places] for k, places in chosen.items()
    }


def _text(tokenizer: Tokenizer, windows: Sequence[NDArray[np.int64]]) -> str:
    """Return the windows' text with a cut at each end of each."""
    if isinstance(tokenizer, BytesTokenizer):  # one call for all: the separator is a cut
        cut = np.zeros(1, dtype=np.int64)
        pieces = [cut, *(part for window in windows for part in (window, cut))]
        return tokenizer.decode(np.concatenate(pieces))
    ends = (np.flatnonzero(window == tokenizer.separator) for window in windows)
    documents = [
        part for window, end in zip(windows, ends, strict=True) for part in np.split(window, end)
    ]
    return CUT.join(["", *(tokenizer.decode(part) for part in documents), ""])

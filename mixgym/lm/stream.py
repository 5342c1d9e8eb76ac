"""Training batches drawn by a mixture that may change at any step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixgym.errors import CheckpointError, CorpusError
from mixgym.lm.permutation import permute, stable_key
from mixgym.simplex import validate_mixture

if TYPE_CHECKING:
    from mixgym.corpus import Corpus

#: Positions permuted at a time; permuting one by one would cost as much as a small model's step.
_LOOKAHEAD = 4096
#: At most so many batches, and bytes of them, are drawn ahead.
_AHEAD_BATCHES = 32
_AHEAD_BYTES = 1 << 20
_NONE = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Batch:
    """Training sequences of one optimiser step.

    Attributes:
        tokens: (B, context + 1) int64; inputs are `[:, :-1]`, targets `[:, 1:]`.
        domains: (B,) int64 index of each sequence's domain.
    """

    tokens: NDArray[np.int64]
    domains: NDArray[np.int64]


class MixtureStream:
    """Draw batches from a corpus's training splits by a mixture.

    **Which domain.** Every sequence slot adds the mixture to a running credit per domain and goes
    to the domain with the largest credit, which then pays one. The counts of any stretch of slots
    stay within about one sequence of the mixture's exact shares, the rounding error is carried
    forward, nothing is random, and a mixture may change between any two batches. A domain whose
    weight is zero is never drawn and keeps its credit for later.

    **Which window.** A domain's training tokens are cut into windows of `context + 1` tokens that
    overlap by one. Its n-th draw is a function of the seed, the domain's *name* and n alone, never
    of the mixture: each epoch is a fresh permutation of all windows. Two runs with one seed
    thus see a domain's text in the same order whatever their mixtures (common random numbers).

    Args:
        corpus: the text.
        batch_size: sequences in a batch.
        context: tokens predicted in a sequence.
        seed: selects the windows' order.

    Raises:
        CorpusError: a domain's training text is shorter than one window.
    """

    def __init__(self, corpus: Corpus, batch_size: int, context: int, seed: int) -> None:
        if batch_size < 1 or context < 1:
            raise ValueError(
                f"batch_size and context must be positive, got {batch_size} and {context}"
            )
        self.corpus = corpus
        self.batch_size = batch_size
        self.context = context
        self.seed = seed
        self._text = [domain.reader("train") for domain in corpus.domains]
        self.windows = np.array([(len(t) - 1) // context for t in self._text], dtype=np.int64)
        for domain, n in zip(corpus.domains, self.windows, strict=True):
            if n < 1:
                raise CorpusError(
                    f"domain {domain.name!r} of corpus {corpus.name!r} has fewer than the "
                    f"{context + 1} training tokens of one window: add text, lower the context "
                    "or leave the domain out (domains=[...])"
                )
        # Number of a domain's draw, and where its window and the following ones start: they
        # follow from seed and count, so they are never part of the state.
        self._upcoming: dict[int, tuple[int, NDArray[np.int64]]] = {}
        self._drawn = np.zeros(corpus.K, dtype=np.int64)
        self._credit = np.zeros(corpus.K, dtype=np.float64)

    @property
    def drawn(self) -> NDArray[np.int64]:
        """(K,) sequences drawn from each domain so far."""
        return self._drawn.copy()

    @property
    def epochs(self) -> NDArray[np.float64]:
        """(K,) passes over each domain's windows; above 1 the domain repeats."""
        return self._drawn / self.windows

    def batches(self, mixture: NDArray[np.float64], n: int) -> Iterator[Batch]:
        """Yield `n` batches drawn by `mixture` ((K,), non-negative, sums to one)."""
        weights = validate_mixture(mixture, self.corpus.K, names=self.corpus.names)
        size = 8 * self.batch_size * (self.context + 1)
        ahead = max(1, min(_AHEAD_BATCHES, _AHEAD_BYTES // size))
        while n > 0:
            # Drawn some at a time, which is cheaper than between the steps of a model; what is
            # counted as drawn is what was yielded.
            coming = self._draw(weights, min(ahead, n))
            for batch, self._drawn, self._credit in coming:
                yield batch
            n -= len(coming)

    def _draw(
        self, weights: NDArray[np.float64], n: int
    ) -> list[tuple[Batch, NDArray[np.int64], NDArray[np.float64]]]:
        """Return the coming `n` batches, and what is drawn and the credit after each of them."""
        allowed = np.flatnonzero(weights > 0)
        share = weights[allowed]
        credit = self._credit[allowed]
        slots, credits = [], []
        for _ in range(n):
            for _ in range(self.batch_size):
                credit += share
                chosen = credit.argmax()
                credit[chosen] -= 1.0
                slots.append(chosen)
            credits.append(self._credit.copy())
            credits[-1][allowed] = credit
        domains = allowed[slots]
        starts = np.empty(len(domains), dtype=np.int64)
        for k in allowed.tolist():
            places = np.flatnonzero(domains == k)
            starts[places] = self._windows(k, len(places))
        length = self.context + 1
        where = zip(domains.tolist(), starts.tolist(), strict=True)
        text = b"".join([self._text[k].read(start, length) for k, start in where])
        tokens = np.frombuffer(text, dtype=self._text[0].dtype).astype(np.int64)
        drawn = self._drawn
        result = []
        for tokens_of_one, domains_of_one, after in zip(
            tokens.reshape(n, self.batch_size, length),
            domains.reshape(n, self.batch_size),
            credits,
            strict=True,
        ):
            drawn = drawn + np.bincount(domains_of_one, minlength=self.corpus.K)
            result.append((Batch(tokens_of_one, domains_of_one), drawn, after))
        return result

    def _windows(self, k: int, n: int) -> NDArray[np.int64]:
        """Return where the windows of domain `k`'s next `n` draws start."""
        first = int(self._drawn[k])
        pieces = []
        while n > 0:
            begin, starts = self._upcoming.get(k, (0, _NONE))
            if not begin <= first < begin + len(starts):
                windows = int(self.windows[k])
                epoch, position = divmod(first, windows)
                key = stable_key(self.seed, self.corpus.names[k], epoch)
                index = np.arange(position, min(position + _LOOKAHEAD, windows))
                begin, starts = first, permute(index, windows, key) * self.context
                self._upcoming[k] = begin, starts
            pieces.append(starts[first - begin : first - begin + n])
            first += len(pieces[-1])
            n -= len(pieces[-1])
        return np.concatenate(pieces) if pieces else _NONE

    def twin(self) -> MixtureStream:
        """Return an independent stream that continues as this one would."""
        twin = MixtureStream(self.corpus, self.batch_size, self.context, self.seed)
        twin.load_state_dict(self.state_dict())
        return twin

    def state_dict(self) -> dict[str, Any]:
        """Return the stream's whole state, O(K) numbers, JSON-plain."""
        return {
            "seed": self.seed,
            "corpus_hash": self.corpus.hash,
            "drawn": self._drawn.tolist(),
            "credit": self._credit.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken.

        Raises:
            CheckpointError: the state belongs to another corpus, or is no state.
        """
        if state["corpus_hash"] != self.corpus.hash:
            raise CheckpointError(
                f"this stream state belongs to corpus {state['corpus_hash'][:12]}, but the corpus "
                f"given is {self.corpus.hash[:12]}: load it with the corpus, limits and tokenizer "
                "it was made with"
            )
        for name in ("drawn", "credit"):
            if len(state[name]) != self.corpus.K:
                raise CheckpointError(
                    f"the stream state has {len(state[name])} entries in {name!r}, the corpus "
                    f"{self.corpus.K} domains"
                )
        self.seed = int(state["seed"])
        self._upcoming.clear()
        self._drawn = np.array(state["drawn"], dtype=np.int64)
        self._credit = np.array(state["credit"], dtype=np.float64)

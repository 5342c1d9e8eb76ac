"""The batches of N mixture streams, drawn together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mixgym.errors import CheckpointError
from mixgym.lm.permutation import permute_each, round_keys, stable_key
from mixgym.lm.stream import MixtureStream
from mixgym.simplex import validate_mixtures

if TYPE_CHECKING:
    from mixgym.corpus import Corpus

_ROUND_KEYS = len(round_keys(0))


@dataclass(frozen=True)
class Draws:
    """Which windows R runs are to see in their coming n steps.

    Attributes:
        domains: (R, n, B) int64 domain of each sequence.
        starts: (R, n, B) int64 where it begins in `BatchedStream.text`.
    """

    domains: NDArray[np.int64]
    starts: NDArray[np.int64]


class BatchedStream:
    """Draw the batches of N runs; run i's are exactly those of `MixtureStream(..., seeds[i])`.

    The credits are an (N, K) array, a slot one argmax over it; the windows are positions in the
    training tokens of all domains, which lie on the device as one tensor. Python loops over slots
    and over (run, domain) pairs that begin an epoch, whose keys have to be hashed, never over runs.

    Args:
        corpus: the text; its training tokens have to fit the device's memory, a byte each for the
            bytes tokenizer and four otherwise.
        batch_size: sequences in a batch of one run.
        context: tokens predicted in a sequence.
        seeds: (N,) a stream's seed each.
        device: where the tokens lie.

    Raises:
        CorpusError: a domain's training text is shorter than one window.
    """

    def __init__(
        self,
        corpus: Corpus,
        batch_size: int,
        context: int,
        seeds: Sequence[int],
        device: str = "cpu",
    ) -> None:
        self.corpus = corpus
        self.batch_size = batch_size
        self.context = context
        self.seeds = [int(seed) for seed in seeds]
        self.windows = MixtureStream(corpus, batch_size, context, 0).windows
        tokens = [np.asarray(domain.tokens("train")) for domain in corpus.domains]
        lengths = np.array([len(part) for part in tokens], dtype=np.int64)
        #: (K,) where each domain's tokens begin in `text`.
        self.offsets = np.cumsum(lengths) - lengths
        kind = np.uint8 if all(part.dtype == np.uint8 for part in tokens) else np.int32
        flat = np.concatenate([part.astype(kind, copy=False) for part in tokens])
        #: all training tokens, uint8 or int32.
        self.text = torch.from_numpy(flat).to(device)
        self._within = torch.arange(context + 1, device=device)
        N, K = len(self.seeds), corpus.K
        self._drawn = np.zeros((N, K), dtype=np.int64)
        self._credit = np.zeros((N, K), dtype=np.float64)
        self._forget_keys()

    def _forget_keys(self) -> None:
        shape = self._drawn.shape
        self._epoch = np.full(shape, -1, dtype=np.int64)
        self._keys = np.zeros((*shape, _ROUND_KEYS), dtype=np.uint64)

    @property
    def N(self) -> int:
        """Number of runs."""
        return len(self.seeds)

    @property
    def drawn(self) -> NDArray[np.int64]:
        """(N, K) sequences drawn so far."""
        return self._drawn.copy()

    @property
    def epochs(self) -> NDArray[np.float64]:
        """(N, K) passes over each domain's windows."""
        return self._drawn / self.windows

    def draw(self, mixtures: ArrayLike, n: int, runs: NDArray[np.int64] | None = None) -> Draws:
        """Draw `n` batches for each of R runs.

        Args:
            mixtures: (R, K) a mixture each.
            n: batches.
            runs: (R,) which runs, without repetition; all N by default. The others' streams stay
                where they are.
        """
        K = self.corpus.K
        weights = validate_mixtures(mixtures, K, self.corpus.names)
        runs = np.arange(self.N) if runs is None else np.asarray(runs, dtype=np.int64)
        if len(weights) != len(runs):
            raise ValueError(f"{len(weights)} mixtures for {len(runs)} runs: give one each")
        allowed = weights > 0
        # A domain of no weight keeps its credit and is never the largest.
        credit = np.where(allowed, self._credit[runs], -np.inf)
        drawn = self._drawn[runs]
        slots = n * self.batch_size
        domains = np.empty((slots, len(runs)), dtype=np.int64)
        numbers = np.empty((slots, len(runs)), dtype=np.int64)
        flat_credit, flat_drawn = credit.reshape(-1), drawn.reshape(-1)
        first_of_row = np.arange(len(runs)) * K
        for slot in range(slots):
            credit += weights
            chosen = credit.argmax(axis=1)
            cell = first_of_row + chosen
            flat_credit[cell] -= 1.0
            domains[slot] = chosen
            numbers[slot] = flat_drawn[cell]
            flat_drawn[cell] += 1
        self._credit[runs] = np.where(allowed, credit, self._credit[runs])
        rows = np.broadcast_to(runs, domains.shape).reshape(-1)
        starts = self._starts(rows, domains.reshape(-1), numbers.reshape(-1))
        self._drawn[runs] = drawn
        shape = (n, self.batch_size, len(runs))
        return Draws(
            np.ascontiguousarray(np.moveaxis(domains.reshape(shape), 2, 0)),
            np.ascontiguousarray(np.moveaxis(starts.reshape(shape), 2, 0)),
        )

    def _starts(
        self, runs: NDArray[np.int64], domains: NDArray[np.int64], numbers: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return where the window of each (run, domain, number of the domain's draw) begins."""
        size = self.windows[domains]
        epochs, index = np.divmod(numbers, size)
        cells = runs * self.corpus.K + domains
        # Epochs of a domain are taken one after the other, so that a pair has one key at a time.
        ahead = epochs - (self._drawn // self.windows).reshape(-1)[cells]
        windows = np.empty_like(numbers)
        for offset in range(int(ahead.max(initial=-1)) + 1):
            chosen = np.flatnonzero(ahead == offset)
            if len(chosen):
                self._hash_keys(cells[chosen], epochs[chosen])
                keys = self._keys.reshape(-1, _ROUND_KEYS)[cells[chosen]]
                windows[chosen] = permute_each(index[chosen], size[chosen], keys)
        return self.offsets[domains] + windows * self.context

    def _hash_keys(self, cells: NDArray[np.int64], epochs: NDArray[np.int64]) -> None:
        wanted = np.full(self._epoch.size, -1, dtype=np.int64)
        wanted[cells] = epochs
        known, K = self._epoch.reshape(-1), self.corpus.K
        for cell in np.flatnonzero((wanted >= 0) & (wanted != known)).tolist():
            seed, name, epoch = self.seeds[cell // K], self.corpus.names[cell % K], wanted[cell]
            self._keys.reshape(-1, _ROUND_KEYS)[cell] = round_keys(stable_key(seed, name, epoch))
            known[cell] = epoch

    def tokens(self, starts: torch.Tensor) -> torch.Tensor:
        """Return (..., context + 1) int64 tokens of the windows that begin at `starts`."""
        return self.text[starts.unsqueeze(-1) + self._within].long()

    def restart(self, runs: NDArray[np.int64], seeds: Sequence[int]) -> None:
        """Begin anew with other seeds in the places of `runs`."""
        for run, seed in zip(runs.tolist(), seeds, strict=True):
            self.seeds[run] = int(seed)
        self._drawn[runs], self._credit[runs], self._epoch[runs] = 0, 0.0, -1

    def single(self, i: int) -> MixtureStream:
        """Return run i's stream, which continues exactly where this one is."""
        stream = MixtureStream(self.corpus, self.batch_size, self.context, self.seeds[i])
        stream.load_state_dict(
            {
                "seed": self.seeds[i],
                "corpus_hash": self.corpus.hash,
                "drawn": self._drawn[i].tolist(),
                "credit": self._credit[i].tolist(),
            }
        )
        return stream

    def state_dict(self) -> dict[str, Any]:
        """Return the streams' whole state, O(N K) numbers, JSON-plain."""
        return {
            "seeds": list(self.seeds),
            "corpus_hash": self.corpus.hash,
            "drawn": self._drawn.tolist(),
            "credit": self._credit.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken.

        Raises:
            CheckpointError: the state belongs to another corpus or number of runs.
        """
        if state["corpus_hash"] != self.corpus.hash:
            raise CheckpointError(
                f"these streams belong to corpus {state['corpus_hash'][:12]}, but the corpus given "
                f"is {self.corpus.hash[:12]}: load them with the corpus they were made with"
            )
        if len(state["seeds"]) != self.N:
            raise CheckpointError(
                f"the state holds {len(state['seeds'])} runs, this batch {self.N}: load it into "
                "as many"
            )
        self.seeds = [int(seed) for seed in state["seeds"]]
        self._drawn = np.array(state["drawn"], dtype=np.int64)
        self._credit = np.array(state["credit"], dtype=np.float64)
        self._forget_keys()

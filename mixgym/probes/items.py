"""Benchmark items and how they are shared out between feedback and reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile

from mixgym.corpus.text import digest, duplicate_key, encode
from mixgym.errors import MixgymError, unknown_name

#: `feedback` may steer a run; `report` is read by nothing but reports.
PURPOSES: tuple[str, ...] = ("feedback", "report")


@dataclass(frozen=True)
class Item:
    """One question of a benchmark.

    Attributes:
        id: the document's, unique in its probe and the same in every version of the split.
        context: what the model reads before the answer.
        continuations: the answers it chooses from, with their leading space; a single one where
            there is nothing to choose.
        gold: index of the right one.
    """

    id: str
    context: str
    continuations: tuple[str, ...]
    gold: int

    @property
    def answer(self) -> str:
        """The right continuation."""
        return self.continuations[self.gold]

    @property
    def key(self) -> bytes:
        """Fingerprint of the question: letters and digits only, so that layout does not count."""
        return duplicate_key(encode(self.context))


def candidates_key(item: Item) -> bytes:
    """Fingerprint of the answers without the end that they share, in any order and case."""
    answers = [answer.lower() for answer in item.continuations]
    ends = zip(*(answer[::-1] for answer in answers), strict=False)
    shared = sum(1 for _ in takewhile(lambda letters: len(set(letters)) == 1, ends))
    candidates = sorted(answer[: len(answer) - shared] for answer in answers)
    return duplicate_key(encode("/".join(candidates)))


Source = Callable[[], Iterable[Item]]


@dataclass(frozen=True)
class Probe:
    """A named benchmark.

    Items with the same question are on one side of the split, feedback or report, and never on
    both. A benchmark of one set of items (`report` is None) is halved by the hash of the question,
    or of what `together` gives; of one with two (validation and test), feedback loses every
    question that reports ask too.

    Attributes:
        name: in the registry.
        description: one line for listings.
        license: of the items, as far as the sources say.
        feedback: reads the items that may steer a run, or all of them.
        report: reads the items of reports; None where `feedback` reads all there are.
        choice: whether there are wrong answers to choose from.
        together: fingerprint besides the question's; where a benchmark is halved, items that share
            either are on one side.
    """

    name: str
    description: str
    license: str
    feedback: Source
    report: Source | None = None
    choice: bool = True
    together: Callable[[Item], bytes] | None = None

    def items(
        self, purpose: str, limit: int | None = None, longest: int | None = None
    ) -> tuple[Item, ...]:
        """Return the items of a purpose, always in the same order: that of their hashes.

        Args:
            purpose: `"feedback"` or `"report"`.
            limit: only the first so many, a fixed random sample.
            longest: only items whose right answer has at most so many bytes.

        Raises:
            UnknownNameError: no such purpose.
            CorpusError: the package with the items cannot be had.
            MixgymError: nothing is left.
        """
        if purpose not in PURPOSES:
            raise unknown_name("purpose", purpose, PURPOSES)
        chosen = _shared_out(self)[PURPOSES.index(purpose)]
        if longest is not None:
            chosen = tuple(item for item in chosen if len(encode(item.answer)) <= longest)
        if not chosen:
            raise MixgymError(
                f"probe {self.name!r} has no {purpose} item with an answer of at most {longest} "
                "bytes: raise the limit or take another probe"
            )
        return chosen[:limit]


@lru_cache(maxsize=64)
def _shared_out(probe: Probe) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    own = _ordered(probe.feedback())
    if probe.report is None:
        keys = [item.key for item in own]
        if probe.together is not None:
            keys = _joined(keys, [probe.together(item) for item in own])
        first = tuple(item for item, key in zip(own, keys, strict=True) if key[0] < 128)
        return first, tuple(item for item, key in zip(own, keys, strict=True) if key[0] >= 128)
    report = _ordered(probe.report())
    asked = {item.key for item in report}
    return tuple(item for item in own if item.key not in asked), report


def _joined(questions: Sequence[bytes], others: Sequence[bytes]) -> list[bytes]:
    """Return a key for each item, equal for all that a chain of equal keys of either kind joins."""
    above: dict[bytes, bytes] = {}

    def top(key: bytes) -> bytes:
        while above.setdefault(key, key) != key:
            key = above[key]
        return key

    for question, other in zip(questions, others, strict=True):
        # The least key ends on top, in whatever order the items come.
        least, most = sorted((top(b"q" + question), top(b"o" + other)))
        above[most] = least
    return [digest(top(b"q" + question)) for question in questions]


def _ordered(items: Iterable[Item]) -> tuple[Item, ...]:
    # The id breaks ties between items that ask the same.
    return tuple(sorted(items, key=lambda item: (digest(item.key), item.id)))

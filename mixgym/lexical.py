"""Lexical diversity of a text: its words, MTLD, type-token ratio."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

#: The type-token ratio at which a factor of MTLD ends (McCarthy and Jarvis, 2010).
THRESHOLD = 0.72

#: Marks where a text is cut.
CUT = "\0"

# U+FFFD, what is left of a character that was cut, belongs to the word beside it.
_WORD = re.compile(f"[\\w\ufffd{CUT}]+")


def words(text: str) -> list[str]:
    r"""Return the maximal runs of letters, digits and underscores of `text`, in lower case.

    What touches a `CUT` may be a piece of a word and is left out. Scripts that do not separate
    words give long ones.

    >>> words("Words, words!"), words("\0ords, words, wor\0ds and word")
    (['words', 'words'], ['words', 'and', 'word'])
    """
    return [word for word in _WORD.findall(text.lower()) if CUT not in word]


def mtld(text: Sequence[str], threshold: float = THRESHOLD) -> float:
    """Return the measure of textual lexical diversity of n words: the mean length of a factor.

    A factor is a stretch of words, as short as can be, whose type-token ratio is below the
    threshold. With f whole factors and a remainder of type-token ratio q, which counts as
    (1 - q) / (1 - threshold) of one, a pass gives n / f; the measure is the mean of a pass forward
    and one backward (McCarthy and Jarvis, Behavior Research Methods 42, 2010). A pass that is
    longer than the text, as that of words that are all different, counts as n.

    Args:
        text: the words, in order.
        threshold: in (0, 1).

    Returns:
        At least 2 for n >= 2, at most n; 0 for no words.

    Raises:
        ValueError: a threshold out of range.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"the threshold of MTLD must lie in (0, 1), got {threshold!r}")
    n = len(text)
    passes = (_factors(text, threshold), _factors(reversed(text), threshold))
    return sum(n / f if f > 1.0 else float(n) for f in passes) / 2


def _factors(text: Iterable[str], threshold: float) -> float:
    whole, length = 0, 0
    types: set[str] = set()
    for word in text:
        length += 1
        types.add(word)
        if len(types) < threshold * length:
            whole, length = whole + 1, 0
            types = set()
    remainder = (1 - len(types) / length) / (1 - threshold) if length else 0.0
    return whole + remainder


def type_token_ratio(text: Sequence[str]) -> float:
    """Return the number of different words over that of words, in (0, 1]; 0 for no words."""
    return len(set(text)) / len(text) if text else 0.0

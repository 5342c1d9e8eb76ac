"""Lexical diversity against values worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mixgym.lexical import mtld, type_token_ratio, words


def test_words_of_a_text() -> None:
    assert words("The cat's 2 tails,\nÉTÉ!") == ["the", "cat", "s", "2", "tails", "été"]
    assert words("") == words(" -- \n") == []


def test_words_that_a_cut_touches_are_left_out() -> None:
    # "ut" and "hal" are pieces; a space at the cut leaves whole words.
    assert words("\0ut of the hal\0 two words \0") == ["of", "the", "two", "words"]
    # U+FFFD is what is left of a character that was cut in two.
    assert words("\0\ufffdcole ouverte \ufffd\0") == ["ouverte"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0.0),
        ("a", 1.0),
        # Ratios 1, 1/2: a factor of two words, twice, both ways: 4 / 2.
        ("a a a a", 2.0),
        # A factor of two words; the third is a remainder of ratio 1: 3 / 1.
        ("a a a", 3.0),
        # All different: no factor, counts as its length.
        ("a b c d e", 5.0),
        # Forward 1, 1, 2/3 < .72: a factor; then b, c all new: 5 / 1. Backward c b a b: 3/4, then
        # c b a b a: 3/5 < .72: a factor of five: 5 / 1.
        ("a b a b c", 5.0),
        # Forward: a b a is a factor, then c d e f g: remainder 0: 8 / 1 = 8. Backward g f e d c a
        # b a: 7/8, remainder (1/8) / .28 = .446 of a factor: 17.9, longer than the text: 8.
        ("a b a c d e f g", 8.0),
        # Forward: a a is a factor, then b c b is one, then d: 6 / 2 = 3. Backward d b c b: 3/4;
        # d b c b a: 4/5; d b c b a a: 4/6 < .72: a factor: 6 / 1 = 6. Mean 4.5.
        ("a a b c b d", 4.5),
        # Forward: a a, a a, then b c d b of ratio 3/4: 2 + .25 / .28 factors. Backward: b d c b a
        # of ratio 4/5, with a 4/6 < .72: a factor of six; then a a: a factor: 8 / 2.
        ("a a a a b c d b", (8 / (2 + 0.25 / 0.28) + 4) / 2),
    ],
)
def test_mtld_by_hand(text: str, expected: float) -> None:
    assert mtld(text.split()) == pytest.approx(expected)


def test_mtld_lies_between_two_and_the_number_of_words() -> None:
    rng = np.random.default_rng(0)
    for n in (2, 3, 10, 100):
        for types in (1, 2, 10, 1000):
            text = [str(x) for x in rng.integers(types, size=n)]
            assert 2 <= mtld(text) <= n
            assert mtld(text) == mtld(text[::-1])


def test_more_kinds_of_words_are_more_diverse() -> None:
    rng = np.random.default_rng(0)
    few, many = ([str(x) for x in rng.integers(types, size=500)] for types in (5, 100))
    assert mtld(few) < 20 < mtld(many)
    assert type_token_ratio(few) == 5 / 500 < type_token_ratio(many)


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0, float("nan")])
def test_bad_thresholds_are_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        mtld(["a"], threshold)


def test_type_token_ratio() -> None:
    assert type_token_ratio(["a", "b", "a", "c"]) == 0.75
    assert type_token_ratio([]) == 0.0

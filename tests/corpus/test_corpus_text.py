from __future__ import annotations

import unicodedata

import numpy as np

from mixgym.corpus.split import SPLITS, assign_splits
from mixgym.corpus.spool import Document, NearDuplicates, spool_documents
from mixgym.corpus.text import duplicate_key, encode, normalise, pieces


def test_normalised_text_has_no_control_characters_and_is_nfc():
    text = normalise("\ufeffe\u0301te\u0301\r\nb\x00\x07c\x0cd\u2028e\tf  ")
    assert text == unicodedata.normalize("NFC", "été\nbc\nd\ne\tf")


def test_lone_surrogates_are_dropped():
    assert encode("a\ud800b") == b"ab"


def test_pieces_are_small_lossless_and_never_cut_a_character():
    data = ("é" * 5_000 + "\n" + "word " * 5_000).encode()
    parts = list(pieces(data, 1_000))
    assert b"".join(parts) == data
    assert max(map(len, parts)) <= 1_000
    assert all(part.decode() for part in parts)


def test_duplicates_differ_in_more_than_layout():
    assert duplicate_key(b"Hello,  World") == duplicate_key(b"hello world")
    assert duplicate_key(b"1 + 1 = 2") != duplicate_key(b"1 + 2 = 3")
    assert duplicate_key(b"+++") != duplicate_key(b"---")


def test_near_duplicates_are_those_mostly_seen():
    near = NearDuplicates()
    lines = [f"this is line number {n} of the text" for n in range(10)]
    assert not near.seen("\n".join(lines))
    assert near.seen("\n".join([*lines[:7], *(f"a wholly new line, the {n}th" for n in range(3))]))
    assert not near.seen(
        "\n".join([*lines[:2], *(f"another line here, no. {n}" for n in range(9))])
    )


def test_exact_duplicates_are_dropped_across_domains(tmp_path):
    seen: set[bytes] = set()
    text = "one and the same text, twice"
    first = spool_documents([Document("a", text)] * 2, tmp_path / "1", seen, near_dedupe=False)
    second = spool_documents([Document("b", text + "!")], tmp_path / "2", seen, near_dedupe=False)
    assert (len(first.lengths), len(second.lengths)) == (1, 0)


def _split(lengths, groups, **sizes):
    keys = np.random.default_rng(0).integers(0, 2**63, len(lengths)).astype(np.uint64)
    return assign_splits(np.asarray(lengths), np.asarray(groups, dtype=np.uint64), keys, **sizes)


def test_no_group_is_in_two_splits_and_sizes_are_met():
    rng = np.random.default_rng(1)
    lengths, groups = rng.integers(50, 500, 4_000), rng.integers(0, 1_500, 4_000)
    orders = _split(lengths, groups, cap=None, validation_bytes=50_000, test_bytes=40_000)
    members = [set(groups[orders[split]]) for split in SPLITS]
    assert not members[0] & members[1] and not members[0] & members[2]
    assert not members[1] & members[2]
    assert sum(map(len, orders.values())) == len(lengths)
    assert 50_000 <= lengths[orders["validation"]].sum() + len(orders["validation"]) < 55_000
    assert 40_000 <= lengths[orders["test"]].sum() + len(orders["test"]) < 45_000


def test_one_huge_group_neither_dominates_evaluation_nor_a_capped_train():
    lengths = np.full(2_000, 999)
    groups = np.where(np.arange(2_000) < 1_000, 7, np.arange(2_000))
    orders = _split(lengths, groups, cap=800_000, validation_bytes=60_000, test_bytes=60_000)
    assert 7 not in groups[orders["validation"]] and 7 not in groups[orders["test"]]
    assert (groups[orders["train"]] == 7).sum() <= 100
    assert lengths[orders["train"]].sum() + len(orders["train"]) <= 800_000

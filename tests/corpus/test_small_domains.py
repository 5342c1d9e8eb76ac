"""What a folder's small domains lose to validation and test, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mixgym.corpus import Corpus, files, load_corpus

LINE = "Line {n}: the river rose in the night, and {m} men from three valleys came to see it.\n"
LARGE = "833f9f97e7d4e69eacf23fb096e798cb9df27afc7be0313d6c53ac9308bcd5dd"


def lines(count: int, start: int = 0) -> str:
    return "".join(LINE.format(n=n, m=n * 7919 % 1000) for n in range(start, start + count))


@pytest.fixture
def load(tmp_path: Path) -> Any:
    folder = tmp_path / "own"
    folder.mkdir()

    def loader(text: str | None = None, **arguments: Any) -> Corpus:
        if text is not None:
            (folder / "only.txt").write_text(text)
        return load_corpus(str(folder), cache=tmp_path / "cache", **arguments)

    return loader


def held_out(corpus: Corpus) -> float:
    (domain,) = corpus.domains
    return (domain.bytes("validation") + domain.bytes("test")) / domain.available_bytes


def whole(corpus: Corpus, text: str) -> bool:
    """Whether every line is in exactly one split."""
    (domain,) = corpus.domains
    found = b"".join(domain.tokens(s).tobytes() for s in ("train", "validation", "test"))
    kept = found.decode().replace("\0", "\n").split("\n")[:-1]
    return sorted(kept) == sorted(text.split("\n")[:-1])


@pytest.mark.parametrize("count", [70, 120, 600])
@pytest.mark.parametrize("every", [0, 15])
def test_a_small_domain_keeps_most_of_its_text_to_train_on(
    load: Any, count: int, every: int
) -> None:
    """Six to fifty kilobytes; in blocks of up to 16 kB, up to two thirds were held out."""
    text = lines(count)
    if every:
        text = text.replace(f"Line {every}", f"\nLine {every}")
    corpus = load(text)
    assert 0.15 <= held_out(corpus) <= files.LARGEST_HELD_OUT
    assert corpus.manifest["domains"]["only"]["blocks"] > 0
    assert min(corpus.domain("only").bytes(s) for s in ("validation", "test")) >= 512
    if not every:
        assert whole(corpus, text)


def test_a_text_without_lines_is_cut_between_words(load: Any) -> None:
    text = lines(100).replace("\n", " ").replace(".", "")
    corpus = load(text)
    assert held_out(corpus) <= files.LARGEST_HELD_OUT
    words = set(text.split())
    for split in ("train", "validation", "test"):
        found = corpus.domain("only").tokens(split).tobytes().decode().replace("\0", " ")
        assert set(found.split()) <= words


def test_what_is_not_small_is_cut_as_before(load: Any) -> None:
    """The hash was measured before small domains were cut otherwise."""
    text = "\n".join(lines(20, 20 * part) for part in range(200))
    corpus = load(text)
    assert "blocks" not in corpus.manifest["domains"]["only"]
    assert corpus.manifest["content_hash"] == LARGE


def test_what_an_earlier_rule_built_is_still_read(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PIPELINE", 1)
    monkeypatch.setattr(files, "_coarse", lambda facts, wanted: False)
    old = load(lines(600))
    assert held_out(old) > files.LARGEST_HELD_OUT
    monkeypatch.undo()
    again = load()
    assert again.hash == old.hash and again.folder == old.folder


def test_a_rebuilt_corpus_follows_the_new_rule(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mixgym.corpus.load import ensure_built
    from mixgym.corpus.progress import Reporter

    monkeypatch.setattr(files, "PIPELINE", 1)
    monkeypatch.setattr(files, "_coarse", lambda facts, wanted: False)
    old = load(lines(600))
    monkeypatch.undo()
    ensure_built(old.name, old.folder.parents[1], Reporter(), rebuild=True)
    new = load()
    assert new.hash != old.hash and held_out(new) <= files.LARGEST_HELD_OUT


def test_small_domains_and_what_is_passed_over_are_said_with_the_numbers(
    load: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own" / "README").write_text("Not read.")
    corpus = load(lines(100))
    said = capsys.readouterr().err
    (note,) = corpus.manifest["notes"]
    domain = corpus.domain("only")
    assert f"only (train {domain.bytes('train'):,} bytes" in note and "held out" in note
    assert note in said
    assert "README in" in said and ".jsonl.gz" in said
    load()
    assert capsys.readouterr().err == ""


def test_nothing_is_said_when_asked_not_to(load: Any, capsys: pytest.CaptureFixture[str]) -> None:
    load(lines(100), progress=False)
    assert capsys.readouterr().err == ""

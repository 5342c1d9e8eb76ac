"""Corpora made of another corpus: merged fields and topics."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixgym.corpus import Corpus, load_corpus
from mixgym.corpus.derived import DerivedSource
from mixgym.corpus.documents import Documents
from mixgym.corpus.split import SPLITS
from mixgym.errors import CorpusError, MissingExtraError, UnknownNameError

MERGED = "source=letters,stories&target=rows"


@pytest.fixture
def load(own_folder: Path, tmp_path: Path) -> Any:
    def loader(query: str = MERGED, kind: str = "merge", **arguments: Any) -> Corpus:
        return load_corpus(
            f"{kind}:files:{own_folder}?{query}", **{"cache": tmp_path / "cache", **arguments}
        )

    return loader


def documents(corpus: Corpus, domain: str, split: str) -> list[bytes]:
    return corpus.domain(domain).tokens(split).tobytes().split(b"\0")[:-1]


def test_a_merged_domain_has_its_members_documents_each_in_its_split(
    load: Any, own_folder: Path, tmp_path: Path
) -> None:
    whole = load_corpus(f"files:{own_folder}", cache=tmp_path / "cache")
    merged = load()
    assert merged.names == ("source", "target")
    for split in SPLITS:
        own = documents(whole, "letters", split) + documents(whole, "stories", split)
        found = documents(merged, "source", split)
        assert Counter(found) == Counter(own)
        assert merged.domain("source").documents(split) == len(own)
        assert Counter(documents(merged, "target", split)) == Counter(
            documents(whole, "rows", split)
        )
    # Shuffled, so that a limit takes of every member.
    kinds = [text[:6] for text in documents(merged, "source", "train")]
    first = Counter(kinds[: len(kinds) // 2])
    assert len(first) == 2 and min(first.values()) > 5
    expected = sum(whole.domain(d).available_bytes for d in ("letters", "stories"))
    assert merged.domain("source").available_bytes == expected
    assert "letters, stories" in merged.domain("source").description
    merged.verify()


def test_the_hash_depends_on_what_is_merged(load: Any) -> None:
    merged = load()
    assert load().hash == merged.hash
    assert load("source=stories,letters&target=rows").hash == merged.hash
    assert load("source=letters&target=rows,stories").hash != merged.hash
    assert load("source=letters,stories").hash != merged.hash
    assert load(limit={"source": 2000}).hash != merged.hash
    assert load(domains=["target"]).names == ("target",)


def test_a_merged_corpus_survives_pickling_and_copies(load: Any) -> None:
    merged = load()
    again = pickle.loads(pickle.dumps(merged))
    assert again.hash == merged.hash and copy.deepcopy(merged) is merged
    assert load_corpus(**merged.spec, cache=merged.folder.parents[1]).hash == merged.hash


def test_a_changed_base_is_merged_anew(load: Any, own_folder: Path) -> None:
    before = load()
    with (own_folder / "stories.txt").open("a") as file:
        file.write("\n\nAnd a last story, which changes everything.")
    assert load().hash != before.hash


def test_an_interrupted_merge_goes_on_and_damage_is_found(load: Any, tmp_path: Path) -> None:
    merged = load()
    path = merged.folder / "text" / "source.train.bin"
    path.write_bytes(path.read_bytes()[:-5] + b"xxxx\0")
    with pytest.raises(CorpusError, match="damaged"):
        load()


@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        ("", CorpusError, "names no domain"),
        ("source=", CorpusError, "names no domain"),
        ("source=letters&target=letters", CorpusError, "'letters' twice"),
        ("source=leters", UnknownNameError, "did you mean 'letters'"),
    ],
)
def test_bad_names_are_explained(load: Any, query: str, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        load(query)


def test_names_round_trip() -> None:
    name = "topics:core19?source=wiki_en,legal&target=sympy&topics=5"
    source = DerivedSource.parse(name)
    assert source is not None and source.name == name
    assert source.options == {"topics": 5, "seed": 0}
    assert DerivedSource.parse("core19") is None and DerivedSource.parse("files:/x") is None
    nested = DerivedSource.parse("merge:files:/a?field=body?one=x&two=y")
    assert nested is not None and nested.base == "files:/a?field=body"
    with pytest.raises(CorpusError, match="topics='1'"):
        DerivedSource.parse("topics:core19?source=wiki_en&topics=1")


def test_documents_are_cut_at_separators(tmp_path: Path) -> None:
    path = tmp_path / "text.bin"
    path.write_bytes(b"one\0\0three\0")
    found = Documents(path)
    assert list(found) == [b"one", b"", b"three"] and found.lengths.tolist() == [3, 0, 5]
    path.write_bytes(b"")
    assert len(Documents(path)) == 0


SUBJECTS = {
    "sea": ["harbour", "vessel", "sailor", "anchor", "current", "lighthouse", "captain", "deck"],
    "farm": ["wheat", "barley", "plough", "harvest", "orchard", "tractor", "farmer", "meadow"],
    "music": [
        "violin",
        "sonata",
        "orchestra",
        "melody",
        "conductor",
        "rehearsal",
        "piano",
        "chorus",
    ],
}

OTHER = ["sum", "factor", "prime", "root", "digit"]


@pytest.fixture
def subjects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A domain of texts on three subjects, and one on a fourth."""
    pytest.importorskip("sklearn")
    monkeypatch.setattr("mixgym.corpus.topics.SMALLEST_TRAIN", 1000)
    monkeypatch.setattr("mixgym.corpus.topics.SMALLEST_EVALUATION", 50)
    rng = np.random.default_rng(0)
    folder = tmp_path / "subjects"
    folder.mkdir()

    def write(name: str, texts: list[str]) -> None:
        rows = [json.dumps({"text": text}) for text in texts]
        (folder / f"{name}.jsonl").write_text("\n".join(rows), encoding="utf-8")

    subjects = list(SUBJECTS.values())
    write("mixed", [f"{n}: {' '.join(rng.choice(subjects[n % 3], 30))}" for n in range(240)])
    write("other", [f"{n}: {' '.join(rng.choice(OTHER, 30))}" for n in range(150)])
    return folder


def test_topics_are_the_subjects_and_are_named_by_their_words(
    subjects: Path, tmp_path: Path
) -> None:
    name = f"topics:files:{subjects}?source=mixed&topics=3"
    corpus = load_corpus(name, cache=tmp_path / "cache")
    assert corpus.K == 3
    found = set()
    for domain in corpus.names:
        words = domain.removeprefix("source_").split("_")
        (subject,) = (s for s, own in SUBJECTS.items() if set(words) <= set(own))
        found.add(subject)
        for split in SPLITS:
            for text in documents(corpus, domain, split):
                assert set(text.decode().split()[1:]) <= set(SUBJECTS[subject])
    assert found == set(SUBJECTS)
    assert corpus.manifest.get("topics", {})["source"] == [
        d.removeprefix("source_") for d in corpus.names
    ]


def test_topics_keep_every_document_in_its_split_and_are_reproducible(
    subjects: Path, tmp_path: Path
) -> None:
    query = "source=mixed&target=other&topics=4"
    state = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    corpora = [
        load_corpus(f"topics:files:{subjects}?{query}", cache=tmp_path / cache)
        for cache in ("one", "two")
    ]
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # type: ignore[arg-type]
    assert corpora[0].hash == corpora[1].hash
    assert corpora[0].names == corpora[1].names and corpora[0].K == 8
    whole = load_corpus(f"files:{subjects}", cache=tmp_path / "one")
    for field, member in (("source", "mixed"), ("target", "other")):
        for split in SPLITS:
            cells = [d for d in corpora[0].names if d.startswith(f"{field}_")]
            found = Counter(text for d in cells for text in documents(corpora[0], d, split))
            assert found == Counter(documents(whole, member, split))
    other = load_corpus(f"topics:files:{subjects}?{query}&seed=1", cache=tmp_path / "one")
    assert other.K == 8


def test_too_few_topics_are_reported(subjects: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"'target' has \d topics, not 26"):
        corpus = load_corpus(f"topics:files:{subjects}?target=other", cache=tmp_path / "cache")
    assert 1 <= corpus.K < 26
    for domain in corpus.domains:
        assert domain.bytes("train") >= 1000 and domain.bytes("validation") >= 50


def test_topics_without_scikit_learn_name_the_extra(
    subjects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    with pytest.raises(MissingExtraError, match=r"mixgym\[topics\]"):
        load_corpus(f"topics:files:{subjects}?source=mixed", cache=tmp_path / "cache")


def test_what_is_clustered_does_not_depend_on_how_a_processor_rounds() -> None:
    pytest.importorskip("sklearn")
    from types import SimpleNamespace

    from mixgym.corpus import topics as module

    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(sum(SUBJECTS.values(), OTHER), 30)) for _ in range(100)]
    field = SimpleNamespace(name="source", texts=texts, split=np.zeros(100, np.int64))
    vectors, _ = module._term_frequencies(field, ("mixed",))  # type: ignore[arg-type]
    points = module._projected(field, vectors, 0)  # type: ignore[arg-type]
    vectors.data *= 1 + 1e-15 * rng.standard_normal(len(vectors.data))
    np.testing.assert_array_equal(points, module._projected(field, vectors, 0))  # type: ignore[arg-type]


def test_of_equally_frequent_words_the_first_by_alphabet_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    from types import SimpleNamespace

    from mixgym.corpus import topics as module

    monkeypatch.setattr(module, "VOCABULARY", 3)
    texts = ["wheat vessel anchor", "vessel barley wheat anchor", "wheat barley"]
    field = SimpleNamespace(name="source", texts=texts, split=np.zeros(3, np.int64))
    _, words = module._term_frequencies(field, ("mixed",))  # type: ignore[arg-type]
    assert words.tolist() == ["anchor", "barley", "wheat"]

from __future__ import annotations

import copy
import gzip
import json
import pickle

import numpy as np
import pytest

from mixgym.corpus import formats, load_corpus
from mixgym.corpus.files import FilesSource
from mixgym.errors import CorpusError, UnknownNameError


@pytest.fixture
def load(own_folder, tmp_path):
    return lambda **arguments: load_corpus(
        f"files:{own_folder}", cache=tmp_path / "cache", **arguments
    )


def test_every_file_or_folder_is_a_domain(load, own_folder):
    corpus = load()
    assert corpus.names == ("letters", "rows", "stories") and corpus.K == 3
    for domain in corpus.domains:
        tokens = domain.tokens("train")
        assert tokens.dtype == np.uint8 and isinstance(tokens, np.memmap)
        assert not tokens.flags.writeable
        assert tokens[-1] == 0 and (tokens == 0).sum() == domain.documents("train")
        assert domain.bytes_per_token("train") == 1.0
        total = sum(domain.bytes(split) for split in ("train", "validation", "test"))
        assert total == domain.available_bytes
    sizes = np.array([domain.available_bytes for domain in corpus.domains], dtype=float)
    assert np.allclose(corpus.natural, sizes / sizes.sum()) and corpus.natural.dtype == np.float64
    assert load_corpus(str(own_folder), cache=corpus.folder.parents[1]).hash == corpus.hash


def test_no_text_is_lost_and_none_is_in_two_splits(load, prose):
    domain = load().domain("rows")
    documents = [
        set(domain.tokens(split).tobytes().decode().split("\0")) - {""}
        for split in ("train", "validation", "test")
    ]
    assert set.union(*documents) == set(prose(200, "row é"))
    assert sum(map(len, documents)) == 200


def test_the_hash_depends_on_the_text_not_on_the_folder(load, own_folder, tmp_path):
    first = load().hash
    moved = own_folder.rename(tmp_path / "moved")
    assert load_corpus(f"files:{moved}", cache=tmp_path / "cache").hash == first
    with (moved / "stories.txt").open("a") as file:
        file.write("\n\nAnd a last story, which changes everything.")
    assert load_corpus(f"files:{moved}", cache=tmp_path / "cache").hash != first


def test_formats_give_the_same_documents(tmp_path, prose):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    folder = tmp_path / "formats"
    folder.mkdir()
    texts = [text.replace("The", "A\u2028The") for text in prose(150)]
    rows = "".join(json.dumps({"body": text}, ensure_ascii=False) + "\n" for text in texts)
    (folder / "a.jsonl").write_text(rows, encoding="utf-8")
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    parquet.write_table(pyarrow.table({"body": texts, "n": range(150)}), folder / "c.parquet")
    corpus = load_corpus(f"files:{folder}?field=body&test=0.1", cache=tmp_path / "cache")
    hashes = {corpus.manifest["domains"][name]["splits"]["train"]["sha256"] for name in "abc"}
    assert len(hashes) == 1
    domain = corpus.domain("a")
    assert 0.1 <= domain.bytes("test") / domain.available_bytes < 0.12
    with pytest.raises(CorpusError, match=r"line 1 has no text in field 'txt'.*body"):
        load_corpus(f"files:{folder}?field=txt", cache=tmp_path / "cache")


def test_limit_cuts_train_only(load):
    whole, cut = load(), load(limit={"stories": 5_000})
    full, part = whole.domain("stories"), cut.domain("stories")
    assert part.bytes("train") == 5_000 == len(part.tokens("train"))
    assert np.array_equal(part.tokens("train"), full.tokens("train")[:5_000])
    assert np.array_equal(part.tokens("test"), full.tokens("test"))
    assert part.documents("train") < full.documents("train")
    sizes = np.array([5_000 if d is part else d.available_bytes for d in cut.domains], dtype=float)
    assert np.allclose(cut.natural, sizes / sizes.sum())
    assert whole.hash != cut.hash


def test_domains_choose_and_order(load):
    corpus = load(domains=["stories", "letters"])
    assert corpus.names == ("stories", "letters")
    assert corpus.hash != load(domains=["letters", "stories"]).hash


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"domains": ["storys"]}, UnknownNameError, "did you mean 'stories'"),
        ({"limit": {"row": 10}}, UnknownNameError, "did you mean 'rows'"),
        ({"limit": {"rows": 0}}, CorpusError, "limit of domain 'rows' is 0"),
        ({"limit": {"rows": -5}}, CorpusError, "positive number of bytes"),
        ({"limit": {"rows": float("nan")}}, CorpusError, "positive number of bytes"),
        ({"limit": {"rows": "9"}}, CorpusError, "positive number of bytes"),
        ({"limit": {"rows": 9}, "domains": ["stories"]}, UnknownNameError, "limited domain"),
        ({"domains": []}, CorpusError, "at least one"),
        ({"domains": ["rows", "rows"]}, CorpusError, "twice"),
        ({"tokenizer": "byte"}, UnknownNameError, "did you mean 'bytes'"),
        ({"tokenizer": "bpe-10"}, CorpusError, "320 to 65536"),
    ],
)
def test_bad_arguments(load, arguments, error, message):
    with pytest.raises(error, match=message):
        load(**arguments)


def test_unknown_corpus_and_missing_folder(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean 'nano8'"):
        load_corpus("nano9", cache=tmp_path)
    with pytest.raises(CorpusError, match="not a folder"):
        load_corpus(f"files:{tmp_path / 'nowhere'}", cache=tmp_path)
    with pytest.raises(UnknownNameError, match="validation"):
        load_corpus(f"files:{tmp_path}?validations=0.1", cache=tmp_path)
    with pytest.raises(CorpusError, match="share of the text"):
        load_corpus(f"files:{tmp_path}?validation=2", cache=tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "empty.txt is empty"),
        (
            "latin.txt",
            b"x" * 40_000 + b"\n caf\xe9\n",
            r"latin.txt is not UTF-8 text \(byte 40005\)",
        ),
        ("rows2.jsonl", b'{"text": "a"}\n{"text": "caf\xe9"}\n', "not UTF-8 text .line 2"),
        ("rows3.jsonl", b'{"text": "a"}\n{"text": \n', "rows3.jsonl line 2 is not JSON"),
        (
            "cut.jsonl.gz",
            gzip.compress(b'{"text": "a"}\n' * 99, mtime=0)[:-9],
            "not a whole gzip file",
        ),
        (
            "block.jsonl.gz",
            gzip.compress(b'{"text": "a"}\n' * 99, mtime=0)[:14] + b"\xff" * 30,
            "block.jsonl.gz is not a whole gzip file",
        ),
        ("deep.jsonl", b'{"text": ' + b"[" * 100_000, "deep.jsonl line 1 is not JSON"),
        ("digits.jsonl", b'{"text": ' + b"9" * 5_000 + b"}", "digits.jsonl line 1 is not JSON"),
        ("cut.parquet", b"PAR1" + b"x" * 99 + b"PAR1", "cut.parquet is not a Parquet file"),
        ("tiny.txt", b"Only this one short line of text.", "domain 'tiny' .* is too small"),
        ("fake.parquet", b"this is not one", "not a Parquet file"),
        ("stories.jsonl", b'{"text": "a"}\n', "two domains called 'stories'"),
    ],
)
def test_bad_files_are_named(load, own_folder, name, content, message):
    (own_folder / name).write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        load()


@pytest.mark.parametrize("line", [b'{"text": "' + b"a" * 99, b'{"text": "a"}\n'])
def test_a_gzip_bomb_is_not_unpacked_whole(load, own_folder, monkeypatch, line):
    monkeypatch.setattr(formats, "_ALWAYS_UNPACKED", 100_000)
    (own_folder / "bomb.jsonl.gz").write_bytes(gzip.compress(line * 200_000))
    with pytest.raises(CorpusError, match=r"bomb.jsonl.gz unpacks to more than 200 times its size"):
        load()


def test_a_line_too_long_for_memory_is_refused(load, own_folder, monkeypatch):
    monkeypatch.setattr(formats, "LONGEST_LINE", 1_000)
    (own_folder / "long.jsonl").write_text(json.dumps({"text": "a" * 2_000}))
    with pytest.raises(CorpusError, match=r"long.jsonl line 1 is longer than 1,000 bytes"):
        load()


def test_no_domain(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "notes.pdf").write_bytes(b"x")
    with pytest.raises(CorpusError, match="holds no file"):
        load_corpus(f"files:{tmp_path}", cache=tmp_path / "cache")
    with pytest.raises(CorpusError, match="no domain in"):
        load_corpus(f"files:{tmp_path / 'none'}", cache=tmp_path / "cache")


def test_a_window_longer_than_a_split(load):
    corpus = load()
    corpus.check_window(256)
    with pytest.raises(CorpusError, match="fewer than one window of 1000000"):
        corpus.check_window(1_000_000)


def test_pickle_keeps_no_arrays(load):
    corpus = load(limit={"stories": 5_000})
    data = pickle.dumps(corpus)
    assert len(data) < 2_000
    other = pickle.loads(data)
    assert other.hash == corpus.hash and other.spec == corpus.spec
    assert json.loads(json.dumps(corpus.spec)) == corpus.spec


def test_a_copy_is_the_corpus_itself(load):
    corpus = load()
    domain = corpus.domains[0]
    twin = copy.deepcopy({"corpus": corpus, "domain": domain})
    assert twin["corpus"] is corpus and twin["domain"] is domain
    assert copy.copy(corpus) is corpus and copy.copy(domain) is domain


@pytest.mark.parametrize("name", ["nano8", "core19", "nano8~recipes"])
def test_a_folder_does_not_shadow_a_registered_corpus(own_folder, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    own_folder.rename(tmp_path / name)
    assert FilesSource.parse(name) is None
    for path in (f"./{name}", f"files:{name}", str(tmp_path / name)):
        assert load_corpus(path, cache=tmp_path / "cache").names == ("letters", "rows", "stories")


def test_a_folder_of_another_name_needs_no_path(own_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_corpus(own_folder.name, cache=tmp_path / "cache").K == 3

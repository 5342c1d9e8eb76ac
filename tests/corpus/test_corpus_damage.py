"""Files of a built corpus that are not what was written: refused by name, with the remedy."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mixgym.corpus import load_corpus
from mixgym.errors import CorpusError
from mixgym.files import DIGEST, read_json


@pytest.fixture
def load(own_folder, tmp_path):
    return lambda **arguments: load_corpus(
        f"files:{own_folder}", cache=tmp_path / "cache", **arguments
    )


def _overwrite(path: Path, *, keep_time: bool = False) -> bytes:
    """Replace a file by as many other bytes; what it held."""
    data, facts = path.read_bytes(), path.stat()
    path.write_bytes(b"X" * len(data))
    # A build so small may end within one tick of the file system's clock.
    shift = 0 if keep_time else 1_000_000
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + shift))
    return data


def _refused(load: Callable[..., Any], match: str, **arguments: Any) -> None:
    with pytest.raises(CorpusError, match=match):
        load(**arguments)


def _text(corpus, name: str) -> Path:
    return corpus.folder / "text" / name


def test_overwritten_text_is_refused_at_load(load, own_folder):
    path = _text(load(), "rows.train.bin")
    data = _overwrite(path)
    remedy = rf"rows.train.bin is damaged.*data build 'files:{own_folder}' --rebuild`"
    for _ in range(2):
        with pytest.raises(CorpusError, match=remedy):
            load()
    assert load(domains=["stories"]).K == 1
    path.write_bytes(data)
    load().verify()


def test_missing_or_cut_text_is_refused_at_load(load):
    path = _text(load(), "rows.validation.bin")
    path.write_bytes(path.read_bytes()[:-1])
    _refused(load, r"rows.validation.bin is damaged.*mixgym data build")
    path.unlink()
    _refused(load, r"rows.validation.bin is damaged or missing")


def test_unchanged_files_are_not_hashed_again(load):
    corpus = load()
    path, stamp = _text(corpus, "rows.train.bin"), corpus.folder / "verified.json"
    assert len(read_json(stamp)) == 9
    _overwrite(path, keep_time=True)
    load()
    with pytest.raises(CorpusError, match=r"rows.train.bin is damaged.*--rebuild"):
        corpus.verify()
    stamp.unlink()
    _refused(load, r"rows.train.bin is damaged.*--rebuild")


def test_a_touched_file_is_hashed_and_stamped_again(load):
    corpus = load()
    path, stamp = _text(corpus, "rows.train.bin"), corpus.folder / "verified.json"
    before = read_json(stamp)
    os.utime(path, ns=(1, 1))
    load()
    after = read_json(stamp)
    assert after.pop("text/rows.train.bin")[1] == 1
    assert after == {key: before[key] for key in after} and len(after) == len(before) - 1


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"text/rows.train.bin": ', "\0\0", '{"text/rows.train.bin": 3}', "[" * 5_000],
)
def test_a_damaged_stamp_is_replaced(load, content):
    stamp = load().folder / "verified.json"
    whole = read_json(stamp)
    stamp.write_text(content)
    load()
    assert read_json(stamp) == whole


def test_where_the_stamp_cannot_be_written_every_load_hashes(load):
    corpus = load()
    stamp, path = corpus.folder / "verified.json", _text(corpus, "rows.train.bin")
    stamp.unlink()
    stamp.mkdir()  # refuses the stamp whoever runs the test; permissions do not stop root
    corpus.folder.chmod(0o555)
    try:
        assert load().hash == load().hash == corpus.hash
        _overwrite(path, keep_time=True)
        with pytest.raises(CorpusError, match=r"rows.train.bin is damaged"):
            load()
    finally:
        corpus.folder.chmod(0o755)
    assert sorted(entry.name for entry in corpus.folder.iterdir()) == [
        "manifest.json",
        "text",
        "verified.json",
    ]


@pytest.mark.parametrize("keep", [0, 1, 200, -3])
def test_truncated_manifest(load, own_folder, keep):
    manifest = load().folder / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:keep])
    remedy = rf"manifest.json is damaged.*`mixgym data build 'files:{own_folder}' --rebuild`"
    _refused(load, remedy)


def _edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a JSON file by hand, as if it had been written before files had a digest."""
    value = read_json(path)
    made = change(value)
    path.write_text(json.dumps(made if isinstance(made, list) else value))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda m: m["domains"]["rows"].update(available_bytes=9), "its content hash"),
        (lambda m: m["domains"].pop("rows"), "its content hash"),
        (lambda m: m.update(content_hash="0" * 64), "its content hash"),
        (lambda m: m.pop("domains"), "domains: Field required"),
        (lambda m: m["domains"]["rows"].pop("splits"), r"domains.rows.splits: Field required"),
        (lambda m: m["domains"]["rows"]["splits"].pop("test"), "test: Field required"),
        (lambda m: m["domains"]["rows"].update(available_bytes=-1), "available_bytes"),
        (lambda m: m["domains"]["rows"].update(available_bytes="9"), "available_bytes"),
        (lambda m: m["domains"]["rows"].update(gzip_ratio=float("nan")), "gzip_ratio"),
        (lambda m: [m], "another structure"),
    ],
)
def test_a_changed_manifest_is_refused(load, change, fault):
    """A changed size would change the natural mixture, whatever the text."""
    path = load().folder / "manifest.json"
    _edit(path, change)
    _refused(load, rf"manifest.json is damaged.*{fault}.*--rebuild")


def test_a_manifest_without_a_digest_is_read_and_one_with_is_checked(load):
    corpus = load()
    path = corpus.folder / "manifest.json"
    whole = path.read_text()
    path.write_text(whole.replace('"own files"', '"others\' files"', 1))
    _refused(load, r"manifest.json is damaged.*digest differs")
    path.write_text(whole)
    _edit(path, lambda manifest: None)
    assert DIGEST not in path.read_text() and load().hash == corpus.hash


def test_a_damaged_manifest_of_the_base_of_a_merge_is_named(load, own_folder, tmp_path):
    path = load().folder / "manifest.json"
    _edit(path, lambda m: m["domains"]["rows"].update(available_bytes=9))
    with pytest.raises(CorpusError, match=rf"{path} is damaged.*its content hash"):
        load_corpus(f"merge:files:{own_folder}?all=rows,stories", cache=tmp_path / "cache")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"splits": {}}', "[" * 5_000])
def test_a_damaged_entry_of_an_interrupted_build_is_made_again(load, content):
    from mixgym.corpus.build import finished

    corpus = load()
    parts = corpus.folder / "parts"
    parts.mkdir()
    (parts / "rows.json").write_text(content)
    assert finished(corpus.folder, "rows") is None
    (parts / "rows.json").write_text(json.dumps(corpus.manifest["domains"]["rows"]))
    assert finished(corpus.folder, "rows") == corpus.manifest["domains"]["rows"]


def test_files_have_the_mode_that_the_umask_leaves(load):
    old = os.umask(0o027)
    try:
        corpus = load()
    finally:
        os.umask(old)
    for path in (corpus.folder / "manifest.json", _text(corpus, "rows.train.bin")):
        assert path.stat().st_mode & 0o777 == 0o640


def test_rebuild_repairs(load, own_folder, tmp_path):
    from typer.testing import CliRunner

    from mixgym.commands.data import data

    corpus = load()
    (corpus.folder / "manifest.json").write_text('{"name"')
    _overwrite(_text(corpus, "rows.train.bin"))
    arguments = ["build", f"files:{own_folder}", "--rebuild", "--cache", str(tmp_path / "cache")]
    result = CliRunner().invoke(data, arguments)
    assert result.exit_code == 0, result.output
    again = load()
    again.verify()
    assert again.hash == corpus.hash


def test_resumed_build_does_not_trust_text_that_changed(load, own_folder):
    whole = load()
    expected = whole.hash
    entries = whole.manifest["domains"]
    shutil.rmtree(whole.folder)
    with (own_folder / "zz.txt").open("wb") as file:
        file.write(b"caf\xe9")
    _refused(load, "not UTF-8")
    (folder,) = whole.folder.parent.glob("files-*")
    assert sorted(path.stem for path in (folder / "parts").glob("*.json")) == list(entries)
    _overwrite(folder / "text" / "rows.train.bin")
    (folder / "parts" / "letters.json").unlink()
    own_folder.joinpath("zz.txt").unlink()
    folder.rename(whole.folder)
    again = load()
    again.verify()
    assert again.hash == expected


def test_damaged_token_files(load):
    corpus = load(tokenizer="bpe-400")
    folder = corpus.folder / "tokens" / "bpe-400"
    assert len(read_json(corpus.folder / "verified.json")) == 18
    remedy = "is damaged.*--rebuild --tokenizer bpe-400"
    path = folder / "rows.train.bin"
    data = _overwrite(path)
    _refused(load, rf"rows.train.bin {remedy}", tokenizer="bpe-400")
    path.write_bytes(data[:-2])
    _refused(load, rf"rows.train.bin {remedy}", tokenizer="bpe-400")
    path.write_bytes(data)
    assert load(tokenizer="bpe-400").hash == corpus.hash
    for change in (lambda s: s.pop("splits"), lambda s: s["splits"]["test"].update(tokens=-1)):
        sidecar = (folder / "rows.json").read_bytes()
        _edit(folder / "rows.json", change)
        with pytest.raises(CorpusError, match=rf"rows.json {remedy}"):
            load(tokenizer="bpe-400")
        (folder / "rows.json").write_bytes(sidecar)
    for name in ("rows.json", "tokenizer.json"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-5])
        with pytest.raises(CorpusError, match=rf"{name} {remedy}"):
            load(tokenizer="bpe-400")
        (folder / name).write_bytes(whole)

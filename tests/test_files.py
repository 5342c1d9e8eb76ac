from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import NotRequired

import pytest
from typing_extensions import TypedDict

from mixgym.errors import (
    DamagedFileError,
    MissingFileError,
    MixgymError,
    UnreadableFileError,
    UnwritableFileError,
)
from mixgym.files import (
    DIGEST,
    MAX_DEPTH,
    Finite,
    atomic_path,
    parse_json,
    read_bytes,
    read_json,
    write_json,
    write_text,
)


class Inner(TypedDict):
    loss: Finite


class Record(TypedDict):
    name: str
    steps: int
    rate: float
    parts: list[Inner]
    note: NotRequired[str]


GOOD = {"name": "a", "steps": 3, "rate": 1, "parts": [{"loss": 0.5}]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "record.json"


def refusal(path: Path, structure: object = None) -> str:
    """The message of `read_json`, which must name the file and the remedy."""
    with pytest.raises(DamagedFileError) as caught:
        read_json(path, structure, remedy="train again")
    text = str(caught.value)
    assert str(path) in text and "train again" in text
    return text


def test_written_json_reads_back_to_the_last_bit(path: Path) -> None:
    value = {"x": [0.1 + 0.2, 1e-310, -0.0, float("inf")], "é": None, "n": 2**70}
    for digest in (False, True):
        write_json(path, value, digest=digest)
        assert repr(read_json(path)) == repr(value)


def test_further_keys_and_ints_for_floats_are_let_through(path: Path) -> None:
    write_json(path, {**GOOD, "later": []})
    assert read_json(path, Record)["later"] == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b'{"name": "a', "Unterminated string"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b"\x00" * 40, "not valid JSON"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' stands twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 101 + b"]" * 101, "more than 100 levels"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "more than 100 levels"),
        (b'{"n": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b"{} {}", "Extra data"),
    ],
)
def test_what_is_no_json_is_said_with_file_and_remedy(
    path: Path, content: bytes, said: str
) -> None:
    path.write_bytes(content)
    assert said in refusal(path)


def test_as_deep_as_allowed(path: Path) -> None:
    brackets = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    path.write_text(brackets)
    assert json.dumps(read_json(path)) == brackets
    wide = [[[]] * 3] * 200  # many brackets, none deep
    path.write_text(json.dumps(wide))
    assert read_json(path) == wide


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([GOOD], "the whole"),
        (None, "the whole"),
        ({k: v for k, v in GOOD.items() if k != "steps"}, "steps: Field required"),
        ({**GOOD, "steps": "3"}, "steps: "),
        ({**GOOD, "steps": 3.5}, "steps: "),
        ({**GOOD, "steps": True}, "steps: "),
        ({**GOOD, "rate": "1"}, "rate: "),
        ({**GOOD, "rate": None}, "rate: "),
        ({**GOOD, "parts": {"loss": 1}}, "parts: "),
        ({**GOOD, "parts": [{"loss": float("nan")}]}, "parts.0.loss: not a finite number"),
        ({**GOOD, "note": 5}, "note: "),
    ],
)
def test_another_structure_is_said_with_its_place(path: Path, value: object, said: str) -> None:
    path.write_text(json.dumps(value))
    assert said in refusal(path, Record)


def test_a_byte_order_mark_is_passed_over(path: Path) -> None:
    write_json(path, GOOD, digest=True)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_json(path, Record) == GOOD


@pytest.mark.parametrize(
    "changed",
    [{**GOOD, "steps": 4}, {**GOOD, "further": 1}, {"name": "a"}, {**GOOD, "rate": 1.0}],
)
def test_a_digest_finds_what_was_changed(path: Path, changed: dict[str, object]) -> None:
    write_json(path, GOOD, digest=True)
    stored = json.loads(path.read_text())[DIGEST]
    path.write_text(json.dumps({**changed, DIGEST: stored}))
    assert "was changed after it was written" in refusal(path)


def test_a_digest_minds_no_layout(path: Path) -> None:
    write_json(path, GOOD, digest=True)
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(stored.items())), indent=7))
    assert read_json(path) == GOOD


def test_other_digests_are_left_in_the_file(path: Path) -> None:
    """Policies and datasets have had a key `digest` of their own since before."""
    write_json(path, {"digest": "of something else"})
    assert read_json(path) == {"digest": "of something else"}


def test_missing_folder_and_forbidden_files(path: Path) -> None:
    assert "does not exist" in refusal(path)
    with pytest.raises(FileNotFoundError) as caught:
        read_json(path)
    assert isinstance(caught.value, MissingFileError)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, str(path))
    path.mkdir()
    assert "is a folder" in refusal(path)
    with pytest.raises(OSError) as other:
        read_bytes(path)
    assert isinstance(other.value, UnreadableFileError) and not isinstance(
        other.value, FileNotFoundError
    )
    path.rmdir()
    path.write_text("{}")
    path.chmod(0)
    if not os.access(path, os.R_OK):  # root reads everything
        with pytest.raises(UnreadableFileError, match=r"record\.json may not be read"):
            read_json(path)


def test_part_of_a_file_is_read_with_the_same_checks() -> None:
    with pytest.raises(DamagedFileError, match=r"^e\.bin, its header, has another .*name: .*: go"):
        parse_json('{"steps": "3"}', "e.bin, its header,", Record, remedy="go")


# ---- writing ----


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_mode_is_what_the_umask_leaves(path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_text(path, "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_a_failed_write_leaves_what_stood_there_and_no_temporary_file(
    path: Path, error: type[BaseException]
) -> None:
    write_text(path, "before")
    with pytest.raises(error, match="something else"), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error("something else")
    assert path.read_text() == "before"
    assert [p.name for p in path.parent.iterdir()] == ["record.json"]


def test_a_temporary_file_that_a_kill_left_behind_is_read_by_nobody(path: Path) -> None:
    code = (
        "import os, sys; from mixgym.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as t: t.write_text('half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    (left,) = path.parent.iterdir()
    assert left.name.startswith(".record.json.") and left.suffix == ".tmp"
    assert not list(path.parent.glob("*.json"))
    write_text(path, "after")
    assert path.read_text() == "after"


def test_a_full_disk_names_the_file(path: Path) -> None:
    write_text(path, "before")
    code = (
        "import resource, sys; from mixgym.files import write_text\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); write_text(sys.argv[1], 'x'*5000)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], check=False, capture_output=True, text=True
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"mixgym.errors.UnwritableFileError: {path} cannot be written (")
    assert "make room" in last and "before is unchanged" in last
    assert path.read_text() == "before" and len(list(path.parent.iterdir())) == 1


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_whoever_reports_a_full_disk(path: Path, error: Exception) -> None:
    said = r"record\.json cannot be written \(No space"
    with pytest.raises(UnwritableFileError, match=said), atomic_path(path):
        raise error


def test_errors_of_another_file_are_not_blamed_on_this_one(path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, atomic_path(path):
        Path(path.parent / "other").read_text()
    assert not isinstance(caught.value, MixgymError)


def test_a_place_that_takes_no_file(path: Path) -> None:
    path.mkdir()
    with pytest.raises(UnwritableFileError, match=r"record\.json cannot be written: a folder"):
        write_text(path, "x")
    assert list(path.iterdir()) == [] and len(list(path.parent.iterdir())) == 1
    path.rmdir()
    path.write_text("")
    with pytest.raises(UnwritableFileError, match="a file stands where a folder is needed"):
        write_text(path / "inside", "x")
    with pytest.raises(UnwritableFileError, match="give a shorter name"):
        write_text(path.with_name("n" * 300), "x")
    write_text(path.with_name("n" * 250), "as long as a name may be")
    path.parent.chmod(0o500)
    try:
        if not os.access(path.parent, os.W_OK):
            with pytest.raises(UnwritableFileError, match="make the folder writable"):
                write_text(path, "x")
    finally:
        path.parent.chmod(0o700)


def test_a_link_is_replaced_and_not_followed(path: Path) -> None:
    other = path.with_name("other")
    other.write_text("mine")
    path.symlink_to(other)
    write_text(path, "new")
    assert (other.read_text(), path.read_text(), path.is_symlink()) == ("mine", "new", False)

"""Turning a corpus's text files into token files, streamed, beside the text."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock
from typing_extensions import TypedDict

from mixgym.corpus.build import text_path
from mixgym.corpus.cache import writing
from mixgym.corpus.manifest import CHANGED, MISSING, Count, Damage, read_facts
from mixgym.corpus.progress import Reporter
from mixgym.corpus.split import SPLITS
from mixgym.corpus.stamp import Stamp
from mixgym.corpus.tokenizers import SubwordTokenizer, bpe_size, hugging_face, read_bpe, train_bpe
from mixgym.corpus.tokens import TokenFile
from mixgym.corpus.wheels import sha256_of
from mixgym.errors import CorpusError
from mixgym.files import atomic_path, write_json, write_text

_BATCH = 256
_CHUNK = 1 << 20


class TokenFacts(TypedDict):
    """One file of tokens: how many, its hash, and that of the text it was made from."""

    tokens: Count
    sha256: str
    text_sha256: str


class TokenSplits(TypedDict):
    """The token files of a domain."""

    train: TokenFacts
    validation: TokenFacts
    test: TokenFacts


class Sidecar(TypedDict):
    """What stands beside a domain's token files; `tokenizer` is the tokenizer's hash."""

    tokenizer: str
    splits: TokenSplits


def subword_tokenizer(
    name: str,
    folder: Path,
    domains: tuple[str, ...],
    report: Reporter,
    damage: Damage,
) -> SubwordTokenizer:
    """The tokenizer called `name`; a BPE is trained on all `domains` of the corpus in `folder`
    the first time. Raises `damage(path, fault)` if the file of a trained one is no tokenizer."""
    if bpe_size(name) is None:
        return hugging_face(name.removeprefix("hf:"))
    path = folder / "tokens" / name / "tokenizer.json"
    known = path.with_suffix(".sha256")
    if not path.exists():
        with writing(folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                if not path.exists():
                    report.start(0, f"training {name}")
                    trained = train_bpe(name, [text_path(folder, d, "train") for d in domains])
                    text = trained.backend.to_str()
                    write_text(known, sha256(text.encode()).hexdigest())
                    write_text(path, text)
    try:
        # Corpora built by older versions have none.
        if known.exists() and known.read_text(errors="replace") != sha256_of(path):
            raise damage(path, f"its SHA-256 is not that in {known.name}")
        return read_bpe(name, path)
    except OSError as error:
        raise damage(path, f"it or {known.name} cannot be read") from error
    except CorpusError:
        raise
    except Exception as error:  # the library raises bare Exception
        raise damage(path, "it is no tokenizer") from error


def token_files(
    folder: Path,
    name: str,
    tokenizer: SubwordTokenizer,
    texts: dict[str, TokenFile],
    report: Reporter,
    stamp: Stamp,
    damage: Damage,
) -> dict[str, TokenFile]:
    """Token files of domain `name`, made from its text files if they are not there yet.

    A sidecar JSON keeps each file's size and hash, and the hash of the text it was made from.
    Raises `damage(path, fault)` for a file that is not as the sidecar says.
    """
    target = folder / "tokens" / tokenizer.id
    sidecar = target / f"{name}.json"

    def current() -> bool:
        return sidecar.exists() and _current(read_facts(sidecar, Sidecar, damage), tokenizer, texts)

    if not current():
        with writing(folder):
            target.mkdir(parents=True, exist_ok=True)
            with FileLock(target / ".lock"):
                if not current():
                    report.start(0, f"tokenizing {name}")
                    made = {
                        split: _write(tokenizer, target, name, texts[split]) for split in SPLITS
                    }
                    facts = {"tokenizer": tokenizer.hash, "splits": made}
                    write_json(sidecar, facts, digest=True)
                    for split, fact in made.items():
                        stamp.trust(target / f"{name}.{split}.bin", fact["sha256"])
    facts = read_facts(sidecar, Sidecar, damage)["splits"]
    files = {}
    for split in SPLITS:
        path = target / f"{name}.{split}.bin"
        tokens = facts[split]["tokens"]
        width = 2 if tokenizer.dtype == "uint16" else 4
        if not stamp.intact(path, tokens * width, facts[split]["sha256"]):
            raise damage(path, CHANGED if path.exists() else MISSING)
        files[split] = TokenFile(
            path=path,
            dtype=tokenizer.dtype,
            sha256=facts[split]["sha256"],
            tokens=tokens,
            bytes=texts[split].bytes,
            documents=texts[split].documents,
            separator=tokenizer.separator,
            text=texts[split].path,
        )
    return files


def _current(facts: Sidecar, tokenizer: SubwordTokenizer, texts: dict[str, TokenFile]) -> bool:
    return facts["tokenizer"] == tokenizer.hash and all(
        facts["splits"][split]["text_sha256"] == texts[split].sha256 for split in SPLITS
    )


def _write(tokenizer: SubwordTokenizer, target: Path, name: str, text: TokenFile) -> TokenFacts:
    split = text.path.name.split(".")[-2]
    path = target / f"{name}.{split}.bin"
    count = 0
    with atomic_path(path) as temporary, temporary.open("wb") as out, text.path.open("rb") as file:
        batch: list[str] = []
        for document in _documents(file):
            batch.append(document.decode("utf-8"))
            if len(batch) == _BATCH:
                count += _flush(tokenizer, batch, out)
        count += _flush(tokenizer, batch, out)
    return {"tokens": count, "sha256": sha256_of(path), "text_sha256": text.sha256}


def _flush(tokenizer: SubwordTokenizer, batch: list[str], out: BinaryIO) -> int:
    written = 0
    end = tokenizer.separator.to_bytes(2 if tokenizer.dtype == "uint16" else 4, "little")
    for ids in tokenizer.encode_batch(batch):
        out.write(ids.astype(f"<{ids.dtype.str[1:]}").tobytes() + end)
        written += len(ids) + 1
    batch.clear()
    return written


def _documents(file: BinaryIO) -> Iterator[bytes]:
    rest = b""
    while chunk := file.read(_CHUNK):
        *whole, rest = (rest + chunk).split(b"\0")
        yield from whole

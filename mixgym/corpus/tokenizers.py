"""Tokenizers: raw bytes, a BPE trained on the corpus, any of Hugging Face's."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mixgym.errors import CorpusError, unknown_name

SEPARATORS = ("<|endoftext|>", "</s>", "<eos>", "<|end_of_text|>", "[SEP]")
BPE_SAMPLE = 16_000_000
_BPE = re.compile(r"bpe-(\d+)")


class Tokenizer(Protocol):
    """What a corpus needs of a tokenizer.

    Attributes:
        id: short name, usable as a folder's.
        vocab_size: number of tokens; ids are below it.
        separator: id of the token that ends every document.
        hash: hex SHA-256 of everything that decides the ids.
    """

    id: str
    vocab_size: int
    separator: int
    hash: str

    def encode(self, text: str) -> np.ndarray:
        """Token ids of `text`, 1-D, without a separator."""
        ...

    def decode(self, ids: np.ndarray) -> str:
        """Text of token ids."""
        ...


class BytesTokenizer:
    """A token is a byte of UTF-8; 0, which normalised text never holds, ends a document."""

    id = "bytes"
    vocab_size = 256
    separator = 0
    hash = hashlib.sha256(b"bytes").hexdigest()

    def encode(self, text: str) -> np.ndarray:
        """UTF-8 bytes, uint8 [n]."""
        return np.frombuffer(text.encode("utf-8"), dtype=np.uint8)

    def decode(self, ids: np.ndarray) -> str:
        """Text of the bytes; broken sequences become U+FFFD."""
        return np.asarray(ids, dtype=np.uint8).tobytes().decode("utf-8", "replace")


class SubwordTokenizer:
    """A tokenizer of the `tokenizers` library; special tokens in the text are plain text to it."""

    def __init__(self, name: str, backend: Any, separator: int) -> None:
        self.backend = backend
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        self.separator = separator
        self.vocab_size: int = backend.get_vocab_size(with_added_tokens=True)
        self.hash = hashlib.sha256(backend.to_str().encode()).hexdigest()
        self.id = name if _BPE.fullmatch(name) else f"{_plain(name)}-{self.hash[:8]}"

    @property
    def dtype(self) -> str:
        """The smallest integer type that holds every id."""
        return "uint16" if self.vocab_size <= 65_536 else "uint32"

    def encode(self, text: str) -> np.ndarray:
        """Token ids [n], uint16 or uint32."""
        return np.array(self.backend.encode(text, add_special_tokens=False).ids, dtype=self.dtype)

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of several texts."""
        encodings = self.backend.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=self.dtype) for encoding in encodings]

    def decode(self, ids: np.ndarray) -> str:
        """Text of token ids, separators left out."""
        return self.backend.decode([int(i) for i in ids], skip_special_tokens=True)


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", Path(name).name or name)[:40]


def bpe_size(name: str) -> int | None:
    """Vocabulary size of "bpe-4096"-like names (320 to 65,536), None for other names."""
    match = _BPE.fullmatch(name)
    if match is None:
        return None
    size = int(match.group(1))
    if not 320 <= size <= 65_536:
        raise CorpusError(f"tokenizer {name!r}: choose a vocabulary of 320 to 65536 tokens")
    return size


def check_name(name: str) -> None:
    """Raise unless `name` is "bytes", "bpe-SIZE" or "hf:NAME_OR_PATH"."""
    if name != "bytes" and not str(name).startswith("hf:") and bpe_size(str(name)) is None:
        raise unknown_name("tokenizer", name, ("bytes", "bpe-4096", "hf:NAME_OR_PATH"))


def train_bpe(name: str, texts: Sequence[Path]) -> SubwordTokenizer:
    """A byte-level BPE trained on the beginning of every train text, alike many bytes of each."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers, trainers

    share = BPE_SAMPLE // max(len(texts), 1)

    def sample() -> Any:
        for path in texts:
            with path.open("rb") as file:
                data = file.read(share)
            yield from data.decode("utf-8", "ignore").split("\0")

    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore
    backend.decoder = decoders.ByteLevel()  # type: ignore
    trainer = trainers.BpeTrainer(
        vocab_size=bpe_size(name) or 0,
        special_tokens=[SEPARATORS[0]],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(sample(), trainer)
    return SubwordTokenizer(name, backend, _separator(name, backend))


def read_bpe(name: str, path: Path) -> SubwordTokenizer:
    """A BPE that `train_bpe` made, from its JSON file."""
    from tokenizers import Tokenizer as Backend

    backend = Backend.from_file(str(path))
    return SubwordTokenizer(name, backend, _separator(name, backend))


def hugging_face(name: str) -> SubwordTokenizer:
    """A tokenizer of the `transformers` library by hub name or folder, or a tokenizer JSON file.

    Raises `CorpusError` if it cannot be loaded, has no fast version, or no token to end documents.
    """
    path = Path(name).expanduser()
    separator: int | None = None
    try:
        if path.is_file():
            from tokenizers import Tokenizer as Backend

            backend = Backend.from_file(str(path))
        else:
            from transformers import AutoTokenizer

            loaded = AutoTokenizer.from_pretrained(str(path) if path.exists() else name)
            backend = getattr(loaded, "backend_tokenizer", None)
            separator = loaded.eos_token_id
    except Exception as error:  # the libraries raise anything from OSError to bare Exception
        reason = str(error).strip().split("\n")[0]
        raise CorpusError(
            f"tokenizer 'hf:{name}' cannot be loaded ({reason}): give a hub name, a folder made "
            "by save_pretrained, or a tokenizer.json file"
        ) from error
    if backend is None:
        raise CorpusError(f"tokenizer 'hf:{name}' has no fast version, which mixgym needs")
    if separator is None:
        separator = _separator(f"hf:{name}", backend)
    return SubwordTokenizer(name, backend, separator)


def _separator(name: str, backend: Any) -> int:
    for token in SEPARATORS:
        if (index := backend.token_to_id(token)) is not None:
            return index
    raise CorpusError(
        f"tokenizer {name!r} has no token to end a document: add one of {', '.join(SEPARATORS)}"
    )

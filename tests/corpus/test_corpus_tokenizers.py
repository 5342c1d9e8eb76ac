from __future__ import annotations

import numpy as np
import pytest

from mixgym.corpus import load_corpus
from mixgym.errors import CorpusError


@pytest.fixture
def load(own_folder, tmp_path):
    return lambda **arguments: load_corpus(
        f"files:{own_folder}", cache=tmp_path / "cache", **arguments
    )


def _documents(corpus, domain, split):
    tokens = corpus.domain(domain).tokens(split)
    ends = np.flatnonzero(tokens == corpus.tokenizer.separator)
    starts = np.concatenate([[0], ends[:-1] + 1])
    return [corpus.tokenizer.decode(tokens[a:b]) for a, b in zip(starts, ends, strict=True)]


def test_bytes_round_trip(load):
    tokenizer = load().tokenizer
    assert tokenizer.vocab_size == 256 and tokenizer.separator == 0
    assert tokenizer.decode(tokenizer.encode("été")) == "été"


def test_bpe_is_lossless_smaller_and_deterministic(load, own_folder, tmp_path):
    text, corpus = load(), load(tokenizer="bpe-400")
    assert corpus.tokenizer.id == "bpe-400" and corpus.tokenizer.vocab_size <= 400
    for domain in corpus.domains:
        for split in ("train", "validation", "test"):
            assert _documents(corpus, domain.name, split) == _documents(text, domain.name, split)
            assert domain.bytes(split) == text.domain(domain.name).bytes(split)
        tokens = domain.tokens("train")
        assert tokens.dtype == np.uint16 and tokens.max() < corpus.tokenizer.vocab_size
        assert domain.bytes_per_token("train") == pytest.approx(domain.bytes("train") / len(tokens))
        assert domain.bytes_per_token("train") > 1.5
    assert corpus.hash != text.hash
    again = load_corpus(f"files:{own_folder}", tokenizer="bpe-400", cache=tmp_path / "other")
    assert again.hash == corpus.hash
    corpus.verify()


def test_limit_in_bytes_holds_for_tokens(load):
    whole = load(tokenizer="bpe-400").domain("stories")
    cut = load(tokenizer="bpe-400", limit={"stories": 5_000})
    part = cut.domain("stories")
    tokens = part.tokens("train")
    assert part.bytes("train") == 5_000
    assert np.array_equal(tokens, whole.tokens("train")[: len(tokens)])
    held = len(cut.tokenizer.decode(tokens).encode()) + int((tokens == 0).sum())
    assert abs(held - 5_000) < 40


def test_hugging_face_tokenizer_from_disk(load, tmp_path):
    transformers = pytest.importorskip("transformers")
    backend = load(tokenizer="bpe-400").tokenizer.backend
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")
    fast.save_pretrained(tmp_path / "saved")
    corpus = load(tokenizer=f"hf:{tmp_path / 'saved'}")
    assert _documents(corpus, "rows", "test") == _documents(load(), "rows", "test")
    single = load(tokenizer=f"hf:{tmp_path / 'saved' / 'tokenizer.json'}")
    assert np.array_equal(
        single.domain("rows").tokens("train"), corpus.domain("rows").tokens("train")
    )
    assert corpus.tokenizer.separator == fast.eos_token_id


def test_special_tokens_in_the_text_are_text(load):
    tokenizer = load(tokenizer="bpe-400").tokenizer
    assert tokenizer.separator not in tokenizer.encode("a <|endoftext|> b")


def test_unusable_tokenizers(load, tmp_path):
    with pytest.raises(CorpusError, match="cannot be loaded"):
        load(tokenizer=f"hf:{tmp_path / 'nothing' / 'here.json'}")
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "no-end.json"))
    with pytest.raises(CorpusError, match="no token to end a document"):
        load(tokenizer=f"hf:{tmp_path / 'no-end.json'}")

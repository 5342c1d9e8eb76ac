from __future__ import annotations

import os

# Before torch is imported: one thread, so that parallel test workers do not fight for cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest

from mixgym.corpus import Corpus, load_corpus


@pytest.fixture(scope="session")
def nano8() -> Corpus:
    return load_corpus("nano8")


@pytest.fixture(scope="session")
def two_domains() -> Corpus:
    return load_corpus("nano8", domains=["recipes", "python"])

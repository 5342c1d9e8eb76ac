"""Text as named domains of tokens: where a mixture draws from."""

from mixgym.corpus.catalogue import CORPORA, DOMAINS
from mixgym.corpus.corpus import Corpus, Domain
from mixgym.corpus.load import load_corpus

__all__ = ["CORPORA", "DOMAINS", "Corpus", "Domain", "load_corpus"]

"""Fields: named sets of domains that continual pretraining starts from or is aimed at."""

from __future__ import annotations

from collections.abc import Sequence

from mixgym.corpus.catalogue import CORPORA
from mixgym.corpus.derived import DerivedSource
from mixgym.errors import MixgymError, unknown_name

#: name -> domains; of those, a corpus's field has the ones the corpus has. `prose` and `documents`
#: share no text, nor do `maths` and `code`.
FIELDS: dict[str, tuple[str, ...]] = {
    "prose": ("wiki_en", "speeches", "legal", "bible", "recipes"),
    "documents": ("aws_docs", "wiki_fr", "wiki_es", "icd10"),
    "maths": ("math_synth", "sympy"),
    "code": ("python", "js_ts", "cpp"),
}

#: field -> probes whose answers are its feedback.
FIELD_PROBES: dict[str, tuple[str, ...]] = {
    "prose": ("mmlu", "lambada"),
    "documents": ("mmlu", "lambada"),
    "maths": ("math", "gsm8k"),
    "code": ("humaneval", "mbpp"),
}

#: Longest right answer of a feedback item, in bytes.
FEEDBACK_LONGEST = 96

#: probe -> the same for probes with fewer than 64 feedback items as short as that.
LONGER_FEEDBACK: dict[str, int] = {"gsm8k": 128, "mbpp": 128, "humaneval": 256}

FieldSpec = str | Sequence[str]


def field_domains(spec: FieldSpec, corpus: str) -> tuple[str, ...]:
    """Return the domains of a field: a name of `FIELDS`, a domain, or a list of domains.

    Raises:
        UnknownNameError: a registered corpus has no such domain, and no field has that name.
        MixgymError: the corpus has no domain of the field.
    """
    base, *skipped = corpus.split("~")
    known = None
    if base in CORPORA:
        known = [name for name in CORPORA[base].domains if name not in skipped]
    if isinstance(spec, str) and spec in FIELDS:
        domains = tuple(d for d in FIELDS[spec] if known is None or d in known)
        if not domains:
            raise MixgymError(
                f"corpus {corpus} has no domain of the field {spec!r} ({', '.join(FIELDS[spec])}): "
                "take another field, or give a list of domains"
            )
        return domains
    domains = (spec,) if isinstance(spec, str) else tuple(spec)
    if not domains:
        raise MixgymError("a field without domains: name at least one")
    for domain in domains:
        if known is not None and domain not in known:
            raise unknown_name("field or domain", domain, [*FIELDS, *known])
    return domains


def field_corpus(
    corpus: str, source: FieldSpec, target: FieldSpec, topics: int = 0, seed: int = 0
) -> DerivedSource:
    """Return the corpus of two fields, whole (`topics` 0) or cut into topics."""
    fields = {"source": field_domains(source, corpus), "target": field_domains(target, corpus)}
    if not topics:
        return DerivedSource("merge", corpus, fields)
    return DerivedSource("topics", corpus, fields, {"topics": topics, "seed": seed})
